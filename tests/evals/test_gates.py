"""Gates: what scores have to reach, alone or beside a baseline, and what is said where they do not."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.cli import _parser, main
from doteval.evals import GateError, Outcome, TooManyErrorsError, run
from doteval.evals._results.baselines import NoBaseline
from doteval.evals._results.gates import gates_of
from doteval.evals._results.intervals import tango, wilson
from doteval.evals._results.record import Record
from doteval.evals._results.statistics import summarise
from doteval.evals._results.tables import number


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about numbers."""
    return "asyncio"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exact >= 0.9", ("exact", "mean", ">=", 0.9, False)),
        ("exact>=90%", ("exact", "mean", ">=", 0.9, False)),
        (" exact.low > .5 ", ("exact", "low", ">", 0.5, False)),
        ("length.high <= 1e2", ("length", "high", "<=", 100.0, False)),
        ("a score.mean < -1", ("a score", "mean", "<", -1.0, False)),
        ("v1.exact >= 0", ("v1.exact", "mean", ">=", 0.0, False)),
        ("exact.rows >= 95%", ("exact", "rows", ">=", 0.95, False)),
        ("exact.rows >= baseline", ("exact.rows", "mean", ">=", 0.0, True)),
        ("exact >= baseline", ("exact", "mean", ">=", 0.0, True)),
        ("exact.low >= baseline - 0.02", ("exact", "low", ">=", -0.02, True)),
        ("cost <= baseline+5", ("cost", "mean", "<=", 5.0, True)),
    ],
)
def test_gates_are_read(text: str, expected: tuple[Any, ...]) -> None:
    """As a person writes them."""
    (gate,) = gates_of(text)
    assert (gate.score, gate.of, gate.sign, gate.value, gate.has_baseline) == expected


@pytest.mark.parametrize(
    ("names", "gate", "is_reached"),
    [
        ("price.low", "price.low >= 5", True),
        ("price.low", "price.low >= 50", False),
        ("price.low", "price.low.low >= 0", True),
        ("price price.low", "price.low >= 50", True),
        ("price", "price.low >= 5", True),
        ("price price.low", "price.low >= baseline", True),
        ("price", "price.low >= baseline", False),  # the differences are all the same, and have no interval
        ("price price.mean", "price.mean >= 50", True),
        ("price price.pass@1", "price.pass@1 >= 50", True),
    ],
)
@pytest.mark.anyio
async def test_a_score_with_the_whole_name_of_a_gate_goes_first(
    names: str, gate: str, is_reached: bool, tmp_path: Path
) -> None:
    """It is about what is called so, and not about the end of the interval of another one."""

    @foreach("number", range(20))
    async def eval_it(number: int) -> Result:
        return Result(number, scores=dict(zip(names.split(), (1.0 + number, 100.0 + number), strict=False)))

    await run(eval_it, store=tmp_path / "results.db", experiment="main")
    outcome = await run(eval_it, store=tmp_path / "results.db", passes=gate, baseline="main")
    assert (outcome.shortfalls == ()) == is_reached, outcome.shortfalls


def test_a_gate_in_percent_is_the_share_that_it_says() -> None:
    """To the last digit, as that is what a mean of rows is compared with."""
    assert [gates_of(f"exact >= {tenths / 10} %")[0].value for tenths in range(1001)] == [
        tenths / 1000 for tenths in range(1001)
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("", "exact", "exact >=", ">= 1", "exact == 1", "exact >= x", "exact >= nan", "a >= 1 2", "exact => 0.9"),
        *("exact =< 0.9", "exact >> 0.9", "exact > = 0.9", "exact != 1", "exact !> 1", "exact ~< 1", "exact \u2265 1"),
        *("exact >= 0.9 and fast <= 1", "0.5 <= exact <= 1", ">= 0.9 and exact <= 1", ">= 0.9 >= 0.9", "exact >= 0,9"),
        *("exact >= baseline * 2", "exact >= 1e999", "exact >= 1_0", "exact >= 0.9%%", "exact >= \u0663", "a\nb >= 1"),
    ],
)
def test_what_is_no_gate_is_refused_where_it_is_written(text: str) -> None:
    """Before anything is run."""
    with pytest.raises(ValueError, match=r"is no gate: write it like 'exact >= 0\.9'"):
        foreach("value", [1], passes=text)


