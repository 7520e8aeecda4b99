"""Many comparisons at once: what is clear among all of them, so that chance alone seldom fails a build."""

from __future__ import annotations

import math
import random
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import run
from doteval.evals._results.compare import Difference, _Pairs, clear_among
from doteval.evals._results.intervals import are_clear, are_too_many, chance_of_flips

CHANCES = st.lists(st.floats(0, 1), max_size=12)


def difference(rows: list[tuple[float, float]], clusters: int = 0) -> Difference:
    pairs = _Pairs()
    for number, (before, after) in enumerate(rows):
        pairs.add(before, after, number % clusters if clusters else None)
    return pairs.difference("exact", len(rows))


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)
    | st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), min_size=1, max_size=30),
    st.integers(0, 4),
)
def test_one_difference_is_clear_where_its_interval_says_so(rows: list[tuple[float, float]], clusters: int) -> None:
    """The chance is less than 0.05 where the interval leaves out zero; there is one where there is the other."""
    found = difference(rows, clusters)
    assert math.isnan(found.chance) == (not found.has_interval)
    if found.has_interval and not math.isclose(found.chance, 0.05, rel_tol=1e-6):
        assert (found.chance < 0.05) == (found.low > 0 or found.high < 0) == are_clear([found.chance])[0]


@given(CHANCES)
def test_of_many_the_clearest_are_clear(chances: list[float]) -> None:
    """None that is not by itself, all that are among as many as there are; and those first that are least by chance."""
    found = are_clear(chances)
    clear = [chance for chance, is_clear in zip(chances, found, strict=True) if is_clear]
    others = [chance for chance, is_clear in zip(chances, found, strict=True) if not is_clear]
    assert all(chance < 0.05 for chance in clear)
    assert all(chance * len(chances) >= 0.05 for chance in others)
    assert max(clear, default=0) <= min(others, default=1)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
def test_chance_alone_fails_one_build_in_twenty_at_most(share: float) -> None:
    """Of thirty evaluations with a hundred rows each, nothing of which is better or worse."""
    seeded, alarms, lower, families = random.Random(1), 0, 0, 400
    for _ in range(families):
        chances: list[float] = []
        losses: list[bool] = []
        for _ in range(30):
            differing = sum(seeded.random() < 2 * share * (1 - share) for _ in range(100))
            gained = seeded.getrandbits(differing).bit_count() if differing else 0
            lost = differing - gained
            if differing:
                chances.append(chance_of_flips(gained, lost))
                losses.append(lost > gained)
        clear = are_clear(chances)
        for is_lower in (True, False):
            of_one = [chance < 0.05 and each is is_lower for chance, each in zip(chances, losses, strict=True)]
            if are_too_many(sum(of_one), len(chances)):
                clear = [one or other for one, other in zip(clear, of_one, strict=True)]
        alarms += any(clear)
        lower += any(is_clear and is_lower for is_clear, is_lower in zip(clear, losses, strict=True))
    assert alarms <= 0.08 * families
    assert lower <= 0.05 * families


def test_where_all_are_worse_by_a_little_the_build_fails() -> None:
    """Each is clear by itself, and none as one of thirty; as chance makes no thirty of them, all are."""
    worse = [difference([(1, int(row >= 8)) for row in range(40)]) for _ in range(30)]
    comparison = SimpleNamespace(differences=worse)
    assert not any(are_clear([each.chance for each in worse]))
    assert clear_among([comparison]) == {id(each) for each in worse}  # type: ignore[list-item]
    one = SimpleNamespace(differences=[worse[0], *(difference([(1, 0), (0, 1)] * 20) for _ in range(29))])
    assert clear_among([one]) == set()  # type: ignore[list-item]


@given(st.integers(1, 200), st.data())
def test_so_many_are_no_chance_only_where_fewer_are(among: int, data: st.DataObject) -> None:
    """One never is; and where some are too many, more are as well."""
    count = data.draw(st.integers(0, among))
    assert not are_too_many(min(count, 1), among)
    assert are_too_many(count, among) <= are_too_many(min(count + 1, among), among) or count == among


def test_a_build_fails_for_what_is_clear_among_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss of one evaluation of many that would be clear by itself is told; it fails where it is the only one."""
    monkeypatch.chdir(tmp_path)

    def give(experiment: str, lost: int) -> None:
        for place in range(6):

            @foreach("number", range(40))
            async def eval_it(number: int, place: int = place) -> Result:
                noise = number != place if experiment == "b" else True
                if place == 0:
                    return Result(number, scores={"own": number >= lost if experiment == "b" else True})
                return Result(number, scores={"exact": noise})

            store = ".doteval/results.db"
            anyio.run(partial(run, eval_it, store=store, experiment=experiment, name=f"eval_{place}", fresh=True))

    give("a", 0)
    for lost, code, told in (
        (5, 0, "eval_0: own is lower, which would be clear by itself, and is not as one of 6: no failure"),
        (12, 1, "eval_0: own is lower in b than in a, clearly as one of 6 that are compared"),
    ):
        give("b", lost)
        assert main(["compare", "a", "b", "--fail-if", "worse"]) == code
        assert told in capsys.readouterr().err
        assert main(["compare", "a", "b", "--fail-if", "worse", "--score", "own"]) == 1
        assert "exact" not in "".join(capsys.readouterr())
