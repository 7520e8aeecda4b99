"""Whatever is done to experiments, one after the other: all that was paid for one is in its sums, and nothing twice."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.evals import EvaluationWarning, Store, StoreError, copy, rescore, run
from doteval.evals._results.identity import Identity
from doteval.evals._results.reading import Stored
from doteval.testing import FakeModel

ROWS = 3
EXPERIMENTS = st.sampled_from(["a", "b", "c"])
ENDS = st.sampled_from(["whole", "interrupted", "killed", "killed"])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["run", "fresh"]), EXPERIMENTS, ENDS, st.sampled_from([0, 0, 1, 2])),
    st.tuples(st.sampled_from(["rescore", "rescore", "copy"]), EXPERIMENTS, EXPERIMENTS, st.none()),
)
RESCORED_AGAIN: list[Any] = [("rescore", "a", "b", None), *[("rescore", "b", "c", None)] * 3]
KILLED_AT_ONCE: list[Any] = [*[("fresh", "a", "killed", 0)] * 2, ("copy", "a", "b", None), ("fresh", "a", "whole", 0)]


@dataclass
class Paid:
    """What is known of an experiment.

    Args:
        asked: How often models were asked for its outputs.
        scored: What each rescoring of it has cost, by its number, also where it was copied from.
        unknown: How many runs were killed of which the next knew.
        killed: Whether the last one was.
        killed_before: Whether one was that was to start over, before it had any result.
        history: What was done, in order.
        is_certain: Whether nothing can have been counted twice.
    """

    asked: int = 0
    scored: dict[int, int] = field(default_factory=dict[int, int])
    unknown: int = 0
    killed: bool = False
    killed_before: bool = False
    history: tuple[int, ...] = ()
    is_certain: bool = True

    def copied(self) -> Paid:
        """What a copy of it has."""
        unknown = self.unknown + self.killed + self.killed_before
        return replace(self, scored={**self.scored}, unknown=unknown, killed=False, killed_before=False)


class Watched(Store):
    """A store that tells what was begun; its runs may end as if their process was killed."""

    is_begun = is_anew = is_killed = False

    def begin(self, experiment: str, name: str, **given: Any) -> tuple[Stored, tuple[str, ...]]:
        begun = super().begin(experiment, name, **given)
        self.is_begun, self.is_anew = True, self.replaces(begun[0])
        return begun

    def note_written(self, evaluation: Stored, after: Identity) -> None:
        if not self.is_killed:
            super().note_written(evaluation, after)

    def leave(self, evaluation: Stored, *, is_unfit: bool = False) -> None:
        if not self.is_killed:
            super().leave(evaluation, is_unfit=is_unfit)
            return
        claim = self._holding.leave(evaluation.id)
        self._pending.discard(evaluation.id)
        self._holding.drop([] if claim is None else [claim])


class Simulation:
    """Does the steps, and knows what they have cost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model, self.judge = FakeModel("asked"), FakeModel("judging")
        self.paid: dict[str, Paid] = {}
        self.number = 0

    def run(self, experiment: str, how: str, end: str, after: int) -> None:
        """Run it, whole or up to some row."""
        before = len(self.model.calls)

        @foreach("id", [f"r{number}" for number in range(ROWS)], concurrency=1)
        async def eval_it(id: str, model: Any) -> Result:  # noqa: A002 - the column
            if end != "whole" and len(self.model.calls) - before == after:
                raise KeyboardInterrupt
            return Result(await model.generate(id), scores={"before": 1})

        with Watched(self.path) as store:
            store.is_killed = end == "killed"
            options: dict[str, Any] = {"fresh": how == "fresh", "changed": "rerun", "model": self.model, "name": "it"}
            has_ended = True
            try:
                anyio.run(partial(run, eval_it, store=store, experiment=experiment, **options))
            except KeyboardInterrupt:
                has_ended = False
        if not store.is_begun:
            return
        asked = len(self.model.calls) - before
        paid = self.paid.setdefault(experiment, Paid())
        paid.asked += asked
        paid.history += (self.number,)
        paid.unknown += paid.killed_before
        paid.killed_before = False
        is_there = asked > 0 or has_ended or not store.is_anew
        if is_there:
            paid.unknown += paid.killed
            paid.killed = False
        if end == "killed" and not has_ended:
            paid.killed, paid.killed_before = (True, False) if is_there else (paid.killed, True)
        if store.is_anew and not is_there:
            paid.history = paid.history[:-1]

    def rescore(self, source: str, to: str) -> None:
        """Into itself, or over what is there."""
        before = len(self.judge.calls)

        async def score(output: str) -> bool:
            return await self.judge.generate(output) == output

        anyio.run(partial(rescore, source, score, store=self.path, into=to, overwrite=True))
        there, replaced = self.paid[source], self.paid.get(to)
        paid = there.copied()
        if source == to:
            paid.unknown, paid.killed_before = there.unknown + there.killed, there.killed_before
        elif replaced is not None:
            paid.killed_before = replaced.killed_before
            is_known = replaced.history[:-1] == there.history or not {*replaced.scored} & {*there.scored}
            paid.is_certain = there.is_certain and replaced.is_certain and is_known
            paid.scored |= replaced.scored
        paid.scored[self.number] = len(self.judge.calls) - before
        paid.history = (*there.history, self.number)
        self.paid[to] = paid

    def copy(self, source: str, to: str) -> None:
        """Over what is there, unless it is not whole."""
        with suppress(StoreError):
            copy(source, to, store=self.path, replace=True)
            self.paid[to] = self.paid[source].copied()

    def check(self) -> None:
        """The sums are those."""
        for experiment, paid in self.paid.items():
            store = Store(self.path)
            stored = store.find(experiment, "it")
            assert stored is not None
            summary = store.summary(stored)
            usages = [*summary.usage_by_model, *summary.gone]
            scored = sum(each.requests for each in usages if each.role == "scorer")
            assert sum(each.requests for each in usages if each.role != "scorer") == paid.asked
            assert sum(each.unknown for each in usages) == paid.unknown
            assert scored >= sum(paid.scored.values())
            if paid.is_certain:
                assert scored == sum(paid.scored.values())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=7))
@example(steps=RESCORED_AGAIN)
@example(steps=KILLED_AT_ONCE)
def test_all_that_was_paid_is_counted_once_whatever_is_done(
    steps: list[tuple[str, str, str, int | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Runs that end, are interrupted or killed, go on or start over; copies; other scores, in place or elsewhere."""
    simulation = Simulation(tmp_path_factory.mktemp("store") / "results.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvaluationWarning)
        for what, experiment, other, after in [("run", "a", "whole", None), *steps]:
            simulation.number += 1
            if what in ("run", "fresh"):
                simulation.run(experiment, what, other, after or 0)
            elif experiment in simulation.paid and (what == "rescore" or experiment != other):
                getattr(simulation, what)(experiment, other)
            simulation.check()