def evaluation(scores: list[bool], passes: Any = ()) -> Any:
    @foreach("number", range(len(scores)), passes=passes)
    async def eval_it(number: int, scores: list[bool]) -> Result:
        return Result(number, scores={"exact": scores[number]})

    return partial(run, eval_it, scores=scores)


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0, 1), st.sampled_from(["mean", "low", "high"]))
def test_a_gate_is_reached_where_the_number_is(scores: list[bool], least: float, of: str) -> None:
    """The mean, or an end of the interval, and nothing else; rounding is nothing."""
    outcome: Outcome = anyio.run(evaluation(scores, f"exact.{of} >= {least!r}"))
    mean = sum(scores) / len(scores)
    low, high = wilson(mean, len(scores))
    value = {"mean": mean, "low": low, "high": high}[of]
    is_same = math.isclose(value, least, rel_tol=1e-12, abs_tol=1e-12)
    assert bool(outcome.shortfalls) == (value < least and not is_same)


@pytest.mark.parametrize("count", [2, 3, 6, 7, 10, 100, 1000])
def test_rounding_decides_nothing(count: int) -> None:
    """A mean of what is all the same, or lies evenly around it, is that, however sums are rounded."""
    for tenths in range(-20, 21):
        limit = tenths / 10
        for scores in ([limit] * count, [limit - 0.1, limit + 0.1] * count):
            summary = summarise([Record(n, str(n), "", {}, scores={"s": score}) for n, score in enumerate(scores)])
            reached = {
                sign
                for sign in ("<", "<=", ">=", ">")
                if gates_of(f"s {sign} {limit}")[0].shortfall(summary, NoBaseline("")) is None
            }
            assert reached == {"<=", ">="}, (scores[:2], count)


@pytest.mark.anyio
async def test_what_is_not_reached_is_said_with_its_numbers(tmp_path: Path) -> None:
    """By `check`, and by a run that is told how many rows may fail; also where all was answered."""
    give = evaluation([True] * 8 + [False] * 2, {"exact": 0.9, "polite": 0.5})
    path = tmp_path / "results.db"
    for known in (False, True):
        outcome = await give(store=path)
        assert outcome.answered == known
        assert outcome.shortfalls == (
            "exact is 0.8 (0.4902 to 0.9433, 10 rows), and has to be >= 0.9",
            "no row has a score 'polite', which has to be >= 0.5; there are exact",
        )
    with pytest.raises(
        GateError, match=r"\Aexact is 0.8 .*\.\n'eval_it' has not passed, for other reasons, too:\n- no"
    ):
        outcome.check()
    with pytest.raises(GateError):
        await give(store=path, max_errors=0)
    assert (await evaluation([True] * 8 + [False] * 2)(passes="exact.low >= 0.4", max_errors=0)).shortfalls == ()


@pytest.mark.anyio
async def test_a_baseline_is_compared_row_by_row(tmp_path: Path) -> None:
    """With the mean of the differences, or an end of their interval; without a baseline nothing passes."""
    path = tmp_path / "results.db"
    before, after = [True] * 40, [True] * 38 + [False] * 2
    await evaluation(before)(store=path, experiment="main")
    give = partial(evaluation(after), store=path, experiment="branch")
    assert (await give(passes="exact >= baseline - 0.05", baseline="main")).shortfalls == ()
    (told,) = (await give(passes="exact >= baseline - 0.04", baseline="main")).shortfalls
    assert told.startswith("exact less the baseline is -0.05 (-0.16")
    assert told.endswith("40 rows), and has to be >= -0.04")
    (told,) = (await give(passes="exact.low >= baseline - 0.05", baseline="main")).shortfalls
    assert told.startswith("the low end of exact less the baseline is -0.1")


