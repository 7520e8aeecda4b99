"""A scorer that scores again is given what it was given before, or it is refused; it never gets something else."""

from __future__ import annotations

import datetime as dt
import enum
import json
import sys
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from doteval import Completion, Result, ToolCall, Usage, foreach
from doteval.cli import main
from doteval.evals import Evaluation, Record, Store, rescore, run
from doteval.evals._results.kept import is_same
from doteval.evals._results.plain import plain

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about values."""
    return "trio"


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Word(str):
    __slots__ = ()


@dataclass
class Invoice:
    total: float


@dataclass
class Hidden:
    total: float

    def __repr__(self) -> str:
        return "a thing"


PLAIN: list[Any] = ["x", "ü", "", 0, 1, -1, 2**70, True, None, 1.5, -0.0, 1e300, [1, "a"], {"a": [1.0]}, [], {}]
OTHERS: list[Any] = [
    (1, 2), (), {1: "one"}, {None: 1}, {1: 1, "1": 2}, {(1,): 1}, float("nan"), float("inf"), b"abc", {"x", "y"},
    dt.date(2020, 1, 2), Decimal("1.10"), Colour.RED, Number.ONE, Word("w"), Invoice(3.0), Hidden(3.0),
    OrderedDict(a=1), defaultdict(int, a=1), "cut \ud800", 10**4001, 1j, range(3), Completion("t"),
]  # fmt: skip
NESTED: list[Callable[[Any], Any]] = [lambda value: value, lambda value: [value], lambda value: {"k": {"l": value}}]


def seen(value: Any) -> int:
    """A number that is another one for whatever is not the same."""
    return zlib.crc32(f"{type(value)} {value!r}".encode("utf-8", "backslashreplace"))


def of_both(output: Any, value: Any) -> dict[str, int]:
    return {"output": seen(output), "value": seen(value)}


def of_output(output: Any) -> dict[str, int]:
    return {"output": seen(output)}


def of_value(value: Any) -> dict[str, int]:
    return {"value": seen(value)}


def of_all(**known: Any) -> dict[str, int]:
    return of_both(known["output"], known["value"])


def of_record(record: Record) -> dict[str, int]:
    return of_both(record.output, record.inputs["value"])


def evaluation_of(value: Any, output: Any) -> Evaluation:
    @foreach("value", [{"value": value, "id": "row"}])
    async def eval_it(value: Any) -> Result:
        return Result(output, scores=of_both(output, value))

    return eval_it


def scores(path: Path, experiment: str) -> Mapping[str, Any]:
    store = Store(path)
    (stored,) = store.evaluations(experiment)
    (record,) = store.records(stored)
    return record.scores or {}


def test_only_what_comes_back_from_json_is_the_same() -> None:
    """However deep it is."""
    for nested in NESTED:
        for value in PLAIN:
            kept = plain(nested(value))
            assert is_same(nested(value), json.loads(json.dumps(kept))), value
        for value in OTHERS:
            kept = plain(nested(value))
            assert not is_same(nested(value), json.loads(json.dumps(kept))), value
    assert not is_same({"a": 1, "b": 2}, {"b": 2, "a": 1})


async def test_what_json_can_hold_is_scored_as_before(tmp_path: Path) -> None:
    """As column and as output."""
    values = [nested(value) for nested in NESTED for value in PLAIN]

    @foreach("number,value", [*enumerate(values)])
    async def eval_it(number: int, value: Any) -> Result:
        return Result(value, scores=of_both(value, values[number]))

    path = tmp_path / "results.db"
    await run(eval_it, store=path, experiment="main", name="it", max_errors=0)
    (stored,) = await rescore("main", of_both, store=path)
    (before,) = Store(path).evaluations("main")
    found = [[record.scores for record in Store(path).records(each)] for each in (before, stored)]
    assert found[0] == found[1]
    assert len(found[0]) == len(values)


@pytest.mark.parametrize("kind", range(len(OTHERS)))
async def test_the_same_function_gives_the_same_scores_or_is_refused(tmp_path: Path, kind: int) -> None:
    """As column and as output; with its evaluation, no column is refused; nor who does not take it, or the record."""
    value = OTHERS[kind]
    path = tmp_path / "results.db"
    before = of_both(value, value)
    evaluation = evaluation_of(value, "plain")
    await run(evaluation, store=path, experiment="column", name="it", max_errors=0)
    await run(evaluation_of("plain", value), store=path, experiment="output", name="it", max_errors=0)

    await rescore("column", of_output, store=path, into="other")
    assert scores(path, "other") == of_output("plain")
    for scorer in (of_value, of_all):
        expected = {"value": before["value"], **({"output": seen("plain")} if scorer is of_all else {})}
        with pytest.raises(TypeError, match=r"takes 'value', of which 'it' has in row 0 only what JSON can hold"):
            await rescore("column", scorer, store=path, into="again", overwrite=True)
        await rescore("column", scorer, store=path, evaluation=evaluation, into="given", overwrite=True)
        assert scores(path, "given") == expected

    if type(value) is not Completion:  # one is made again
        with pytest.raises(TypeError, match="takes 'output', of which"):
            await rescore("output", of_output, store=path)
    await rescore("output", of_value, store=path, into="other value")
    await rescore("output", of_record, store=path, into="kept")


@pytest.mark.parametrize("details", [{}, {"finish_reason": "stop"}, {"retries": 2, "reasoning": "hm", "refusal": "no"}])
async def test_a_reply_is_one_again_or_says_what_is_not_there(tmp_path: Path, details: dict[str, Any]) -> None:
    """All that is asked of it is as it was, or raises."""
    reply = Completion("text", usage=Usage(1, 2), raw=object(), tool_calls=[ToolCall("1", "a", "{}")], **details)
    path = tmp_path / "results.db"
    await run(evaluation_of(1, reply), store=path, experiment="main", name="it")
    names = ("finish_reason", "refusal", "reasoning", "tool_calls", "retries")

    def same(output: Any) -> bool:
        assert isinstance(output, Completion)
        return output == "text" and all(getattr(output, name) == getattr(reply, name) for name in names)

    def cost(output: Any) -> int:
        return getattr(output, "usage", None) is None

    await rescore("main", same, store=path)
    assert scores(path, "main-rescored") == {"same": True}
    (stored,) = await rescore("main", cost, store=path, into="cost")
    assert stored.errors == 1


async def test_prompt_and_metadata_are_refused_likewise_and_the_record_never_is(tmp_path: Path) -> None:
    """Metadata that a scorer has added, too."""

    @foreach("n", [1])
    async def eval_it(n: int) -> Result:
        return Result(n, prompt=("p",), metadata={"a": (1,)} if n == 2 else {"a": [1]})

    path = tmp_path / "results.db"
    await run(eval_it, store=path, experiment="main", name="it")

    def of_prompt(prompt: Any) -> int:
        return len(prompt)

    def of_metadata(metadata: Any) -> Result:
        return Result(scores={"x": len(metadata)}, metadata={"b": (2,)})

    with pytest.raises(TypeError, match="takes 'prompt', of which"):
        await rescore("main", of_prompt, store=path)
    await rescore("main", of_metadata, store=path)
    with pytest.raises(TypeError, match="takes 'metadata', of which"):
        await rescore("main-rescored", of_metadata, store=path)


async def test_a_dataset_that_has_changed_is_not_taken(tmp_path: Path) -> None:
    """The row is known by its id, and has another value by now: the score would be of something else."""
    path = tmp_path / "results.db"
    await run(evaluation_of((1, 2), "o"), store=path, experiment="main", name="it")
    for other in ((1, 3), "x"):
        with pytest.raises(TypeError, match="has no such row as row 0 of 'it' was, or one with other values"):
            await rescore("main", of_value, store=path, evaluation=evaluation_of(other, "o"))
    with pytest.raises(TypeError, match="evaluation is what foreach has made"):
        await rescore("main", of_value, store=path, evaluation=of_value)  # type: ignore[arg-type]


EVALS = """
import enum
from doteval import Result, foreach

