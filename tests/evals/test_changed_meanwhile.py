"""Files that change while an evaluation is run, or between runs of one process, and who is told of that."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from errno import EACCES, EIO, ELOOP
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import jinja2
import pydantic
import pytest

from doteval.evals import DependencyError, Evaluation, EvaluationChangedError, EvaluationWarning, GateError, Store, run
from doteval.evals._results.identity import changes
from doteval.evals._running import contents
from doteval.evals._running.declared import Declared, _advice_for
from doteval.evals._running.files_read import changed_files

SOURCE = """
from pathlib import Path
from doteval import Result, foreach

HERE = Path(__file__).parent
kept = {}

def in_memory(name):
    if name not in kept:
        kept[name] = (HERE / name).read_text()
    return kept[name]

@foreach("q", ["a", "b", "c"], concurrency=1%s)
async def eval_it(q, size=1):
    return Result(%s)
"""
DECLARED = ", depends_on=[Path('prompts'), Path('data.txt')]"
ANEW, KEPT = "(HERE / 'prompts/en.txt').read_text()", "in_memory('prompts/en.txt')"
BACKENDS = ["asyncio", "trio"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("_known", "_first", "_changed"):  # as in a new process
        monkeypatch.setattr(contents, name, {})
    place = tmp_path / "project"
    (place / "prompts").mkdir(parents=True)
    (place / "pyproject.toml").touch()
    (place / "prompts" / "en.txt").write_text("one")
    (place / "data.txt").write_text("one")
    yield place
    sys.modules.pop("eval_meanwhile", None)


def evaluation(place: Path, declared: str = DECLARED, output: str = ANEW) -> Evaluation:
    file = place / "eval_meanwhile.py"
    file.write_text(SOURCE % (declared, output))
    module = sys.modules["eval_meanwhile"] = ModuleType("eval_meanwhile")
    module.__file__ = str(file)
    exec(compile(file.read_text(), file, "exec"), vars(module))
    return module.eval_it


def after_the_first(do: Callable[[], object]) -> Callable[[object], None]:
    left = [do]
    return lambda _: left.pop()() if left else None  # type: ignore[func-returns-value]


EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file": (lambda place: (place / "data.txt").write_text("two"), "the file data.txt has changed"),
    "below": (lambda place: (place / "prompts/en.txt").write_text("two"), "the directory prompts has changed: en.txt"),
    "new": (lambda place: (place / "prompts/de.txt").touch(), "the directory prompts has changed: de.txt (new)"),
    "gone": (lambda place: (place / "data.txt").unlink(), "the file data.txt has changed"),
    "all gone": (lambda place: shutil.rmtree(place / "prompts"), "the directory prompts has changed"),
}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("edit", "end", "anyio_backend"),
    [
        *((edit, "done", "asyncio") for edit in EDITS if edit != "below"),
        *(("below", end, backend) for end in ("done", "raises", "cancelled") for backend in BACKENDS),
    ],
)
async def test_what_has_changed_while_rows_were_run_is_nobodys_answer(place: Path, edit: str, end: str) -> None:
    """Neither where it stays so, nor where it is as it was, however the run ended; until somebody says otherwise."""
    store, it = place.parent / "results.db", evaluation(place)
    shutil.copytree(place, before := place.parent / "before")
    change, told = EDITS[edit]
    with anyio.CancelScope() as scope:

        def meanwhile() -> None:
            change(place)
            if end == "raises":
                raise RuntimeError("ends")
            if end == "cancelled":
                scope.cancel()

        try:
            outcome = await run(it, store=store, on_record=after_the_first(meanwhile))
            assert end == "done"
            if edit != "all gone":
                (warning,) = outcome.warnings
                assert warning.startswith(f"While rows of 'eval_it' were run, {told}. Nobody knows")
        except RuntimeError:
            assert end == "raises"
    assert scope.cancelled_caught == (end == "cancelled")
    for is_as_it_was in (False, True):
        if is_as_it_was:
            shutil.rmtree(place)
            shutil.copytree(before, place)
        elif "gone" in edit:
            continue
        with pytest.raises(EvaluationChangedError) as caught:
            await run(it, store=store)
        assert caught.value.changes == (f"{told}, while rows were run",)
    if end == "raises":
        kept = await run(it, store=store, changed="keep")
        assert f"{told}, while rows were run" in kept.warnings[0]
    else:
        assert not (await run(it, store=store, changed="rerun")).answered
    again = await run(it, store=store)
    assert again.answered
    assert again.warnings == ()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_each_run_begins_with_what_is_there_then(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it was looked at a moment ago, to say whether all is answered; and what is kept is gone on with."""
    store, it = place.parent / "results.db", evaluation(place)

    def answered(*_: object) -> None:
        (place / "prompts" / "en.txt").write_text("two")

    with monkeypatch.context() as patch:
        patch.setattr("doteval.evals._running.run.answered", answered)
        assert [each.output for each in (await run(it, store=store)).records] == ["two"] * 3
    assert (await run(it, store=store)).answered
    assert (await run(it, store=store)).warnings == ()
    (place / "prompts" / "en.txt").write_text("one")
    with pytest.raises(EvaluationChangedError, match=r"the directory prompts has changed: en\.txt"):
        await run(it, store=store)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nothing_has_changed_while_no_row_was_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, it = place.parent / "results.db", evaluation(place)
    await run(it, store=store)
    begin = Store.begin

    def begun(*given: Any, **options: Any) -> Any:
        found = begin(*given, **options)
        (place / "data.txt").write_text("two")
        return found

    with monkeypatch.context() as patch:
        patch.setattr("doteval.evals._running.run.answered", lambda *_: None)
        patch.setattr(Store, "begin", begun)
        outcome = await run(it, store=store)
    assert outcome.calls == 0
    assert outcome.warnings == ()
    (place / "data.txt").write_text("one")
    assert (await run(it, store=store)).answered


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("output", [ANEW, f"[{ANEW}, *map(str, HERE.glob('prompts/*'))]"])
async def test_what_was_only_read_is_told_by_the_run_itself(place: Path, output: str) -> None:
    """And again when it is answered; what was there first is what is kept."""
    store, it = place.parent / "results.db", evaluation(place, "", output)
    edit = after_the_first(lambda: (place / "prompts" / "en.txt").write_text("two"))
    outcome = await run(it, store=store, on_record=edit)
    (told,) = outcome.warnings
    assert told.startswith("Since it was first read for 'eval_it', the file prompts/en.txt has changed: nobody knows")
    assert "the file prompts/en.txt was read, and has changed since" in (await run(it, store=store)).warnings[0]
    (place / "prompts" / "en.txt").write_text("one")
    assert (await run(it, store=store)).warnings == ()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("output", "is_told"),
    [(KEPT, True), (ANEW, False), (f"({KEPT}, {ANEW})", False), (f"((HERE / 'data.txt').read_text(), {KEPT})", True)],
)
async def test_what_is_kept_in_memory_may_be_of_before(place: Path, output: str, is_told: bool) -> None:
    """Where no row has read a file that has changed since this process knows it, and until it is as it was."""
    store, it = place.parent / "results.db", evaluation(place, output=output)
    assert (await run(it, store=store, name="small", size=1)).warnings == ()
    (place / "prompts" / "en.txt").write_text("two")
    for name in ("large", "huge"):
        warned = (await run(it, store=store, name=name, size=2)).warnings
        assert len(warned) == is_told
        if is_told:
            assert "Since this process first looked at it, prompts/en.txt has changed" in warned[0]
    assert (await run(it, store=store, name="huge", size=2)).answered
    (place / "prompts" / "en.txt").write_text("one")
    assert (await run(it, store=store, name="last", size=3)).warnings == ()


