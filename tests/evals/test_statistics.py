"""What numbers say together: beside what others compute, and whatever the numbers are."""

from __future__ import annotations

import json
import math
import operator
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import Aggregate, Outcome, Record, Score, Store, run, summarise
from doteval.evals._results.compare import Comparison, Difference, compare
from doteval.evals._results.intervals import student, tango, wilson
from doteval.evals._results.moments import Moments, cluster_of
from doteval.evals._results.pairing import RowScores
from doteval.evals._results.plain import plain
from doteval.evals._results.statistics import aggregate
from doteval.evals._results.tables import summary_rows


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about numbers."""
    return "trio"


REFERENCE = json.loads(Path(__file__).with_name("reference.json").read_text("utf-8"))
"""Made by make_reference.py, which says how."""


def together(scores: Iterable[Score], clusters: Sequence[Any] | None = None) -> Aggregate:
    moments = Moments()
    for place, score in enumerate(scores):
        moments.add(score, None if clusters is None else clusters[place])
    return aggregate(moments)


def ends(found: Aggregate | Difference) -> tuple[float, float]:
    return found.low, found.high


close = partial(pytest.approx, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("case", REFERENCE["shares"])
def test_shares_are_those_of_statsmodels(case: dict[str, Any]) -> None:
    true, count = case["true"], case["count"]
    assert ends(together([True] * true + [False] * (count - true))) == close(case["interval"])


@pytest.mark.parametrize("case", REFERENCE["numbers"])
def test_numbers_are_those_of_scipy(case: dict[str, Any]) -> None:
    found = together(case["values"])
    assert (found.error, *ends(found)) == close((case["error"], *case["interval"]))


@pytest.mark.parametrize("case", REFERENCE["clusters"])
def test_clusters_are_those_of_statsmodels(case: dict[str, Any]) -> None:
    """Where they are of different sizes, the error; the interval is then wider, as fewer clusters count."""
    found = together(case["values"], case["clusters"])
    assert found.error == close(case["error"])
    assert found.clusters == len(set(case["clusters"]))
    if case["interval"]:
        assert ends(found) == close(case["interval"])
    else:
        assert found.high - found.mean > student(found.clusters - 1) * found.error


@pytest.mark.parametrize("case", REFERENCE["paired"])
def test_paired_shares_are_those_of_a_search_for_the_greatest_likelihood(case: dict[str, Any]) -> None:
    assert tango(case["gained"], case["lost"], case["count"]) == close(case["interval"])


def test_paired_shares_are_those_that_others_have_published() -> None:
    """Airway hyper-responsiveness before and after a transplantation, in Fagerland, Lydersen and Laake (2014)."""
    assert tango(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@given(st.integers(1, 300), st.data())
def test_the_interval_of_paired_shares(count: int, data: st.DataObject) -> None:
    """Holds what was found, is the same the other way round, is no point; it leaves out 0 where McNemar's test does."""
    gained = data.draw(st.integers(0, count))
    lost = data.draw(st.integers(0, count - gained))
    low, high = tango(gained, lost, count)
    assert -1 <= low <= (gained - lost) / count <= high <= 1
    assert tango(lost, gained, count) == (-high, -low)
    assert high - low > 1 / count
    z = abs(gained - lost) / math.sqrt(gained + lost) if gained + lost else 0.0
    if abs(z - student(1e9)) > 1e-6:
        assert (low > 0 or high < 0) is (z > student(1e9))


KINDS: tuple[Any, ...] = (bool, int, float)


@given(st.lists(st.booleans(), min_size=1), st.data())
def test_what_is_0_or_1_is_a_share_whatever_its_type(scores: list[bool], data: st.DataObject) -> None:
    """Its interval is Wilson's; only booleans are shown in percent."""
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=len(scores), max_size=len(scores)))
    found = together(kind(score) for kind, score in zip(kinds, scores, strict=True))
    assert ends(found) == wilson(sum(scores) / len(scores), len(scores))
    assert (found.is_binary, found.is_boolean, found.clusters) == (True, set(kinds) == {bool}, None)
    other = together([*scores, 0.5])
    assert (other.is_binary, other.is_boolean) == (False, False)


