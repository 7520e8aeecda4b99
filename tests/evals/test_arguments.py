"""What `run` and `foreach` are given is looked at once, before anything is done, and what cannot be meant is said."""

from __future__ import annotations

import inspect
import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from doteval import OpenAIProvider, Result, foreach
from doteval.evals import EvaluationChangedError, Store, run
from doteval.testing import FakeModel

pytestmark = pytest.mark.anyio

WRONG: list[object] = [
    *(1.5, -1, 0, True, False, math.nan, math.inf, 10**400, "2", "", "x", "\ud800", b"x", (), [], [5], {}, {5: 6}),
    *({"x": "y"}, set[int](), object(), int, Result, print, Path(), FakeModel(), Store, None),
]


class Whole:
    """A whole number of another library."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number

    def __float__(self) -> float:
        return float(self.number)


def is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**300


MEANT: dict[str, Any] = {
    "store": lambda value: value is None or isinstance(value, (str, Path)),
    "experiment": lambda value: isinstance(value, str),
    "name": lambda value: value is None or isinstance(value, str),
    "fresh": lambda value: isinstance(value, bool),
    "changed": lambda value: value in ("error", "rerun", "keep"),
    "limit": lambda value: value is None or is_whole(value, 1),
    "sample": lambda value: value is None or is_whole(value, 1),
    "seed": lambda value: is_whole(value, -(10**9)),
    "row": lambda value: value is None or isinstance(value, str) or is_whole(value, -9),
    "epochs": lambda value: value is None or is_whole(value, 1),
    "concurrency": lambda value: value is None or value == "adaptive" or is_whole(value, 1),
    "max_errors": lambda value: value is None or is_whole(value, 0),
    "passes": lambda value: value in ((), [], {}, set(), {5: 6}),
    "baseline": lambda value: isinstance(value, str),
    "abort_after": lambda value: is_whole(value, 0),
    "row_timeout": lambda value: value is None or is_seconds(value) or value == math.inf,
    "retries": lambda value: value is None,
    "cache": lambda value: value in (None, "on", "read", "write", "off"),
    "transcripts": lambda value: isinstance(value, bool),
    "on_record": lambda value: value is None or callable(value),
    "tags": lambda value: value is None or isinstance(value, dict),
    "arguments": lambda value: value in (None, {}, {"x": "y"}),
}
CALLED: list[int] = []


def evaluation(**options: Any) -> Any:
    @foreach("row", [1, 2], **options)
    async def eval_it(row: int) -> Result:
        CALLED.append(row)
        return Result(row)

    return eval_it


def is_meant(name: str, value: object) -> bool:
    try:
        return bool(MEANT[name](value))
    except TypeError:  # it cannot be compared
        return False


def number_of(value: object) -> str:
    return f"{type(value).__name__} {WRONG.index(value)}"


@pytest.mark.parametrize("name", MEANT)
async def test_what_cannot_be_meant_is_said_before_anything_is_done(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sentence that names the argument, and says what was given."""
    monkeypatch.chdir(tmp_path)
    for value in WRONG:
        if is_meant(name, value):
            continue
        CALLED.clear()
        with pytest.raises((TypeError, ValueError)) as caught:
            await run(evaluation(), **{name: value})
        message = str(caught.value)
        assert not CALLED, value
        assert name in message or (name == "passes" and "is no gate" in message), (name, value, message)
        assert type(caught.value) in (TypeError, ValueError)
        assert "object is not" not in message
        assert "not supported between" not in message
    assert not os.listdir(tmp_path)  # noqa: PTH208


@pytest.mark.parametrize("name", ["concurrency", "epochs", "row_timeout", "retries", "passes"])
def test_foreach_says_it_where_it_stands(name: str) -> None:
    for value in WRONG:
        may_be_none = name in ("concurrency", "retries")
        if (value is None and may_be_none) or (value is not None and is_meant(name, value)):
            continue
        with pytest.raises((TypeError, ValueError)) as caught:
            evaluation(**{name: value})
        assert name in str(caught.value) or (name == "passes" and "is no gate" in str(caught.value)), value


