"""Whatever a row holds can be kept: as JSON, as UTF-8, in finite time."""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evals.anything import anything

from doteval import Result, foreach
from doteval.evals import Store, run
from doteval.evals._results.histogram import histogram
from doteval.evals._results.moments import Moments
from doteval.evals._results.pictures import intervals, means
from doteval.evals._results.plain import plain
from doteval.evals._results.statistics import aggregate
from doteval.evals._results.tables import number

HALF = "\ud83d"  # of an emoji, as a model whose reply is cut off returns it
HUGE = 10**5000


@dataclass
class Node:
    name: str
    others: list[Node] = field(default_factory=list)


class Unreadable(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise OSError("gone")

    def __iter__(self) -> Iterator[str]:
        raise OSError("gone")

    def __len__(self) -> int:
        return 1


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no repr")


def family() -> Node:
    parent = Node("parent")
    parent.others = [Node("child", [parent]) for _ in range(30)]
    return parent


def itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


ODD: dict[str, Any] = {
    "half a character": HALF,
    "half a character in a key": {HALF: [HALF]},
    "half a character in a repr": type("Odd", (), {"__repr__": lambda self: HALF})(),
    "an integer of 5000 digits": HUGE,
    "such a key": {HUGE: -HUGE},
    "no number": [math.nan, math.inf, -math.inf],
    "a family": family(),
    "a list in itself": itself(),
    "what cannot be read": Unreadable(),
    "what cannot be printed": [Unprintable(), {"a": Unprintable()}],
    "a deep list": eval("[" * 80 + "]" * 80),
    "bytes": b"\xff",
    "a set": {HALF, 1, None},
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_an_odd_value_becomes_one_that_can_be_kept(value: Any) -> None:
    """And the same one again, which it equals when it is read."""
    kept = plain(value)
    text = json.dumps(kept, ensure_ascii=False, allow_nan=False)
    text.encode("utf-8")
    assert json.loads(text) == kept
    assert plain(kept) == kept


@given(anything)
def test_anything_can_be_kept_and_is_the_same_when_it_was(value: Any) -> None:
    """Whatever is plain is left alone."""
    kept = plain(value)
    text = json.dumps(kept, ensure_ascii=False, allow_nan=False)
    text.encode("utf-8")
    assert json.loads(text) == kept
    assert plain(kept) == kept


@pytest.mark.parametrize("where", ["input", "output", "metadata", "prompt", "error", "score name"])
@pytest.mark.parametrize("value", [HALF, HUGE, family()], ids=["half", "huge", "family"])
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")  # it is about values
async def test_no_odd_value_of_a_row_ends_the_run(where: str, value: Any, tmp_path: Path) -> None:
    """In a store: all rows are there, and are answered from it the next time."""

    @foreach("value", [value if where == "input" else 1, 2])
    async def eval_it(value: Any, odd: Any) -> Result:
        if where == "error":
            raise ValueError(str(type(odd)) + HALF)
        return Result(
            odd if where == "output" else value,
            prompt=odd if where == "prompt" else "",
            metadata={"it": odd} if where == "metadata" else {},
            scores={HALF if where == "score name" else "right": True},
        )

    with Store(tmp_path / "results.db") as store:
        outcome = await run(eval_it, odd=value, store=store, max_errors=2)
        assert (outcome.summary.rows, outcome.summary.errors) == (2, 2 if where == "error" else 0)
        assert len(list(outcome.records)) == 2
        again = await run(eval_it, odd=value, store=store, max_errors=2)
        assert again.answered


class Scalar:
    """As numpy and torch have them; neither is installed here."""

    def __init__(self, value: object) -> None:
        self.value = value

    def item(self) -> object:
        return self.value


@pytest.mark.parametrize("value", [True, False, 3, 0.5])
def test_a_scalar_of_an_array_library_is_a_score(value: float) -> None:
    """A boolean stays one, as its interval is another one."""
    score = Result(scores={"it": Scalar(value)}).scores["it"]
    assert (score, type(score)) == (value, type(value))


class Double(float):
    """As numpy's float64, which is a float of another type."""


def test_a_score_is_of_a_type_of_python() -> None:
    """Whatever it was given as; so is what is summed up and stored."""
    scores = Result(scores={"a": Double(0.5), "b": Scalar(Double(0.5))}).scores
    assert [type(score) for score in scores.values()] == [float, float]


def test_scalars_of_numpy_are_scores() -> None:
    """A boolean stays one."""
    np = pytest.importorskip("numpy", reason="numpy is not installed; stand-ins of its scalars are tested")
    given = {"a": np.bool_(True), "b": np.float32(0.5), "c": np.int64(3), "d": np.float64(0.25), "e": np.array([2.0])}
    scores = Result(scores=given).scores
    assert [(score, type(score)) for score in scores.values()] == [
        (True, bool), (0.5, float), (3, int), (0.25, float), (2.0, float),
    ]  # fmt: skip
    with pytest.raises(TypeError, match="the score 'a' is no single number but array"):
        Result(scores={"a": np.array([1.0, 2.0])})


@pytest.mark.parametrize("score", [math.nan, math.inf, Scalar(math.nan), 10**400])
def test_a_score_that_is_no_finite_number_is_refused(score: Any) -> None:
    """It would be the mean of all others, too."""
    with pytest.raises(ValueError, match="leave it out where there is none"):
        Result(scores={"it": score})


@pytest.mark.parametrize("score", ["yes", None, [1], Scalar([1]), Scalar("yes")])
def test_a_score_that_is_no_number_is_refused(score: Any) -> None:
    """The message shows one that is right."""
    with pytest.raises(TypeError, match="scores are booleans and numbers by name"):
        Result(scores={"it": score})


def test_an_array_of_several_numbers_is_no_score() -> None:
    """The score is named, and the array's own error is the cause."""

    class Several(Scalar):
        def item(self) -> object:
            raise ValueError("can only convert an array of size 1")

    with pytest.raises(TypeError, match="the score 'it' is no single number but ") as caught:
        Result(scores={"it": Several(None)})  # type: ignore[dict-item]
    assert "size 1" in str(caught.value.__cause__)


@pytest.mark.anyio
@pytest.mark.parametrize("text", [RuntimeError("no text"), 3, HALF])
async def test_an_exception_whose_text_is_broken_is_the_failure_of_its_row(text: Any) -> None:
    """And of no other."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            if isinstance(text, Exception):
                raise text
            return text

    @foreach("value", range(3))
    async def eval_it(value: int) -> Result:
        if value == 1:
            raise BrokenError
        return Result(value)

    outcome = await run(eval_it)
    assert [record.number for record in outcome.failed] == [1]
    assert outcome.summary.rows == 3


@pytest.mark.parametrize("scores", [[1e308, 1e308, -1e308], [10**300, 10**18 + 1], [1.7e308, -1.7e308]])
def test_huge_scores_have_a_summary(scores: list[float]) -> None:
    """Their interval may be unknown."""
    moments = Moments()
    for score in scores:
        moments.add(score)
    found = aggregate(moments)
    assert found.count == len(scores)
    assert not found.error < 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.123456, "0.1235"),
        (74.36, "74.36"),
        (9999.5, "9,999.5"),
        (13580, "13,580.0"),
        (1e15, "1e+15"),
        (0, "0"),
        (math.nan, "nan"),
    ],
)
def test_numbers_are_written_as_a_person_writes_them(value: float, expected: str) -> None:
    """Ten thousand is no power of ten."""
    assert number(value) == expected
    assert number(value, signed=True).lstrip("+") == expected


class Array(Scalar):
    """An array, or a scalar, as numpy and torch have them."""

    def tolist(self) -> object:
        return self.value


class Pretends:
    """Has every attribute, as a mock has."""

    def __getattr__(self, name: str) -> Any:
        return lambda: self

    def __repr__(self) -> str:
        return "pretends"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Array([[1.5, 2], [3, 4]]), [[1.5, 2], [3, 4]]),
        ({"a": Array(3), "b": [Array(0.5), Array(True)]}, {"a": 3, "b": [0.5, True]}),
        (array("d", [1, 2.5]), [1.0, 2.5]),
        (Array([math.nan, HALF]), ["nan", HALF.encode("utf-8", "backslashreplace").decode()]),
        (Pretends(), "pretends"),
    ],
)
def test_an_array_is_kept_as_numbers(value: Any, kept: Any) -> None:
    """Of whichever library, without importing it."""
    assert plain(value) == kept


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({1: "a", "1": "b"}, {"1 (int)": "a", "1": "b"}),
        ({"1": "b", 1: "a"}, {"1": "b", "1 (int)": "a"}),
        ({None: 1, "None": 2}, {"None (NoneType)": 1, "None": 2}),
        ({HALF: 1, "\\ud83d": 2}, {"\\ud83d (str)": 1, "\\ud83d": 2}),
        ({1: "a", "1": "b", "1 (int)": "c"}, {"1 (int 2)": "a", "1": "b", "1 (int)": "c"}),
    ],
)
def test_keys_that_look_the_same_stay_apart(value: dict[Any, Any], kept: dict[str, Any]) -> None:
    """A text keeps its name; nothing of either is lost."""
    assert plain(value) == kept


@given(st.dictionaries(st.text(st.characters()) | st.integers(-3, 3) | st.none() | st.sampled_from("123"), st.none()))
def test_no_key_is_lost(value: dict[Any, None]) -> None:
    """However they are called."""
    assert len(cast("dict[str, None]", plain(value))) == len(value)


EXTREMES = [0.0, 1.0, -1.0, 5e-324, -5e-324, 1e308, -1e308, sys.float_info.max, -sys.float_info.max, 1e-300]


@given(st.lists(st.sampled_from(EXTREMES) | st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_scores_of_any_size_have_a_summary_and_pictures(scores: list[float]) -> None:
    """All values are in the histogram; what is drawn has a place."""
    moments = Moments()
    for score in scores:
        moments.add(score)
    found = aggregate(moments)
    assert min(scores) - 1e300 <= found.mean <= max(scores) + 1e300
    counts = histogram(scores, 20, (min(scores), max(scores)))
    assert sum(count for _, _, count in counts) == len(scores)
    assert (counts[0][0], counts[-1][1]) == (min(scores), max(scores))
    assert all(low <= high for low, high, _ in counts)
    (point,) = means([("it", found)]).points
    assert all(math.isfinite(x) for x in (point.x, *(point.reach or ())))
    assert intervals(counts, "{:.3g}".format).bars


@pytest.mark.parametrize("name", ["NAType", "NaTType"])
def test_what_pandas_says_where_there_is_nothing_is_nothing(name: str) -> None:
    """So it is no cluster either."""
    missing = type(name, (), {"__module__": "pandas._libs.missing", "__repr__": lambda self: "<NA>"})()
    assert plain({"cluster": missing}) == {"cluster": None}


@pytest.mark.parametrize("count", [1, 2, 3, 8, 40])
def test_values_that_all_refer_to_each_other_are_kept_in_bounded_space(count: int) -> None:
    """The ways between them are as many as there are orders; each is looked into a few times."""
    nodes = [Node(str(number)) for number in range(count)]
    for node in nodes:
        node.others = [*nodes]
    kept = json.dumps(plain(nodes[0]))
    assert len(kept) < 1000 * count * count
    assert all(f'"name": "{number}"' in kept for number in range(count))
    assert plain(nodes[0]) == json.loads(kept)


def test_values_that_are_shared_are_whole_until_they_are_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """One configuration in a thousand rows is there a thousand times; what doubles thirty times is cut."""
    monkeypatch.setattr("doteval.evals._results.plain._MOST", 5000)
    shared = {"temperature": [0]}
    assert plain([shared] * 1000) == [shared] * 1000
    doubled: list[object] = [0]
    for _ in range(30):
        doubled = [doubled, doubled]
    assert "there is too much" in json.dumps(plain(doubled))