class Colour(enum.Enum):
    RED = "red"

def score(output, answer):
    return {"ok": Colour(output) is answer}

@foreach("answer", [Colour.RED])
async def eval_it(answer):
    return Result("red", scores=score("red", answer))
"""


def test_the_command_takes_columns_from_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same file, which is imported once: its classes are the same."""
    file = tmp_path / "eval_colours_again.py"
    file.write_text(EVALS)
    (tmp_path / "scores_of_colours.py").write_text("from eval_colours_again import score")
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    program = (
        "import anyio; from functools import partial; from doteval.evals import run; import eval_colours_again as e;"
        "anyio.run(partial(run, e.eval_it, store='r.db', experiment='main', name='it'))"
    )
    exec(program, {})
    words = ["--store", "r.db", "--overwrite"]
    assert main(["rescore", "main", f"{file}:score", *words]) == 2
    assert "--evaluation FILE.py:EVALUATION" in capsys.readouterr().err
    for place in (file, "scores_of_colours.py", "eval_colours_again"):
        assert main(["rescore", "main", f"{place}:score", "--evaluation", f"{file}:eval_it", *words]) == 0
        assert scores(tmp_path / "r.db", "main-rescored") == {"ok": True}
    assert main(["rescore", "main", f"{file}:score", "--evaluation", f"{file}:score", *words]) == 2
    assert "is no evaluation in" in capsys.readouterr().err
