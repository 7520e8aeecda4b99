"""Random histories of evaluations in one store, beside a model of what must be in it.

A history is a number of steps, one after the other. Most are runs; in between the dataset is edited, more or fewer rows
and samples are asked for, replies are cached and requests kept or not; rows fail, or return odd values; the code
changes; runs are started over, refused, kept, cancelled, interrupted, ended by whoever is told, or overtaken. Other
steps delete, rename and rescore experiments. In processes of their own steps are killed, also between two statements
for the database, and runs wait in a row while others do something to the same store.
``FUZZ=2000 pytest tests/evals/test_fuzz.py`` looks at more of them.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.evals import random_steps
from tests.evals.histories import (
    OTHERS,
    Beside,
    Change,
    Delete,
    Kept,
    Key,
    Rename,
    Rescore,
    Rows,
    Run,
    Script,
    answer,
    arguments,
    kept_of,
    key_of,
    made,
)
from tests.forks import PIPE, Forks

from doteval import foreach
from doteval.evals import Store
from doteval.evals._running.depends import identity_of_run

HISTORIES = int(os.environ.get("FUZZ", "25"))
IN_PROCESSES = int(os.environ.get("FUZZ", "6"))
ROOT = Path(__file__).parents[2]

Place: TypeAlias = tuple[str, str]
"""An experiment, and the name of an evaluation in it."""
Version: TypeAlias = tuple[int, bool]
"""Of the code, and whether the results were scored again."""

ASKED = foreach("value", [0])(answer)
FINGERPRINTS = {
    identity_of_run(ASKED, None, None, {"version": version}, ASKED.declared)["the argument 'version'"]: version
    for version in (1, 2)
}


def keys_of(values: Sequence[int], epochs: int) -> list[Key]:
    """What the samples of the rows of a dataset are known by."""
    seen: Counter[int] = Counter()
    found: list[Key] = []
    for value in values:
        seen[value] += 1
        found += [(value, seen[value], sample) for sample in range(1, epochs + 1)]
    return found


@dataclass
class Played:
    """What has happened in a step.

    Args:
        called: The rows that were called, by their values.
        told: What was told of those that were done.
        ended: The name of the exception that it ended with, `None` for none, "killed" where it said nothing of it.
    """

    called: list[int] = field(default_factory=list[int])
    told: dict[Key, Kept] = field(default_factory=dict[Key, Kept])
    ended: str | None = "killed"

    def log(self, what: str, about: Any) -> None:
        """One thing more."""
        match what:
            case "called":
                self.called.append(about)
            case "told":
                value, number, sample = about[0]
                self.told[value, number, sample] = Kept(*about[1])
            case "ended":
                self.ended = about
            case _:
                assert what == "held"


@dataclass
class Found:
    """What is in the store of an evaluation.

    Args:
        rows: Its samples, those included that do not count at present.
        version: Of what.
        is_finished: Whether it says so.
    """

    rows: Rows
    version: Version
    is_finished: bool


NOTHING = Found({}, (0, False), is_finished=False)


class History:
    """What must be in the store, step after step.

    Args:
        path: The store.
        forks: Starts processes.
    """

    def __init__(self, path: Path, forks: Forks | None = None) -> None:
        self.path = path
        self.forks = forks
        self.number = 0
        self.known: dict[Place, Found] = {}
        self.replies: dict[Key, str] = {}
        """What the cache has for sure."""
        self.waiting: Place | None = None
        """Of which evaluation a run waits in a row."""

    def make(self, step: Run | Change | Beside) -> None:
        """Make a step, and look what it has left."""
        self.number += 1
        match step:
            case Beside():
                self.make_beside(step)
            case Run():
                before = self.known.get(step.place, NOTHING)
                self.check_run(step, before, self.play(step))
            case _:
                self.make_change(step)

    # ---------------------------------------------------------------- runs

    def play(self, one: Run) -> Played:
        """Make a run."""
        if one.is_killed:
            return self.play_in_process(one)
        played = Played()
        before = {*threading.enumerate()}
        error = anyio.run(Script(one, self.path, self.number, played.log).play, backend=one.backend)
        played.log("ended", None if error is None else type(error).__name__)
        left = {thread for thread in threading.enumerate() if thread.name.startswith("doteval")} - before
        for thread in left:  # that of a dataset has been told to end, and nobody waits for it
            thread.join(30)
        assert not any(thread.is_alive() for thread in left)
        return played

    def play_in_process(self, step: Run | Change) -> Played:
        """Do it in a process of its own."""
        played = Played()
        assert self.forks is not None
        done = self.forks.run(*arguments(step, self.path, self.number), cwd=ROOT)
        self.read(played, done.stdout.splitlines(keepends=True))
        assert done.returncode == (-signal.SIGKILL if played.ended == "killed" else 0), done.stderr
        return played

    def read(self, played: Played, lines: Sequence[str]) -> None:
        """Read what a process has said; the last line may not be whole."""
        for line in lines:
            if line.endswith("\n"):
                played.log(*json.loads(line))

    def check_run(self, one: Run, before: Found, played: Played) -> None:
        """The store has what a run must have left of what was there before; all else is as it was."""
        found = self.found(except_for=one.place)
        is_killed = played.ended == "killed"
        keys = keys_of(one.values[: one.limit], one.epochs)
        is_other = bool(before.rows) and before.version != (one.version, False) and not one.fresh
        lasts = any(kept.version is not None for kept in before.rows.values())
        anew = one.fresh or (is_other and one.changed != "keep")
        known: Rows = {} if anew else before.rows
        missing = [key for key in keys if key not in known or known[key].version is None]
        mine = (one.version, False)

        if is_other and one.changed == "error" and lasts:
            assert is_killed or played.ended == "EvaluationChangedError"
            assert (played.called, found.rows, found.version) == ([], before.rows, before.version)
        elif not keys and before.rows:
            assert is_killed or played.ended == "DatasetError"  # a dataset that is empty throws nothing away
            assert found.rows == before.rows
            may_be = {before.version} if anew else {mine, before.version} if is_killed else {mine}
            assert found.version in may_be
        elif played.ended is None:
            assert Counter(played.called) == Counter(value for value, _, _ in missing)
            assert [*played.told] == missing if not one.shuffle else sorted(played.told) == sorted(missing)
            self.check_complete(one, known, found, keys)
            assert all(found.rows[key] == kept for key, kept in played.told.items())
            self.check_finished(one, keys)
        elif played.ended == "ConcurrentRunError":
            assert one.ends is not None
            assert one.ends[1] == "overtake"
            if not (anew and found.rows == before.rows):  # the other one was ended, as a part of this one, too early
                assert found.rows == {(0, 1, 1): Kept(OTHERS, None, 0, "good")}
        elif anew and not played.told and (found.rows, found.version) == (before.rows, before.version):
            pass  # nothing came of it, and what was there stays
        else:
            assert is_killed or played.ended in ("Interrupt", "ToldError", "TimeoutError")
            assert all(found.rows[key] == kept for key, kept in played.told.items())
            assert found.rows or not before.rows  # what is thrown away is there until something new is
            if is_killed and found.is_finished and found.rows != before.rows:
                self.check_complete(one, known, found, keys)
            else:
                assert {*known} <= {*found.rows}
                self.check_new(one, known, found, missing)
                assert not found.rows or found.version == mine or (is_killed and found.rows == known)
        if one.cache:
            self.check_replies(played)
        self.known[one.place] = found

    def check_complete(self, one: Run, known: Rows, found: Found, keys: Sequence[Key]) -> None:
        """What it has is what the dataset has, and samples that do not count at present."""
        rows = {key[:2] for key in keys}
        beyond = {key for key in known if key[:2] in rows and key[2] > one.epochs}
        assert {*found.rows} == beyond | {*keys}
        self.check_new(one, known, found, keys)
        assert not found.rows or found.version == (one.version, False)

    def check_new(self, one: Run, known: Rows, found: Found, may_be_new: Sequence[Key]) -> None:
        """What was not there before is of this run; and no result that is there is another."""
        for key, kept in found.rows.items():
            if key in known and (known[key].version is not None or kept == known[key]):
                assert kept == known[key]
            else:
                assert key in may_be_new
                failed = Kept(None, None, int(one.transcripts), None)
                assert kept in (failed, Kept(one.version, kept.reply, int(one.transcripts), "good"))

    def check_finished(self, one: Run, keys: Sequence[Key]) -> None:
        """It is finished, and its rows stand as they do in the dataset."""
        store = Store(self.path)
        stored = store.find(*one.place)
        assert stored is not None
        assert stored.finished is not None
        counts = stored.epochs, stored.stored, (stored.rows or 0) * one.epochs
        assert counts == (one.epochs, len(keys), len(keys))
        records = [*store.records(stored)]
        assert [key_of(record) for record in records] == list(keys)
        assert [record.number for record in records] == [place // one.epochs for place in range(len(keys))]
        assert store.summary(stored).rows == stored.rows
        assert store.summary(stored).errors == sum(record.failed for record in records)

    def check_replies(self, played: Played) -> None:
        """What a sample was replied once, it is replied again."""
        for key, kept in played.told.items():
            if kept.reply is None:
                continue
            assert self.replies.get(key, kept.reply) == kept.reply
            if played.ended != "killed" and self.waiting is None:  # else it may not have come into the file
                self.replies[key] = kept.reply

    # ---------------------------------------------------------------- what else is done

    def make_change(self, change: Change) -> None:
        """Delete, rename or rescore an experiment: all of it, or nothing."""
        there = dict(self.places())
        expected, refused = self.after(change, there)
        played = Played()
        if change.killed is None:
            error = made(change, self.path)
            played.ended = None if error is None else type(error).__name__
        else:
            played = self.play_in_process(change)
        found = dict(self.places())
        is_made, is_undone = (
            all(_same(found, other, place) for place in {*found, *other} - {self.waiting})
            for other in (expected, there)
        )
        if played.ended == "killed":
            assert is_undone or (is_made and refused is None)
        else:
            # While a run waits, its other rows may have taken the place of what was chosen.
            is_late = refused == "ConcurrentRunError" and played.ended == "StoreError"
            assert played.ended == refused or is_late
            assert is_made if refused is None else is_undone
        self.known = found

    def after(self, change: Change, there: Mapping[Place, Found]) -> tuple[dict[Place, Found], str | None]:
        """What must be there after a change, and with what it must be refused."""
        after = dict(there)
        of_it = {place: found for place, found in there.items() if place[0] == change.experiment}
        is_busy = self.waiting in of_it
        match change:
            case _ if not of_it:
                return after, "ValueError"
            case Delete():
                for place in of_it:
                    del after[place]
                return after, "ConcurrentRunError" if is_busy else None
            case Rename(_, to):
                if any(experiment == to for experiment, _ in there):
                    return after, "StoreError"
                for place in of_it:
                    after[to, place[1]] = after.pop(place)
                return after, "ConcurrentRunError" if is_busy else None
            case Rescore(_, to, overwrite):
                if not overwrite and any((to, name) in there for _, name in of_it):
                    return after, "StoreError"
                if self.waiting in {(to, name) for _, name in of_it}:
                    return after, "ConcurrentRunError"
                for (_, name), found in of_it.items():
                    rows = {
                        key: kept if kept.version is None else kept._replace(score="again")
                        for key, kept in found.rows.items()
                    }
                    after[to, name] = Found(rows, (found.version[0], True), found.is_finished)
                return after, None

    # ---------------------------------------------------------------- two at once

    def make_beside(self, beside: Beside) -> None:
        """Hold a run in a row, do something else meanwhile, and let it go on or kill it."""
        one, played = beside.one, Played()
        before = self.known.get(one.place, NOTHING)
        assert self.forks is not None
        reading, writing = os.pipe()
        with os.fdopen(reading) as theirs, os.fdopen(writing, "wb", buffering=0) as ours:
            process = self.forks.start(*arguments(one, self.path, self.number), cwd=ROOT, stdin=theirs, stdout=PIPE)
            with process:
                assert process.stdout is not None
                for line in process.stdout:
                    self.read(played, [line])
                    if json.loads(line)[0] == "held":
                        break
                else:
                    self.check_run(one, before, played)
                    for step in beside.meanwhile:
                        self.make(step)
                    return
                self.waiting = one.place
                is_overtaken = False
                for step in beside.meanwhile:
                    is_overtaken |= self.make_meanwhile(step)
                if beside.killed:
                    process.kill()
                else:
                    ours.write(b".")
                self.read(played, process.stdout.readlines())
                assert process.wait() == (-signal.SIGKILL if beside.killed else 0)
        if is_overtaken:
            assert played.ended == ("killed" if beside.killed else "ConcurrentRunError")
            self.found()
        else:
            assert played.ended == ("killed" if beside.killed else None)
            self.waiting = one.place
            self.check_run(one, before, played)
        self.waiting = None

    def make_meanwhile(self, step: Run | Change) -> bool:
        """Do something while a run waits in a row; whether it has overtaken that run."""
        if not isinstance(step, Run):
            is_rescored = isinstance(step, Rescore) and self.waiting is not None and step.experiment == self.waiting[0]
            if not is_rescored:  # nobody can tell how many rows of it are there at that moment
                self.make_change(step)
            return False
        if step.place != self.waiting:
            self.make(step)
            return False
        if step.fresh:
            self.waiting = None
            self.number += 1
            self.check_run(replace(step, cache=False), NOTHING, self.play(step))
            return True
        played = self.play(step)
        assert played.ended in ("ConcurrentRunError", "EvaluationChangedError", None)
        assert (played.called, played.told) == ([], {})  # refused, or answered by what is to be replaced
        return False

    # ---------------------------------------------------------------- what there is

    def found(self, except_for: Place | None = None) -> Found:
        """What is in the store of an evaluation; of all others there is what must be."""
        found = dict(self.places())
        for place in {*found, *self.known} - {except_for, self.waiting}:
            assert _same(found, self.known, place)
        return NOTHING if except_for is None else found.get(except_for, NOTHING)

    def places(self) -> Iterator[tuple[Place, Found]]:
        """All that is in the store."""
        store = Store(self.path)
        for stored in store.evaluations():
            everything = store.with_epochs(stored, None)
            records = [*store.records(everything)]
            rows = {
                key_of(record): kept_of(record, len(store.requests(everything, record.key, record.sample)))
                for record in records
            }
            assert len(rows) == len(records)
            version = FINGERPRINTS.get(stored.identity.get("the argument 'version'", ""), OTHERS)
            found = Found(rows, (version, "the scorer" in stored.identity), stored.finished is not None)
            yield (stored.experiment, stored.name), found


def _same(one: Mapping[Place, Found], other: Mapping[Place, Found], place: Place) -> bool:
    """Whether both have the same there; one without rows is none."""
    here, there = one.get(place, NOTHING), other.get(place, NOTHING)
    return here.rows == there.rows and (not here.rows or here.version == there.version)


@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(random_steps.IN_PROCESS, min_size=1, max_size=6))
def test_the_store_has_what_the_model_says(history: list[Run | Change]) -> None:
    """After every step, however it ended; no row twice, none of another version, none that was told lost."""
    with tempfile.TemporaryDirectory() as directory:
        played = History(Path(directory, "results.db"))
        for step in history:
            played.make(step)


@settings(
    max_examples=IN_PROCESSES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # with processes, to make it smaller takes minutes
)
@given(st.lists(random_steps.ALL, min_size=1, max_size=6))
def test_what_is_killed_and_who_writes_beside_it_leave_what_the_model_says(
    forks: Forks, history: list[Run | Change | Beside]
) -> None:
    """A step that is killed has been done, or as much of it as was told; two that write at once harm nothing."""
    with tempfile.TemporaryDirectory() as directory:
        played = History(Path(directory, "results.db"), forks)
        for step in history:
            played.make(step)