def refers_to_itself(experiment: str) -> str:
    return f"'{experiment}' is the experiment of this run itself; name another one, or run it without this gate"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("baseline", "options", "why"),
    [
        ("", {}, "name an experiment, with --doteval-eval-baseline in pytest or baseline= of run"),
        ("mian", {}, "there is no experiment 'mian'; there are main, older, and 'main' may be meant"),
        ("zzz", {}, "there is no experiment 'zzz'; there are main, older"),
        ("branch", {}, refers_to_itself("branch")),
        ("main", {"limit": 3}, "'main' has 'eval_it', and this is 'eval_it (first 3)'; run both with the same limit"),
        ("older", {}, "'older' has 'eval_it (first 2)', and this is 'eval_it'; run both with the same limit"),
        ("main", {"name": "eval_if"}, "'main' has no 'eval_if'; there are eval_it, and 'eval_it' may be meant"),
        ("main", {"store": None}, "there is no store, in which another experiment could be"),
    ],
)
async def test_where_there_is_no_baseline_it_is_said_why(
    tmp_path: Path, baseline: str, options: dict[str, Any], why: str
) -> None:
    """With its name, what else there is, and what to do; also where nothing has to be run."""
    path = tmp_path / "results.db"
    await evaluation([True] * 4)(store=path, experiment="main")
    await evaluation([True] * 4)(store=path, experiment="older", limit=2)
    give = partial(evaluation([True] * 4), **{"store": path, "experiment": "branch", **options})
    for _ in range(2):
        (told,) = (await give(passes="exact >= baseline", baseline=baseline)).shortfalls
        assert told.startswith(f"there is no baseline for 'exact >= baseline': {why}")


@pytest.mark.anyio
@pytest.mark.parametrize("throws", [{"fresh": True}, {"changed": "rerun"}], ids=str)
async def test_a_run_does_not_throw_away_its_baseline(tmp_path: Path, throws: Any) -> None:
    """Nobody would see that there was one."""
    give = partial(evaluation([True] * 4), store=tmp_path / "results.db", experiment="main")
    await give()
    with pytest.raises(ValueError, match="'main' is the baseline and the experiment of this run"):
        await give(baseline="main", **throws)
    assert (await give()).answered
    assert (await give(**throws)).warnings == ()


@pytest.mark.anyio
async def test_a_baseline_that_no_gate_compares_with_is_told(tmp_path: Path) -> None:
    """Also of what is answered."""
    give = partial(evaluation([True] * 4), store=tmp_path / "results.db", experiment="branch", baseline="mian")
    for _ in range(2):
        outcome = await give(passes="exact >= 0.5")
        (told,) = outcome.warnings
        assert told.startswith("No gate compares with the baseline 'mian': write one such as")
    assert not (await give(passes="exact >= baseline")).warnings


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("rows", "failing", "told", "few"),
    [
        (range(20), 0, "", ""),
        (range(20), 10, "10 of the 20 rows that 'main' has results of; others are left out: 10 failed in this run", ""),
        (
            range(20),
            11,
            "9 of the 20 rows",
            "only 9 of the 20 rows with 'exact' in the baseline 'main' can be compared",
        ),
        (range(10, 30), 0, "10 of the 20 rows", ""),
        (range(10, 30), 0, "left out: 10 only in the baseline, 10 only in this run.", ""),
        (
            range(19, 39),
            0,
            "1 of the 20",
            "which is less than half, for 'exact >= baseline' (19 only in the baseline, 19",
        ),
        (
            range(10),
            0,
            "10 of the 20 rows that 'main' has results of; others are left out: 10 only in the baseline.",
            "",
        ),
        (range(40), 0, "20 of the 20 rows that 'main' has results of; others are left out: 20 only in this run.", ""),
    ],
)
async def test_a_gate_is_not_decided_by_few_rows(
    tmp_path: Path, rows: range, failing: int, told: str, few: str
) -> None:
    """Fewer than half of those that the baseline has; where it is not all, that is said, whatever comes of it."""

    def of(rows: range, failing: int) -> Any:
        @foreach("number", rows, passes="exact >= baseline")
        async def eval_it(number: int) -> Result:
            return Result(number, scores={"exact": 1 / (number >= failing) > 0})

        return eval_it

    path = tmp_path / "results.db"
    await run(of(range(20), 0), store=path, experiment="main")
    outcomes = [
        await run(of(rows, failing), store=path, experiment="branch", baseline="main", max_errors=None) for _ in "12"
    ]
    for outcome in outcomes:
        assert any(told in warning for warning in outcome.warnings) == bool(told) == bool(outcome.warnings)
        assert [few in shortfall for shortfall in outcome.shortfalls] == [True] * bool(few)


