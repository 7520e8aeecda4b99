"""What samples of a row say together, beside all ways to choose some of them."""

from __future__ import annotations

from itertools import combinations
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doteval.evals._results.moments import Moments
from doteval.evals._results.reducers import REDUCED, Tallies, interval, names, reduced

ROWS = st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=8)


def reduced_of(rows: list[list[bool]], most: int, clusters: list[str | None] | None = None) -> dict[str, Moments]:
    tallies = Tallies()
    for number, row in enumerate(rows):
        for score in row:
            tallies.add(str(number), score, None if clusters is None else clusters[number])
    found = {name: reduced(tallies.counted(), name, is_boolean=True) for name in names(most)}
    return {name: moments for name, moments in found.items() if moments.count}


@given(ROWS)
def test_estimates_are_the_mean_over_all_ways_to_choose_samples(rows: list[list[bool]]) -> None:
    """That is what makes them unbiased; rows with too few samples say nothing."""
    most = max(map(len, rows))
    found = reduced_of(rows, most)
    for of in range(1, most + 1):
        for sign, judge in (("@", any), ("^", all)):
            expected = [mean(map(judge, combinations(row, of))) for row in rows if len(row) >= of]
            moments = found[f"pass{sign}{of}"]
            assert moments.count == len(expected)
            assert moments.middle == pytest.approx(mean(expected))
            by_hand = Moments()
            for value in expected:
                by_hand.add(value)
            assert (moments.mean, moments.squares) == pytest.approx((by_hand.mean, by_hand.squares), abs=1e-12)
            assert moments.is_binary == by_hand.is_binary
    majority = [2 * sum(row) > len(row) for row in rows]
    assert found["majority"].middle == pytest.approx(mean(majority))
    assert found["majority"].is_binary


@given(ROWS, st.data())
def test_intervals_are_within_0_and_1_and_around_the_mean(rows: list[list[bool]], data: st.DataObject) -> None:
    """Also in clusters, of a single row, and where all are the same."""
    clusters = data.draw(st.lists(st.sampled_from(["a", "b", None]), min_size=len(rows), max_size=len(rows)))
    samples = sum(map(len, rows))
    for moments in reduced_of(rows, max(map(len, rows)), clusters).values():
        _, low, high = interval(moments, samples)
        assert 0 <= low <= moments.middle + 1e-9
        assert moments.middle - 1e-9 <= high <= 1
        assert high - low > 0.05


def test_more_than_there_are_is_left_out() -> None:
    """`most` is what was asked for; all rows may have fewer."""
    assert "pass@3" not in reduced_of([[True, False]], 3)


@pytest.mark.parametrize(
    ("name", "score"),
    [("a.pass@3", "a"), ("a.pass^12", "a"), ("a.b.majority", "a.b"), ("a.pass@0", None), ("a.pass", None), ("a", None)],
)
def test_names(name: str, score: str | None) -> None:
    """Of a score, and of what its samples say together."""
    found = REDUCED.fullmatch(name)
    assert (found and found["score"]) == score