@pytest.mark.parametrize("scores", [[0.7], [0.7] * 20, [2.0, 2, 2], [0.1 + 0.2, 0.3], [-1.0] * 5, [1e300, 1e300]])
def test_numbers_that_are_all_the_same_have_no_interval(scores: list[float]) -> None:
    """That nothing varied does not say that nothing can."""
    found = together(scores)
    assert found.mean == pytest.approx(scores[0])
    assert not found.has_interval
    assert math.isnan(found.error)


def test_numbers_that_differ_a_little_have_one() -> None:
    """Such as times since 1970."""
    found = together([1.7e9 + number / 1000 for number in range(10)])
    assert found.low < 1.7e9 + 0.0045 < found.high < 1.7e9 + 0.01


@pytest.mark.parametrize("start", [0, 1e15, -1e15])
def test_whole_numbers_that_differ_have_one_however_large_they_are(start: float) -> None:
    """Nothing of them is lost to rounding."""
    found = together([start + number for number in range(5)])
    assert (found.mean - start, found.error) == (2, pytest.approx(math.sqrt(0.5)))
    assert found.low - start < 1 < 3 < found.high - start


numbers = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda number: round(number, 3))
scores_of_a_kind = st.lists(st.booleans(), min_size=1) | st.lists(numbers, min_size=1)


@given(scores_of_a_kind)
def test_clusters_of_one_row_are_no_clusters(scores: list[Score]) -> None:
    """The interval is the same."""
    alone, apart = together(scores), together(scores, range(len(scores)))
    assert ends(apart) == pytest.approx(ends(alone), rel=1e-9, abs=1e-9, nan_ok=True)
    assert apart.clusters == len(scores)


@given(scores_of_a_kind, st.integers(2, 5))
def test_saying_the_same_again_says_nothing_new(scores: list[Score], times: int) -> None:
    """Each row several times, in a cluster of its own: the interval is that of the rows."""
    alone = together(scores)
    again = together(
        [score for score in scores for _ in range(times)], [n for n in range(len(scores)) for _ in range(times)]
    )
    assert ends(again) == pytest.approx(ends(alone), rel=1e-6, abs=1e-6, nan_ok=True)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5) | st.none()), min_size=1))
def test_a_share_in_clusters_says_as_much_as_its_clusters_at_least_and_as_its_rows_at_most(
    rows: list[tuple[bool, int | None]],
) -> None:
    """Rows without a cluster are independent; the order of rows does not matter."""
    scores, clusters = [score for score, _ in rows], [cluster for _, cluster in rows]
    found = together(scores, clusters)
    sizes = [clusters.count(cluster) for cluster in set(clusters) - {None}] + [1] * clusters.count(None)
    least = wilson(found.mean, len(rows) ** 2 / sum(size**2 for size in sizes))
    most = wilson(found.mean, len(rows))
    slack = 1e-9
    assert least[0] - slack <= found.low <= most[0] + slack
    assert most[1] - slack <= found.high <= least[1] + slack
    back = together(reversed(scores), clusters[::-1])
    assert ends(back) == pytest.approx(ends(found), rel=1e-6, abs=1e-9)


def model_of_spread(sizes: Sequence[int], residuals: Sequence[float]) -> tuple[float, float]:
    """The squared CR2 error of a mean, and its degrees of freedom (Bell and McCaffrey), as matrices have them."""
    count = sum(sizes)
    error2 = sum(r**2 / (1 - size / count) for size, r in zip(sizes, residuals, strict=True)) / count**2
    vectors = [
        [
            ((place == own) - size / count) / math.sqrt(1 - size / count)
            for own, of in enumerate(sizes)
            for _ in range(of)
        ]
        for place, size in enumerate(sizes)
    ]
    gram = [[sum(map(operator.mul, one, other)) for other in vectors] for one in vectors]
    trace = sum(gram[place][place] for place in range(len(sizes)))
    return error2, max(1.0, trace**2 / sum(cell**2 for line in gram for cell in line))