@pytest.mark.anyio
async def test_what_samples_say_together_is_compared_with_a_baseline(tmp_path: Path) -> None:
    """Row by row, however many samples either side has; of a score that is not 0 or 1 everywhere there is nothing."""

    async def rows(experiment: str, rights: Sequence[int], epochs: int, *gates: str, **others: Any) -> Outcome:
        calls = Counter[int]()

        async def eval_it(row: int) -> Result:
            calls[row] += 1
            return Result(row, scores={"exact": calls[row] <= rights[row], "length": row / 7, "one": 1})

        give = foreach("row", range(len(rights)), epochs=epochs, concurrency=1)(eval_it)
        where = {"store": tmp_path / "results.db", "experiment": experiment, "baseline": "main"}
        return await run(give, passes=gates, changed="keep", **where, **others)

    await rows("main", [0, 1, 2, 3] * 5, 3)
    better = [0, 2, 4, 4] * 5  # pass@2 of each, of four samples: 0, 5/6, 1, 1, and before, of three: 0, 2/3, 1, 1
    found = await rows("more", better, 4, "exact.pass@2 >= baseline + 0.041", "exact.pass@2 >= baseline + 0.042")
    (told,) = found.shortfalls
    assert told.startswith("exact.pass@2 less the baseline is +0.04167 (")
    assert told.endswith("20 rows), and has to be >= 0.042")
    # pass^3 before: 0, 0, 0, 1; after: 0, 0, 1, 1. So they are paired shares.
    (told,) = (await rows("more", better, 4, "exact.pass^3.low > baseline + 0.2")).shortfalls
    low, high = tango(5, 0, 20)
    assert f"pass^3 less the baseline is {number(low, signed=True)} ({number(low)} to {number(high)}, 20 rows)" in told
    assert (await rows("more", better, 4, "exact.majority >= baseline", "one.pass^3 >= baseline")).shortfalls == ()
    for gate, why in {
        "exact.pass@4 >= baseline": "no row has 4 samples with a score 'exact' of 0 or 1 here and in the baseline",
        "length.pass@2 >= baseline": "no row has 2 samples with a score 'length' of 0 or 1",
        "length.majority >= baseline": "no row has any samples with a score 'length' of 0 or 1",
        "other.pass@2 >= baseline": "no row has 2 samples with a score 'other' of 0 or 1",
    }.items():
        (told,) = (await rows("more", better, 4, gate)).shortfalls
        assert told.startswith(why)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("having", "failing", "epochs", "gates", "told", "short"),
    [
        (1, 0, 1, "exact >= 0.9", "decided by 1 of 20 rows", ""),
        (1, 0, 1, "exact >= 1.1", "decided by 1 of 20 rows", "1 of 20 rows), and has to be >= 1.1"),
        (20, 0, 1, "exact >= 1.1", "", "20 rows), and has to be >= 1.1"),
        (15, 5, 1, "exact >= 0.9", "", ""),  # rows that failed have a rule of their own
        (14, 5, 1, "exact >= 0.9", "decided by 14 of 15 rows", ""),
        (1, 0, 2, "exact.pass^2 >= 0.9", "decided by 2 of 40 samples", ""),
        (1, 0, 1, "exact >= 0.9|exact.rows >= 5%", "", ""),
        (1, 0, 1, "exact >= 0.9|exact.rows >= 6%", "", "1 of 20 rows have the score 'exact', and their share has to"),
        (20, 0, 1, "exact.rows >= 100%", "", ""),
        (14, 5, 1, "exact.rows >= 100%", "", "14 of 15 rows have"),
        (0, 0, 1, "exact.rows >= 1%", "", "no row has a score 'exact'"),
        (1, 0, 2, "exact.pass^2.rows >= 5%", "decided by 2 of 40 samples", ""),
        (1, 0, 2, "exact.pass^2.rows > 5%", "decided by 2 of 40 samples", "1 of 20 rows have the score 'exact.pass^2'"),
        (1, 0, 1, "other >= 0", "", ""),
    ],
)
async def test_a_gate_that_few_rows_decide_is_told(
    having: int, failing: int, epochs: int, gates: str, told: str, short: str
) -> None:
    """With how many of how many; unless a gate says how many have to have the score."""

    @foreach("number", range(20), epochs=epochs)
    async def eval_it(number: int) -> Result:
        if number >= 20 - failing:
            raise ValueError(number)
        return Result(number, scores={"other": 1, **({"exact": True} if number < having else {})})

    outcome = await run(eval_it, passes=gates.split("|"))
    assert [told in warning for warning in outcome.warnings] == [True] * bool(told)
    assert [short in shortfall for shortfall in outcome.shortfalls] == [True] * bool(short)


