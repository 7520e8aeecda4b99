"""Whatever a model, a file or a name says, nothing that is printed for people has what a terminal would obey."""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import doteval
from doteval import Completion, ModelRequest, Result, foreach
from doteval._printed import _OBEYED, in_a_line, printable
from doteval.cli import _rescore, main
from doteval.evals import run

EVIL = "\x1b]0;title\x07\x9b31m\x1b[2J\r\x08\x00\u202eabc\u2066\u200f\x85\u2028\x7f"
OBEYED = re.compile(f"[{re.escape(''.join(map(chr, _OBEYED)).replace(chr(10), '').replace(chr(9), ''))}]")
STYLES = re.compile("\x1b\\[[01]m")


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    """A store in which all that can be a text is hostile."""
    return Path(shutil.copy(written, tmp_path))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all, to be copied."""

    @foreach("id,question", [(f"row {EVIL}", f"first {EVIL}"), ("two", "second")])
    async def eval_it(id: str, question: str) -> Result:  # noqa: A002 - the column
        with ModelRequest(f"m{EVIL}", [{"role": f"user{EVIL}", "content": question, f"n{EVIL}": EVIL}]) as request:
            request.replied(Completion(f"said {EVIL}"))
        if question == "second":
            raise ValueError(f"bad {EVIL}")
        reply = Completion(f"said {EVIL}", finish_reason=EVIL)
        prompt = [{"role": EVIL, "content": EVIL, EVIL: EVIL}]
        return Result(reply, prompt=prompt, scores={f"s{EVIL}": 1}, metadata={EVIL: EVIL})

    file = tmp_path_factory.mktemp("hostile") / "results.db"
    for experiment, name in (("main", f"n{EVIL}"), ("main", f"unfinished{EVIL}"), (f"other{EVIL}", f"n{EVIL}")):
        some = {"limit": 1} if name.startswith("unfinished") else {}
        options: Any = {"experiment": experiment, "name": name, "tags": {EVIL: EVIL}, "transcripts": True, **some}
        anyio.run(partial(run, eval_it, store=file, **options))
    return file


COMMANDS: list[Sequence[str]] = [
    ("list",),
    ("show", "main"),
    ("show", "main", "--row", "0"),
    ("show", "main", "--row", "two"),
    ("show", "main", "--failed"),
    ("show", "main", "--row", "row non"),
    ("show", f"main{EVIL}"),
    ("show", f"main@{EVIL}{EVIL}"),
    ("compare", "main", f"other{EVIL}"),
    ("compare", "main@n", f"main{EVIL}"),
    ("delete", "main", "--dry-run"),
    ("delete", f"other{EVIL}", "--yes"),
    ("rename", f"other{EVIL}", f"again{EVIL}"),
    ("rename", "main", f"other{EVIL}"),
    ("rescore", "main", "scorer:score", "--as", f"new{EVIL}"),
    ("rescore", "main", f"scorer:{EVIL}"),
    ("export", "main"),
    ("export", "main", "--format", "csv"),
    ("report", "main", "-o", f"/nowhere/{EVIL.replace(chr(0), '')}"),
    ("view", f"main{EVIL}"),
    ("list", "--json"),
    ("show", "main", "--json"),
]


@pytest.mark.parametrize("styled", [False, True], ids=["NO_COLOR", "styled"])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: in_a_line(" ".join(words))[:30])
def test_no_command_says_what_a_terminal_would_obey(
    path: Path, monkeypatch: pytest.MonkeyPatch, words: Sequence[str], styled: bool
) -> None:
    """On a terminal, in what it prints and in its messages; of codes, only those of our own styles."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def score(output: Any) -> dict[str, Any]:
        if "said" not in output:
            raise ValueError(EVIL)
        return {EVIL: True}

    found = _rescore._scorer

    def scorer(name: str) -> Any:
        return score if name == "scorer:score" else found(name)

    monkeypatch.setattr(_rescore, "_scorer", scorer)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not styled:
        monkeypatch.setenv("NO_COLOR", "1")
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    main([*words, "--store", str(path)])
    said = out.getvalue() + err.getvalue()
    assert len(said) > 10
    assert OBEYED.search(STYLES.sub("", said) if styled else said) is None, ascii(said)


def test_what_is_printed_says_what_was_meant() -> None:
    """As escapes; a text for several lines keeps its lines, and what nothing obeys is as it was."""
    assert printable("a\x1b[0m\nb\tc\u202e") == "a\\x1b[0m\nb\tc\\u202e"
    assert in_a_line("a\r\nb") == "a\\r\\nb"
    for text in ("ÄÖ 中文 עברית 👩\u200d👩", "", "x" * 10):
        assert printable(text) == in_a_line(text) == text


def test_all_commands_print_by_the_same_function() -> None:
    """None of them calls `print`, but for programs."""
    sources = Path(doteval.__file__).parent / "cli"
    found = {file.name for file in sources.glob("*.py") if re.search(r"(?<![\w.])print\(", file.read_text("utf-8"))}
    assert found == {"_json.py"}