def model_of_count(scores: Sequence[float], clusters: Sequence[int]) -> float:
    """How many independent rows a share stands on, from its definition."""
    count, share = len(scores), sum(scores) / len(scores)
    parts = [[score for score, own in zip(scores, clusters, strict=True) if own == name] for name in set(clusters)]
    least = count**2 / sum(len(part) ** 2 for part in parts)
    if share in (0, 1) or len(parts) == 1:
        return least
    residuals = [sum(score - share for score in part) for part in parts]
    squares = [residual**2 for residual in residuals]
    if sum(squares) < 1e-12:
        return count
    error2, freedom = model_of_spread([*map(len, parts)], residuals)
    kurtosis = len(parts) * sum(square**2 for square in squares) / sum(squares) ** 2
    if kurtosis - 1 > 1e-9:
        freedom = max(1.0, min(freedom, 2 * len(parts) / (kurtosis - 1)))
    as_many = (share * (1 - share) / error2 + 1) * (student(1e9) / student(freedom)) ** 2
    return min(max(as_many, least), count)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=60))
def test_how_many_independent_rows_a_share_stands_on(rows: list[tuple[bool, int]]) -> None:
    """As by its definition: Kish, CR2, Bell and McCaffrey, and Satterthwaite."""
    scores, clusters = [float(score) for score, _ in rows], [cluster for _, cluster in rows]
    found = together(scores, clusters)
    assert ends(found) == pytest.approx(wilson(found.mean, model_of_count(scores, clusters)), abs=1e-6)


@given(st.lists(st.tuples(numbers, st.integers(0, 9)), min_size=2, max_size=60))
def test_the_interval_of_numbers_in_clusters(rows: list[tuple[float, int]]) -> None:
    """As by its definition: the error is CR1, as statsmodels has it, and the interval Student's, of CR2."""
    scores, clusters = [score * 1e3 for score, _ in rows], [cluster for _, cluster in rows]
    found = together([*scores, -2e9], [*clusters, "far off"])
    parts = [[s for s, own in zip([*scores, -2e9], [*clusters, 10], strict=True) if own == n] for n in {*clusters, 10}]
    residuals = [sum(score - found.mean for score in part) for part in parts]
    error2, freedom = model_of_spread([*map(len, parts)], residuals)
    count = len(scores) + 1
    cr1 = len(parts) / (len(parts) - 1) * sum(residual**2 for residual in residuals) / count**2
    assert found.error == pytest.approx(math.sqrt(cr1), rel=1e-6)
    assert found.high - found.mean == pytest.approx(student(freedom) * math.sqrt(error2), rel=1e-6)


@given(st.lists(st.floats(0, 1, allow_subnormal=False).map(lambda number: round(number, 6)), min_size=2))
def test_the_interval_of_numbers_from_0_to_1(scores: list[float]) -> None:
    """Stays there and holds the mean; no end is further off than it says, if it were the true mean."""
    found = together(scores)
    if found.is_binary or not found.has_interval:
        return
    assert 0 <= found.low <= found.mean <= found.high <= 1
    t, variance = student(len(scores) - 1), found.mean * (1 - found.mean)
    for end in ends(found):
        reach = t * found.error * math.sqrt(end * (1 - end) / variance)
        assert abs(end - found.mean) <= reach * 1.001 + 1e-9


@pytest.mark.parametrize("count", [5, 40, 1000])
def test_numbers_in_the_middle_have_students_interval(count: int) -> None:
    """As if nobody knew that they are from 0 to 1."""
    scores = [0.5 + place % 7 / 10_000 for place in range(count)]
    (low, high), (below, above) = ends(together(scores)), ends(together([*(score + 7 for score in scores)]))
    assert (low + 7, high + 7) == pytest.approx((below, above), abs=2e-6)


@given(st.lists(st.tuples(numbers, st.integers(0, 5) | st.none()), min_size=2))
def test_a_row_on_its_own_is_a_cluster_of_one(rows: list[tuple[float, int | None]]) -> None:
    """The interval is the same where it has a name of its own."""
    scores = [score for score, _ in rows]
    found = together(scores, [cluster for _, cluster in rows])
    named = together(
        scores, [f"row {place}" if cluster is None else cluster for place, (_, cluster) in enumerate(rows)]
    )
    assert ends(found) == pytest.approx(ends(named), rel=1e-6, abs=1e-6, nan_ok=True)