@pytest.mark.anyio
async def test_too_many_errors_come_first() -> None:
    """What the scores are worth then, nobody knows."""

    @foreach("number", range(2), passes={"exact": 0.9})
    async def eval_it(number: int) -> Result:
        return Result(number, scores={"exact": 1 // number > 5})

    with pytest.raises(TooManyErrorsError):
        await run(eval_it, max_errors=0)
    with pytest.raises(GateError):
        await run(eval_it, max_errors=1)


def test_a_number_that_is_none_reaches_nothing() -> None:
    """An interval that is not there is not good enough."""

    @foreach("number", range(3), passes=["length.low >= 0", "length.high <= 10"])
    async def eval_it(number: int) -> Result:
        return Result(number, scores={"length": 3.5})

    outcome = anyio.run(lambda: run(eval_it))
    assert math.isnan(outcome.summary.scores["length"].low)
    assert len(outcome.shortfalls) == 2
    assert "(no interval, 3 rows)" in outcome.shortfalls[0]


@pytest.mark.parametrize(
    ("before", "after", "how", "code"),
    [
        ([True] * 40, [True] * 30 + [False] * 10, "worse", 1),
        ([True] * 40, [True] * 40, "worse", 0),
        ([True] * 30 + [False] * 10, [True] * 40, "worse", 0),
        ([True] * 30 + [False] * 10, [True] * 40, "different", 1),
        ([True] * 40, [True] * 39 + [False], "worse", 0),
    ],
)
def test_a_comparison_fails_a_build(
    before: list[bool], after: list[bool], how: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a score is clearly worse, or different."""
    monkeypatch.chdir(tmp_path)
    for name, scores in (("a", before), ("b", after)):
        give = partial(evaluation(scores), store=".doteval/results.db", experiment=name)
        anyio.run(give)
    assert main(["compare", "a", "b", "--fail-if", how]) == code
    assert main(["compare", "a", "b"]) == 0


def of_scores(scores: dict[int, Any]) -> Any:
    """An evaluation with these rows, by their values: `None` fails, a text has a score of that name only."""

    @foreach("number", list(scores))
    async def eval_it(number: int) -> Result:
        score = scores[number]
        if score is None:
            raise ValueError(number)
        return Result(number, scores={score: True} if isinstance(score, str) else {"exact": score, "fast": True})

    return eval_it


ALL = dict.fromkeys(range(20), True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("here", "before", "may", "told", "short"),
    [
        (0, 0, 0, "", ""),
        (9, 0, 0, "9 in this run, where 'main' has it.", "9 rows have no score 'fast' here, and had in the baseline"),
        (1, 0, 0, "1 in this run, where", "1 row has no score 'fast' here, and had in the baseline 'main', and 0 may"),
        (1, 0, 1, "1 in this run, where 'main' has it.", ""),
        (11, 0, 11, "11 in this run", "is less than half, for 'fast >= baseline - 0.3' (11 have no such score now)"),
        (0, 9, 0, "9 in 'main', where this run has it.", ""),
        (20, 0, 20, "", "no row has a score 'fast' here and in the baseline 'main'"),
    ],
)
async def test_rows_without_a_score_do_not_go_unnoticed(
    here: int, before: int, may: int, told: str, short: str, tmp_path: Path
) -> None:
    """What a parser leaves out that cannot read a reply counts as a row that failed."""
    give = partial(run, store=tmp_path / "results.db", name="eval_it", passes="fast >= baseline - 0.3", changed="keep")
    await give(of_scores(ALL | dict.fromkeys(range(before), "exact")), experiment="main")
    with suppress(GateError):
        await give(of_scores(ALL | dict.fromkeys(range(here), "exact")), baseline="main", max_errors=may)
    outcome = await give(of_scores(ALL | dict.fromkeys(range(here), "exact")), baseline="main", max_errors=None)
    assert any(told in warning for warning in outcome.warnings) == bool(outcome.warnings) == bool(told)
    if not may:  # it is answered, and judged as if nobody had said how many may
        assert [short in shortfall for shortfall in outcome.shortfalls] == [True] * bool(short)
    with pytest.raises(GateError, match=re.escape(short)) if short else nullcontext():
        await give(of_scores(ALL | dict.fromkeys(range(here), "exact")), baseline="main", max_errors=may)


@pytest.mark.anyio
async def test_what_is_new_is_judged_unless_somebody_says_that_it_is(tmp_path: Path) -> None:
    """Where the baseline is there, and has nothing of it: not where its name is misspelt, or it has other rows."""
    give = partial(run, store=tmp_path / "results.db", passes="fast >= baseline", max_errors=None)
    await give(of_scores(ALL), experiment="main", name="eval_it")
    for name, others, is_new in (
        ("eval_new", {}, True),
        ("eval_it", {"limit": 3}, False),
        ("eval_it", {"baseline": "mian"}, False),
        ("eval_it", {"baseline": ""}, False),
    ):
        where: dict[str, Any] = {"experiment": "branch", "baseline": "main", "name": name, **others}
        (told,) = (await give(of_scores(ALL), **where)).shortfalls
        assert ("--doteval-eval-allow-new" in told) == is_new
        outcome = await give(of_scores(ALL), allow_new=True, **where)
        assert bool(outcome.shortfalls) == (not is_new)
        assert (
            any("are not judged, as it is new: 'main' has no 'eval_new'" in each for each in outcome.warnings) == is_new
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("error")
            again = await give(of_scores(ALL), allow_new=True, **where)
        assert (again.shortfalls, again.warnings) == (outcome.shortfalls, outcome.warnings)
        assert [each.filename for each in caught] == [__file__] * is_new


@pytest.mark.parametrize(
    ("before", "after", "how", "told"),
    [
        ([5, 5, 5], [1, 1, 1], "worse", "fast is lower in b than in a, by 4 in each of 3 rows\n"),
        ([5, 3, 4], [4.9, 2.9, 3.9], "worse", "by 0.1 in each of 3 rows\n"),
        ([1, 1, 1], [5, 5, 5], "worse", ""),
        ([1, 1, 1], [5, 5, 5], "different", "fast is higher in b than in a, by 4 in each of 3 rows\n"),
        ([5, 5, 5], [5, 5, 5], "different", ""),
        ([0.3, 0.3], [0.1 + 0.2, 0.1 + 0.2], "different", ""),
        ([5], [4], "worse", "fast is lower in b than in a, and nobody can tell"),
        ([True] * 3, [False] * 3, "worse", ""),  # shares have an interval, and three rows are too few
        ([True] * 4, [False] * 4, "worse", "fast is lower in b than in a\n"),
        ([5, 5, 5], [1, 9, 4], "worse", ""),
    ],
)
def test_what_is_as_certain_as_can_be_needs_no_interval(
    before: list[float],
    after: list[float],
    how: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where all rows differ by the same, and not by rounding; where nobody can tell, it fails as well."""
    monkeypatch.chdir(tmp_path)
    for name, scores in (("a", before), ("b", after)):

        @foreach("number", range(len(scores)))
        async def eval_it(number: int, scores: Any = tuple(scores)) -> Result:
            return Result(number, scores={"fast": scores[number]})

        anyio.run(partial(run, eval_it, store=".doteval/results.db", experiment=name))
    assert main(["compare", "a", "b", "--fail-if", how]) == bool(told)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "options", "code", "told"),
    [
        ([ALL], [ALL], "", 0, ""),
        ([ALL, ALL], [ALL], "", 1, "eval_1: b has none of it"),
        ([ALL], [ALL, ALL], "", 0, ""),
        (
            [ALL],
            [ALL | {3: None}],
            "",
            1,
            "of 20 rows with a result in a, 1 failed in b or are missing there, and 0 may",
        ),
        ([ALL], [ALL | {3: None}], "--max-lost 1", 0, ""),
        ([ALL], [ALL | {3: None, 4: None}], "--max-lost 1", 1, "2 failed in b or are missing there, and 1 may"),
        ([ALL], [ALL | {3: None, 4: None}], "--max-lost 10%", 0, ""),
        ([ALL], [ALL | dict.fromkeys(range(19))], "", 1, "19 failed in b or are missing there, and 0 may"),
        ([ALL], [ALL | dict.fromkeys(range(19))], "--max-lost 95%", 0, ""),
        ([ALL], [dict.fromkeys(range(20))], "--max-lost 100%", 1, "no score can be compared"),
        ([ALL | {3: None}], [ALL | {3: None}], "", 0, ""),
        ([ALL | {3: None}], [ALL], "", 0, ""),
        ([ALL], [dict.fromkeys(range(10, 30), True)], "", 0, ""),
        ([ALL], [dict.fromkeys(range(11, 31), True)], "", 1, "only 9 of the 20 rows with exact in a can be compared"),
        (
            [ALL],
            [dict.fromkeys(range(11, 31), True)],
            "--max-lost 100%",
            1,
            "(11 only in a, 11 only in b): run a again",
        ),
        ([ALL], [dict.fromkeys(range(20), "exact")], "", 1, "eval_0: no row of b has the score fast"),
        ([dict.fromkeys(range(20), "exact")], [ALL], "", 0, ""),
        (
            [ALL],
            [ALL | dict.fromkeys(range(11), "exact")],
            "",
            1,
            "of 20 rows with fast in a, 11 have none in b, and 0 may: see --max-lost",
        ),
        (
            [ALL],
            [ALL | dict.fromkeys(range(2), "exact") | {3: None}],
            "--max-lost 2",
            1,
            "2 have none in b, besides 1 that failed or are missing, and 2 may",
        ),
        ([ALL], [ALL | dict.fromkeys(range(2), "exact") | {3: None}], "--max-lost 3", 0, ""),
        ([ALL], [ALL | dict.fromkeys(range(11), "exact")], "--max-lost 11", 0, ""),
        ([ALL | dict.fromkeys(range(11), "exact")], [ALL], "", 0, ""),
    ],
)
def test_what_one_side_lacks_fails_a_build(
    before: list[Any],
    after: list[Any],
    options: str,
    code: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An evaluation, a score, or rows that failed; not what the dataset has not any more, or has besides."""
    monkeypatch.chdir(tmp_path)
    for name, evaluations in (("a", before), ("b", after)):
        for place, scores in enumerate(evaluations):
            give = partial(run, of_scores(scores), store=".doteval/results.db", experiment=name, name=f"eval_{place}")
            anyio.run(give)
    for how in ("worse", "different"):
        assert main(["compare", "a", "b", "--fail-if", how, *options.split()]) == code
        assert told in capsys.readouterr().err
        assert main(["compare", "b", "b", "--fail-if", how]) == 1
        assert "eval_0: it is compared with itself" in capsys.readouterr().err
    assert main(["compare", "a", "b"]) == 0
    assert not capsys.readouterr().err


def test_what_is_not_compared_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words and in JSON: evaluations, scores, and rows by what has become of them."""
    monkeypatch.chdir(tmp_path)

    def give(experiment: str, name: str, rows: dict[str, tuple[str, bool]], score: str, ends: str = "") -> None:
        @foreach("text", [{"id": key, "text": text} for key, (text, _) in rows.items()], concurrency=1)
        async def eval_it(text: str) -> Result:
            if text == ends:
                raise KeyboardInterrupt
            if not dict(rows.values())[text]:
                raise ValueError(text)
            return Result(text, scores={"exact": True, score: 1.0})

        with suppress(KeyboardInterrupt):
            anyio.run(partial(run, eval_it, store=".doteval/results.db", experiment=experiment, name=name))

    rows = {key: (key, True) for key in "abcdefgh"}
    give("one", "eval_it", {**rows, "x": ("x", False)}, "old")
    give(
        "two", "eval_it", {**rows, "x": ("x", True), "a": ("a", False), "b": ("other", True), "new": ("n", True)}, "new"
    )
    give("two", "eval_new", rows, "new")
    give("one", "eval_old", rows, "old")
    give("one", "eval_cut", {**rows, "h": ("h", False)}, "old")
    give("two", "eval_cut", rows, "old", ends="g")
    assert main(["compare", "one", "two", "--fail-if", "worse"]) == 1
    output, errors = capsys.readouterr()
    for line in (
        "only one has these scores of eval_it: old",
        "only two has these scores of eval_it: new",
        "eval_it: 4 rows are left out: 1 failed in two, 1 failed in one, 1 with other values, 1 only in two",
        "eval_cut: 2 rows are left out: 1 missing, as two has not finished, 1 only in one",
        "only one has these evaluations: eval_old",
        "only two has these evaluations: eval_new",
    ):
        assert f"\n{line}\n" in output
    assert "eval_cut: of 7 rows with a result in one, 1 failed in two or are missing there" in errors
    assert main(["compare", "one", "two", "--json"]) == 0
    told = {(each["before"] or each["after"])["evaluation"]: each for each in json.loads(capsys.readouterr().out)}
    assert told["eval_it"]["unmatched"] == {"before": ["old"], "after": ["new"]}
    assert {name: count for name, count in told["eval_it"]["unpaired"].items() if count} == {
        "failed": 1, "failed_before": 1, "changed": 1, "only_after": 1
    }  # fmt: skip
    assert told["eval_cut"]["unpaired"]["missing"] == 1
    assert (told["eval_old"]["after"], told["eval_new"]["before"], told["eval_new"]["scores"]) == (None, None, {})


@pytest.mark.parametrize(
    ("text", "of", "rows"),
    [
        ("3", 1000, 3), (" 3 ", 1000, 3), ("0", 10, 0), ("5%", 1000, 50), ("4.9%", 1000, 49), ("4.9%", 10, 0),
        (" 4.90 % ", 1000, 49), (".1%", 1000, 1), ("0.07%", 10_000, 7), ("29.%", 100, 29), ("100.0%", 7, 7),
        ("0%", 7, 0), ("33.333333333%", 3, 0), ("4.9%", 0, 0),
    ],
)  # fmt: skip
def test_some_rows_or_a_share_of_them_may_be_lost(text: str, of: int, rows: int) -> None:
    """To the row: whole rows only, and no share is rounded before it is taken."""
    options = _parser().parse_args(["compare", "a", "b", f"--max-lost={text}"])
    assert options.max_lost(of) == rows


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "x",
        "",
        "%",
        ".%",
        "101%",
        "100.01%",
        "-1%",
        "1e2%",
        "0.05",
        "3.0",
        "1_0",
        "5%%",
        "nan%",
        "٣",
        "٣%",
        "9" * 5000,
    ],
)
def test_what_is_no_number_of_rows_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is read."""
    with pytest.raises(SystemExit):
        main(["compare", "a", "b", f"--max-lost={text}"])
    assert "is a number such as 3, or a share such as 5% or 4.9%, not" in capsys.readouterr().err