@pytest.mark.parametrize("columns", [value for value in WRONG if value != "x"], ids=lambda value: type(value).__name__)
def test_columns_are_names(columns: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="columns are names of arguments"):
        foreach(columns, [1])


async def test_numbers_of_other_libraries_are_numbers() -> None:
    """Such as those of numpy."""
    number: Any = Whole(1)
    given = dict.fromkeys(("limit", "sample", "seed", "epochs", "concurrency", "max_errors", "abort_after"), number)
    outcome = await run(evaluation(), row_timeout=number, **given)
    assert outcome.name == "eval_it (1 of first 1, seed 1)"


async def test_a_model_is_none_of_what_makes_models() -> None:
    @foreach("row", [1])
    async def eval_it(row: int, model: Any) -> Result:
        return Result(row)

    with pytest.raises(TypeError, match="model= is a OpenAIProvider, which is no model"):
        await run(eval_it, model=OpenAIProvider())


async def test_it_is_noted_whether_errors_were_allowed(tmp_path: Path) -> None:
    """None, some, or nothing said."""
    for number, allowed in enumerate((None, 0, 2)):
        await run(evaluation(), store=tmp_path / "results.db", max_errors=allowed, experiment=str(number))
    with Store(tmp_path / "results.db") as store:
        runs = {each.experiment: store.runs(each)[0] for each in store.evaluations()}
    assert [runs[name].about["settings"].get("max_errors") for name in "012"] == [None, 0, 2]


OWN = [name for name in inspect.signature(run).parameters if name not in ("model", "others")]


@pytest.mark.parametrize("default", ["", "=0"])
def test_no_argument_of_the_evaluation_is_taken_for_one_of_run(default: str) -> None:
    """Where both have it, the evaluation's is given by name; its default is taken where nobody gives either."""
    for name in OWN:
        names: dict[str, Any] = {}
        exec(f"async def eval_it(q, {name}{default}): return Result({name})", {"Result": Result}, names)
        it = foreach("q", ["a"])(names["eval_it"])
        to_run: list[dict[str, Any]] = [] if name in ("evaluation", "arguments") else [{name: 1}]
        if default:
            (record,) = anyio.run(run, it).records
            assert record.output == 0
        for given in (*(() if default else ({}, {"arguments": {"q2": 1}})), *to_run):
            with pytest.raises(TypeError, match=rf"eval_it\(\) has an argument '{name}', and run\(\) has one"):
                anyio.run(partial(run, it, **given))
        outcome = anyio.run(partial(run, it, arguments={name: 7}))
        assert [record.output for record in outcome.records] == [7]


async def test_arguments_given_by_name_count_as_all_others_do(tmp_path: Path) -> None:
    @foreach("q", ["a"])
    async def eval_it(q: str, seed: int = 0) -> Result:
        return Result(seed)

    store = tmp_path / "results.db"
    assert not (await run(eval_it, store=store, arguments={"seed": 1})).answered
    assert (await run(eval_it, store=store, arguments={"seed": 1})).answered
    with pytest.raises(EvaluationChangedError, match="the argument 'seed'"):
        await run(eval_it, store=store, arguments={"seed": 2})


async def test_what_takes_any_argument_takes_no_column_and_none_twice() -> None:
    """What is called like one of `run` is the run's, unless it is said to be the evaluation's."""

    @foreach("q", ["a"])
    async def eval_it(q: str, **arguments: Any) -> Result:
        return Result([q, arguments])

    outcome = await run(eval_it, seed=1, arguments={"seed": 2}, more=3)
    assert [record.output for record in outcome.records] == [["a", {"seed": 2, "more": 3}]]
    with pytest.raises(TypeError, match=r"is given its argument 'more' twice"):
        await run(eval_it, arguments={"more": 2}, more=3)
    for given in ({"q": "b"}, {"arguments": {"q": "b"}}):
        with pytest.raises(TypeError, match=r"eval_it\(\) gets 'q' from its dataset"):
            await run(eval_it, **given)