EXTREMES = [0.0, 1.0, -1.0, 5e-324, 1e308, -1e308, sys.float_info.max, -sys.float_info.max, 1e-300, 10**300]


@given(st.lists(st.tuples(st.sampled_from(EXTREMES), st.integers(0, 2) | st.none()), min_size=1))
def test_no_number_is_too_large_for_clusters(rows: list[tuple[float, int | None]]) -> None:
    """There may be no interval."""
    found = together([score for score, _ in rows], [cluster for _, cluster in rows])
    assert not found.low > found.high


NA = type("NAType", (), {"__module__": "pandas._libs.missing"})()
EMPTY: list[Any] = [None, "", " ", "\t\n", "\xa0", math.nan, NA]
"""What cells hold that are empty, as readers of tables say it."""


def test_what_a_cluster_is_called() -> None:
    """Any value but nothing; the same for the same value only."""
    given: list[Any] = ["1", 1, 1.5, True, ["1"], {"a": 1}, "-"]
    assert len({cluster_of({"cluster": value}) for value in given}) == len(given)
    assert cluster_of({"cluster": {"a": 1, "b": 2}}) == cluster_of({"cluster": {"b": 2, "a": 1}})
    assert cluster_of({}) is None
    for value in EMPTY:
        assert cluster_of({"cluster": plain(value)}) is None


@pytest.mark.anyio
@pytest.mark.parametrize("empty", EMPTY, ids=lambda value: ascii(value).partition(" object")[0])
async def test_an_empty_cell_is_no_cluster_and_no_id(empty: Any, tmp_path: Path) -> None:
    """Rows with none are on their own, as where nobody has such a column, and are known by their values."""

    async def outcome(columns: str, rows: list[Any]) -> Outcome:
        @foreach(columns, rows)
        async def eval_it(q: int, cluster: Any = None) -> Result:
            return Result(q, scores={"s": q % 2 == 0})

        return await run(eval_it, store=tmp_path / f"{columns}.db", changed="rerun")

    rows = [{"q": q, "cluster": empty, "id": empty} for q in range(10)]
    known = (await outcome("q,cluster", rows)).summary.scores["s"]
    assert known == (await outcome("q", rows)).summary.scores["s"]
    assert known.clusters is None
    assert (await outcome("q", rows[::-1])).answered


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_half_of_the_rows_take_no_longer_than_the_median(seconds: list[float]) -> None:
    """Of an even number, the mean of the two in the middle."""
    found = summarise(Record(number, "", "", {}, seconds=each) for number, each in enumerate(seconds))
    assert found.p50 == median(seconds)
    assert found.p95 in seconds


def test_a_score_that_some_rows_lack_says_how_many_have_it() -> None:
    """Beside its name; rows that raised have none, and are counted elsewhere."""
    records = [Record(0, "", "", {}, scores={"a": True, "b": True}), Record(1, "", "", {}, scores={"a": True})]
    summary = summarise([*records, Record(2, "", "", {}, error="ValueError")])
    assert [row[3] for row in summary_rows([("it", summary)])] == ["a", "b (1 row)"]


# ------------------------------------------------------------------ in a store


async def compared(directory: Path, before: Sequence[Any], after: Sequence[Any], clusters: Any = None) -> Comparison:
    """Two evaluations of the same rows; a score of `None` is none."""
    given = list(range(len(before))) if clusters is None else clusters
    with Store(directory / "results.db") as store:
        for name, scores in (("before", before), ("after", after)):

            @foreach("number,cluster", list(enumerate(given)))
            async def eval_it(number: int, cluster: Any, scores: Sequence[Any] = scores) -> Result:
                return Result(number, scores={} if scores[number] is None else {"good": scores[number]})

            outcome = await run(eval_it, store=store, experiment=name)
            assert repr(outcome.summary.scores) == repr(summarise(outcome.records).scores)  # no NaN equals another
            bare = summarise(replace(record, inputs={}) for record in outcome.records)  # clusters are in the inputs
            assert all(found.clusters is None for found in bare.scores.values())
            assert all(found.clusters for found in outcome.summary.scores.values())
        (one,), (other,) = store.evaluations("before"), store.evaluations("after")
        with store.snapshot() as results:
            return compare(results, one, other)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")  # it is about values
