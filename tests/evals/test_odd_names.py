"""Half a character (a lone surrogate) may be in any name, as in that of a file that is no UTF-8: it names one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import Evaluation, EvaluationChangedError, Store, delete, rename, rescore, run

ODD = "x\udc80"


def evaluation() -> Evaluation:
    @foreach("q,id", [("a", ODD)])
    async def eval_it(q: str, id: str) -> Result:  # noqa: A002 - the column
        return Result(q, scores={"s": 1})

    return eval_it


def again(output: str) -> dict[str, float]:
    return {"s": len(output)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of an odd name in which all is called so."""
    file = tmp_path / ODD / "results.db"
    for experiment in (ODD, "base"):
        anyio.run(partial(run, evaluation(), store=file, experiment=experiment, name=ODD, tags={ODD: ODD}))
    (tmp_path / "scorers.py").write_text("def again(output):\n    return {'s': len(output)}\n")
    return file


def in_code(call: Callable[..., Any]) -> Callable[[Path], Any]:
    return lambda path: anyio.run(partial(call, store=path))


FINDS: dict[str, Callable[[Path], Any]] = {
    "evaluations": lambda path: Store(path).evaluations(ODD),
    "find": lambda path: Store(path).find(ODD, ODD),
    "run": lambda path: anyio.run(partial(run, evaluation(), store=path, experiment=ODD, name=ODD)).answered,
    "run, one row": lambda path: anyio.run(partial(run, evaluation(), row=ODD)).records,
    "rescore": in_code(partial(rescore, ODD, again)),
    "rescore a part": in_code(partial(rescore, "base", again, part=ODD)),
    "rescore into": in_code(partial(rescore, "base", again, into=f"{ODD}{ODD}")),
    "rename": lambda path: rename(ODD, "other", store=path),
    "rename to": lambda path: rename("base", f"{ODD}{ODD}", store=path),
    "delete": lambda path: delete(ODD, store=path),
    "delete a part": lambda path: delete(f"{ODD}@{ODD}", store=path),
}
FINDS_NOTHING: dict[str, Callable[[Store], Any]] = {
    "row": lambda store: store.row(store.evaluations()[0], ODD),
    "requests": lambda store: store.requests(store.evaluations()[0], ODD),
    "evaluations": lambda store: store.evaluations(ODD + ODD),
    "find": lambda store: store.find("base", ODD + ODD),
}
COMMANDS = [
    ["list"],
    ["show", ODD],
    ["show", f"base@{ODD}", "--json"],
    ["show", ODD, "--row", ODD],
    ["compare", ODD, "base"],
    ["export", ODD, "--format", "csv"],
    ["export", ODD, "-o", f"{ODD}.jsonl"],
    ["report", ODD, "-o", f"{ODD}.html"],
    ["report", f"{ODD}@{ODD}", "-o", "page.html", "--price", f"{ODD}=1,2"],
    ["rescore", f"{ODD}@{ODD}", "scorers.py:again"],
    ["rescore", "base", "scorers.py:again", "--as", f"{ODD}{ODD}"],
    ["rename", ODD, f"{ODD}{ODD}"],
    ["delete", f"{ODD}@{ODD}", "--yes"],
]


@pytest.mark.parametrize("kind", FINDS)
def test_code_finds_what_is_called_so(path: Path, kind: str) -> None:
    assert FINDS[kind](path)


@pytest.mark.parametrize("kind", FINDS_NOTHING)
def test_what_is_not_there_is_no_error(path: Path, kind: str) -> None:
    assert not FINDS_NOTHING[kind](Store(path))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: ascii(" ".join(words)))
def test_commands_find_what_is_called_so(path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent.parent)
    assert main([*words, "--store", str(path)]) == 0


def test_a_baseline_that_is_the_run_itself_is_found_out(path: Path) -> None:
    """By what it is called in the store."""
    with pytest.raises(ValueError, match="is the baseline and the experiment"):
        anyio.run(partial(run, evaluation(), store=path, experiment=ODD, baseline=r"x\udc80", fresh=True))


def test_what_is_told_of_it_can_be_printed(path: Path) -> None:
    """Also to a file, which has no half characters."""
    again = partial(run, evaluation(), store=path, experiment=ODD, name=ODD, baseline=ODD + ODD)
    (told,) = anyio.run(again).warnings
    assert told.encode()
    with pytest.raises(EvaluationChangedError) as caught:
        anyio.run(partial(again, depends_on={ODD: ODD, "path": [path.parent]}))
    assert str(caught.value).encode()