@pytest.mark.anyio
async def test_warnings_reach_whoever_calls_run(place: Path) -> None:
    """Once, at the place of the call, of a category of ours, and also where the outcome is an error."""
    store, it = place.parent / "results.db", evaluation(place, "")
    await run(it, store=store)
    (place / "prompts" / "en.txt").write_text("two")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EvaluationWarning)
        outcome = await run(it, store=store, max_errors=0)
        with pytest.raises(AssertionError):
            await run(it, store=store, max_errors=0, passes="exact >= 1")
    assert [str(each.message) for each in caught] == [*outcome.warnings] * 2
    assert {each.category for each in caught} == {EvaluationWarning}
    assert {each.filename for each in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error", EvaluationWarning)
        with pytest.raises(EvaluationWarning, match="was read, and has changed since"):
            await run(it, store=store)
        with pytest.raises(GateError) as raised:
            await run(it, store=store, max_errors=0, passes="exact >= 1")
        assert raised.value.__notes__ == [f"EvaluationWarning: {text}" for text in outcome.warnings]
        await run(it, store=store, experiment="other")


@dataclasses.dataclass(slots=True)
class Slotted:
    file: Path
    text: str = "data.txt"


class Settings(pydantic.BaseModel):
    file: Path
    text: str = "data.txt"


@dataclasses.dataclass
class Holder:
    held: Any


@pytest.mark.parametrize(
    "made",
    [
        lambda path: [path],
        lambda path: {"a": {path}},
        lambda path: [("v", frozenset({(1, path)}))],
        lambda path: [Slotted(path)],
        lambda path: {"a": [Settings(file=path)]},
        lambda path: [Holder({"a": Slotted(path)})],
    ],
)
def test_a_path_counts_with_what_is_in_it_wherever_it_stands(place: Path, made: Callable[[Path], Any]) -> None:
    """In fields, too, where a text is nobody's mistake."""
    parts = Declared(place, {}).more(made(Path("data.txt"))).parts("it", str(place), None)
    assert [*parts] == ["the file data.txt"]
    with pytest.raises(DependencyError, match="there is no 'none'"):
        Declared(place, {}).more(made(Path("none"))).parts("it", str(place), None)


def test_names_are_printable_and_links_that_lead_nowhere_are_named(place: Path) -> None:
    def parts(*paths: str) -> dict[str, str]:
        return Declared(place, {}).more([*map(Path, paths)]).parts("it", str(place), None)

    odd = "x\x1b[31m\nevil\udcff.md"
    before = parts("prompts")
    (place / "prompts" / odd).write_text("one")
    (place / "prompts" / "loop").symlink_to("loop")
    (place / odd).write_text("one")
    now = parts("prompts", odd)
    shown = "x\\x1b[31m\\nevil\\udcff.md"
    assert changes(before, now) == (
        f"the directory prompts has changed: loop (new), {shown} (new)",
        f"depends_on names the file {shown}, and did not",
    )
    assert changed_files({f"the file {odd}": "@another"}, str(place)) == (f"the file {shown}",)
    with pytest.raises(DependencyError, match=r"there is no 'a.x1bb'"):
        parts("a\x1bb")
    (place / "loop").symlink_to("loop")
    with pytest.raises(DependencyError, match="It is a link that leads back to itself"):
        parts("loop")
    advices = {_advice_for(OSError(number, "")) for number in (EACCES, ELOOP, EIO)}
    assert len(advices) == 3


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_template_is_called_by_what_holds_it(place: Path) -> None:
    """And not by its code, which is called the same in all."""
    output = "FIRST.render(q=q) + SECOND.render(q=q)"

    def made(second: str) -> Evaluation:
        it = evaluation(place, "", output)
        for name, text in {"FIRST": "one {{q}}", "SECOND": second}.items():
            it.function.__globals__[name] = jinja2.Template(text)
        return it

    def outcome(second: str) -> Any:
        return run(made(second), store=place.parent / "results.db")

    await outcome("one {{q}}")
    assert (await outcome("one {{q}}")).answered
    with pytest.raises(EvaluationChangedError) as caught:
        await outcome("two {{q}}")
    assert caught.value.changes == ("the value 'SECOND' has changed",)
