"""Which rows of two evaluations are compared: the same ones, wherever they stand, and nothing else is read."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import Store, Stored, run
from doteval.evals._results.compare import compare


def stored(path: Path, name: str, rows: list[Any], scores: dict[int, bool | None]) -> Stored:
    """Results of an evaluation: a row's value is its first cell; it fails where it has no score."""

    @foreach("value,note", rows)
    async def eval_it(value: int, note: str) -> Result:
        score = scores.get(value, True)
        if score is None:
            raise ValueError(value)
        return Result(value, scores={"good": score})

    anyio.run(lambda: run(eval_it, store=path, name=name))
    found = Store(path).find("default", name)
    assert found is not None
    return found


VALUES = st.lists(st.integers(0, 5), max_size=8)


@settings(max_examples=30, deadline=None)
@given(before=VALUES, after=VALUES, scores=st.dictionaries(st.integers(0, 5), st.sampled_from([True, False, None])))
def test_rows_are_paired_by_what_they_hold(
    before: list[int], after: list[int], scores: dict[int, bool | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Equal rows as often as both sides have them; those that failed are in no pair."""
    path = tmp_path_factory.mktemp("store") / "results.db"
    sides = [
        stored(path, name, [(value, "") for value in values], scores) for name, values in (("a", before), ("b", after))
    ]
    compared = compare(Store(path), *sides)
    both, either = Counter(before) & Counter(after), Counter(before) | Counter(after)
    good = sum(count for value, count in both.items() if scores.get(value, True) is not None)
    assert compared.unpaired.total == either.total() - good
    assert [difference.count for difference in compared.differences] == ([good] if good else [])
    assert all(difference.mean == 0 for difference in compared.differences)


def test_rows_with_an_id_are_compared_where_they_hold_the_same(tmp_path: Path) -> None:
    """Another value under the same id is another question."""
    path = tmp_path / "results.db"

    def rows(*notes: str) -> list[dict[str, Any]]:
        return [{"id": f"q{number}", "value": number, "note": note} for number, note in enumerate(notes)]

    one = stored(path, "a", rows("x", "y", "z"), {0: False})
    other = stored(path, "b", [*reversed(rows("x", "y", "changed"))], {})
    compared = compare(Store(path), one, other)
    assert (compared.unpaired.changed, [difference.count for difference in compared.differences]) == (1, [2])
    assert compared.differences[0].mean == 0.5


def test_outputs_are_not_read_to_compare_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be large."""
    path = tmp_path / "results.db"
    sides = [stored(path, name, [(1, ""), (2, "")], {}) for name in "ab"]
    statements: list[str] = []
    store = Store(path)
    with store.snapshot() as snapshot:
        connection: Any = snapshot._connection
        connection.set_trace_callback(statements.append)
        assert compare(snapshot, *sides).unpaired.total == 0
    assert statements
    assert not [statement for statement in statements if "output" in statement or "SELECT *" in statement]


SCORES = st.sets(st.sampled_from(["a", "b"]))
SIDES = SCORES.map(lambda scores: (scores, scores)) | st.tuples(*[SCORES | st.sampled_from(["absent", "cut"])] * 2)
"""The scores of an evaluation on both sides: it may be absent, or have been ended before its first row."""
SAME: Any = ({"a"}, {"a"})


@settings(max_examples=60, deadline=None)
@given(others=st.lists(SIDES, max_size=2), named=st.sets(st.sampled_from(["a", "b", "c"]), max_size=2))
@example(others=[({"b"}, {"b"})], named={"a"})
@example(others=[({"b"}, "absent")], named={"a"})
@example(others=[({"b"}, {"a", "b"})], named={"a"})
@example(others=[("cut", {"b"})], named={"a"})
@example(others=[({"a", "b"}, {"b"})], named={"a"})
@example(others=[], named={"a", "c"})
def test_a_build_fails_for_the_scores_that_are_named_and_no_others(
    others: list[tuple[Any, Any]], named: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where one side has lost one of them, or nobody has it; an evaluation that never had any is not compared."""
    path = str(tmp_path_factory.mktemp("store") / "results.db")

    def give(experiment: str, name: str, scores: Any) -> None:
        @foreach("number", range(2))
        async def eval_it(number: int) -> Result:
            if scores == "cut":
                raise KeyboardInterrupt
            return Result(number, scores=dict.fromkeys(scores, 1))

        with suppress(KeyboardInterrupt):
            anyio.run(lambda: run(eval_it, store=path, experiment=experiment, name=name))

    evaluations = [SAME, *others]
    for number, sides in enumerate(evaluations):
        for experiment, scores in zip(("before", "after"), sides, strict=True):
            if scores != "absent":
                give(experiment, f"eval_{number}", scores)

    def is_red(before: Any, after: Any) -> bool:
        had, has = ({*side} if isinstance(side, set) else set[str]() for side in (before, after))
        wanted = had & named if named else had
        if before == "absent" or (named and not wanted and before != "cut"):  # new, or not concerned
            return False
        return bool(wanted - has) or "cut" in (before, after) or after == "absent" or not (had & has)

    both = set[str]().union(*(one & other for one, other in evaluations if {type(one), type(other)} == {set}))
    expected = bool(named - both) or any(is_red(*sides) for sides in evaluations)
    options = [option for score in sorted(named) for option in ("--score", score)]
    assert main(["compare", "before", "after", "--store", path, "--fail-if", "worse", *options]) == expected