@pytest.mark.parametrize(
    ("before", "after", "interval", "is_clear"),
    [
        ([False] * 2, [True] * 2, (-0.315, 1), False),
        ([0.0] * 2, [1.0] * 2, (-0.315, 1), False),
        ([True, False] * 5, [True, False] * 5, (-0.278, 0.278), False),
        ([False] * 10, [True] * 10, (0.445, 1), True),
        ([False], [True], (-0.587, 1), False),
        ([0.3], [0.5], None, False),
        ([0.3] * 3, [0.5] * 3, None, False),
        ([0.3] * 4, [0.5] * 4, None, True),
        ([0.3] * 9, [0.1 + 0.2] * 9, None, False),
        ([1000.1, 1000.2, 1000.4], [1000.4, 1000.5, 1000.7], None, False),
        ([0.5, 0.5, 0.7], [0.9, 0.8, 1.1], (0.223, 0.510), True),
    ],
    ids=["two of two flip", "the same as numbers", "none flips", "all flip", "one row", "one number", "three the same",
         "four the same", "only rounding", "all the same but for rounding", "numbers"],
)  # fmt: skip
async def test_a_difference_is_clear_only_where_rows_say_so(
    before: list[Any], after: list[Any], interval: tuple[float, float] | None, is_clear: bool, tmp_path: Path
) -> None:
    """And where there is no interval, nothing is claimed, unless several rows differ, and all by the same."""
    (difference,) = (await compared(tmp_path, before, after)).differences
    assert ends(difference) == pytest.approx(interval or (math.nan, math.nan), abs=1e-3, nan_ok=True)
    assert difference.is_clear is is_clear
    assert difference.is_binary is all(score in (0, 1) for score in (*before, *after))
    assert (difference.count, difference.clusters) == (len(before), len(before))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")
async def test_a_difference_in_clusters_is_less_clear(tmp_path: Path) -> None:
    """Ten rows flip, but they are samples of two questions."""
    before, after = [False] * 10 + [True] * 10, [True] * 20
    questions = ["a"] * 5 + ["b"] * 5 + ["c"] * 5 + ["d"] * 5
    (difference,) = (await compared(tmp_path, before, after, questions)).differences
    assert (difference.mean, difference.clusters, difference.is_clear) == (0.5, 4, False)
    assert ends(difference) == pytest.approx(tango(2, 0, 4))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")
async def test_scores_that_only_one_side_has_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a row without a score is none that is compared."""
    comparison = await compared(tmp_path, [True, True, None], [True, None, True])
    assert [difference.count for difference in comparison.differences] == [1]
    assert (comparison.only_before, comparison.only_after) == ((), ())
    assert (await compared(tmp_path / "other", [True], [None])).only_before == ("good",)
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "before", "after", "--store", "other/results.db"]) == 0
    assert "only before has these scores of eval_it: good" in capsys.readouterr().out


@pytest.mark.parametrize("value", [0.9, 0.7, 1e16 + 2, -0.1])
def test_a_sum_of_many_numbers_is_not_off_by_rounding(value: float) -> None:
    """So that a gate at what all of them are is reached, however many there are."""
    moments = Moments()
    for _ in range(60_000):
        moments.add(value)
    assert moments.middle == value
    rows = RowScores("", None)
    for _ in range(7):
        rows.add("", {"s": value})
    assert rows.means() == {"s": value}
    for huge in ([1e308] * 3, [float(10**308), -1e308, 1e308]):
        rows, moments = RowScores("", None), Moments()
        for number in huge:
            rows.add("", {"s": number})
            moments.add(number)
        assert rows.means()["s"] == pytest.approx(moments.middle)
