"""Whatever happens to a server, in whatever order and at whatever moments, it lives as long as it was promised.

What must be true is said here once more, by who uses it and by the time alone, without a look at how it is done.
"""

from __future__ import annotations

import signal
from random import Random
from typing import Any

import pytest

from doteval.servers._supervisor.lifetime import (
    ASLEEP,
    FALLING_ASLEEP,
    KILL_SECONDS,
    PAUSE_SECONDS,
    SWITCH_SECONDS,
    UNUSED,
    WAKING,
    Lifetime,
)

GRACE, DRAIN = 6.0, 10.0
SECONDS = [0.0, 1 / 64, 1 / 8, PAUSE_SECONDS, 1.0, 2.0, GRACE, DRAIN, 60.0]  # which floats can hold exactly


class Machine:
    """A server and those who come and go; the first one has started it, and leases it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = 100.0
        self.told: list[dict[str, Any]] = []
        self.can_sleep = random.random() < 0.5
        self.lifetime = Lifetime(
            self.now,
            grace=GRACE,
            drain_seconds=DRAIN,
            stay_seconds=0.0,
            can_sleep=self.can_sleep,
            tell=self.told.append,
        )
        self.sleep = ""
        self.switch_began = 0.0
        self.seconds = 0.0
        self.may_go_at = float("inf")
        self.leases, self.holds = 1, 0
        self.lifetime.keep_alive = self.keep_alive = random.choice([0.0, 1.0, 2.0, 60.0])
        self.ready_at: float | None = None
        self.last_leased = self.now
        self.left_at: float | None = None
        self.ended_at: float | None = None
        self.forced = False
        self.drains_since: float | None = None
        self.sent: list[tuple[float, int]] = []

    # ---------------------------------------------------------------- what happens

    def _changed(self, *, used: bool) -> None:
        if used:
            self.last_leased = self.now
        if not self.leases and not self.holds:
            self.left_at = self.now if self.left_at is None else self.left_at
        else:
            self.left_at = None
        self.lifetime.uses_changed(self.leases, self.holds, self.now, used=used)
        self._look()

    def _look(self) -> None:
        """Note what has changed by what everybody was told."""
        for event in self.told:
            match event["event"]:
                case "retiring":
                    assert self.drains_since is None
                    self.drains_since = self.now
                case "resumed":
                    assert self.drains_since == self.now - DRAIN
                    assert self.leases or self.can_sleep
                    self.drains_since, self.may_go_at = None, self.now + DRAIN
                case "ending":
                    assert self.ended_at is None
                    assert event["reason"] == self.lifetime.reason
                    self._ended()
                case "awake":
                    assert self.sleep == WAKING
                case _:
                    assert event["event"] == "ready"
        self.told.clear()
        if self.lifetime.reason and self.ended_at is None:
            self._ended()

    def _ended(self) -> None:
        self.ended_at, self.drains_since = self.now, None

    def comes(self) -> None:
        if self.lifetime.is_leasable:
            keep_alive = self.random.choice([0.0, 1.0, 60.0])
            self.lifetime.keep_alive = self.keep_alive = max(self.keep_alive, keep_alive)
            self.leases += 1
            self._changed(used=True)

    def leaves(self) -> None:
        if self.leases:
            self.leases -= 1
            self._changed(used=True)

    def rests(self) -> None:
        if self.leases:
            self.leases, self.holds = self.leases - 1, self.holds + 1
            self._changed(used=True)

    def uses_it_again(self) -> None:
        if self.holds and self.lifetime.is_leasable:
            self.leases, self.holds = self.leases + 1, self.holds - 1
            self._changed(used=True)

    def lets_go(self) -> None:
        if self.holds:
            self.holds -= 1
            self._changed(used=False)

    def is_ready(self) -> None:
        if self.sleep:
            return
        condition = self.random.choice(["", "health", "port"])
        known = condition in self.lifetime.met
        self.lifetime.ready(self.now, condition)
        news = [event for event in self.told if event["event"] == "ready"]
        assert bool(news) == (not known and self.ended_at is None)
        if news and self.ready_at is None:
            self.ready_at, self.may_go_at = self.now, 2 * self.now - 100
        self._look()

    def is_needed_elsewhere(self) -> None:
        drain = self.random.random() < 0.7
        beds = self.random.choice([None, True, False]) if self.can_sleep else None
        find_bed = None if beds is None else lambda: beds
        before, drained = self.ended_at, self.drains_since
        ends = self.lifetime.make_way("its slots are needed", self.leases, self.now, drain=drain, find_bed=find_bed)
        may_go = self.now >= self.may_go_at
        may_sleep = beds is not None and self.ready_at is not None
        pause = min(PAUSE_SECONDS, self.seconds) if may_sleep else PAUSE_SECONDS
        makes_way = not self.leases and not self.sleep and (may_go or self.now >= self.last_leased + pause)
        if before is not None:
            assert ends
        else:
            assert ends == (makes_way and not may_sleep)
            if makes_way and may_sleep and beds:
                self.sleep, self.switch_began, self.drains_since = FALLING_ASLEEP, self.now, None
        self._look()
        begins = self.drains_since is not None and drained is None
        assert begins == bool(
            before is None and self.leases and drain and drained is None and may_go and not self.sleep
        )

    def is_woken(self) -> None:
        if self.sleep == ASLEEP and self.ended_at is None:
            self.lifetime.wake(self.now)
            self.sleep, self.switch_began = WAKING, self.now
            self._look()

    def is_done_with_that(self) -> None:
        is_over = self.sleep not in (FALLING_ASLEEP, WAKING) or self.ended_at is not None
        problem = self.random.choice(["", "", "out of memory"])
        self.lifetime.switched(problem, self.now)
        if problem and not is_over:
            self.forced = True
            assert problem in self.lifetime.reason
        self._look()
        if is_over or problem:
            return
        seconds = self.now - self.switch_began
        if self.sleep == FALLING_ASLEEP:
            self.sleep, self.seconds = ASLEEP, seconds
        else:
            self.sleep, self.seconds = "", self.seconds + seconds
            self.last_leased, self.may_go_at = self.now, self.now + seconds

    def is_stopped(self) -> None:
        told = self.random.random() < 0.5
        was = self.lifetime.reason
        self.lifetime.end("somebody wants to", self.now, is_told=told)
        self.forced = self.forced or not was
        assert self.lifetime.reason == (was or "somebody wants to")
        assert not (told and self.told)
        self._look()

    def time_passes(self) -> None:
        """Whoever waits wakes up when something is due, and does not before that."""
        seconds = self.random.choice(SECONDS)
        until = self.now + (seconds if self.ended_at is None else min(seconds, GRACE))
        while (due := min(self.lifetime.due(), default=until)) < until:
            assert due >= self.now
            self._wake(due)
        self._wake(until)

    def _wake(self, when: float) -> None:
        early = (self.now + when) / 2
        if all(due > early for due in self.lifetime.due()):
            assert self.lifetime.pass_time(early) == []
            assert self.told == []
        self.now = when
        self.sent += [(when, number) for number in self.lifetime.pass_time(when)]
        self._look()
        assert all(due > when for due in self.lifetime.due())

    # ---------------------------------------------------------------- what must be true

    def it_lives_as_long_as_somebody_leases_it(self) -> None:
        if self.leases and not self.forced and self.left_at is None:
            assert self.ended_at is None or self.lifetime.reason != UNUSED

    def it_ends_in_time_when_nobody_is_there(self) -> None:
        if self.left_at is None or self.forced:
            return
        stays = self.keep_alive if self.ready_at is not None and self.ready_at <= self.left_at else 0.0
        if self.now > self.left_at + stays:
            assert self.ended_at is not None
        if self.lifetime.reason == UNUSED:
            assert self.ended_at is not None
            assert self.ended_at >= self.left_at + stays

    def it_is_kept_from_nobody_for_longer_than_was_said(self) -> None:
        assert self.lifetime.is_draining == (self.drains_since is not None)
        if self.drains_since is not None:
            assert self.leases or self.can_sleep
            assert self.now < self.drains_since + DRAIN

    def it_gets_its_grace_and_is_killed_after_that(self) -> None:
        if self.ended_at is None:
            assert self.sent == []
            assert not self.lifetime.is_given_up(self.now)
            return
        grace = GRACE if self.ready_at is not None else GRACE / 2
        for when, number in self.sent:
            assert (number == signal.SIGKILL) == (when >= self.ended_at + grace)
            assert number in (signal.SIGTERM, signal.SIGKILL)
        terms = [when for when, number in self.sent if number == signal.SIGTERM]
        assert terms == [when for when in (self.ended_at, self.ended_at + grace / 3) if when in terms]
        assert self.lifetime.is_given_up(self.now) == (self.now > self.ended_at + grace + KILL_SECONDS)
        assert self.lifetime.due(), "nobody would send the next signal"

    def it_never_sleeps_while_it_is_leased(self) -> None:
        assert self.lifetime.sleep == self.sleep
        assert not (self.leases and self.sleep in (FALLING_ASLEEP, ASLEEP))
        is_switching = self.sleep in (FALLING_ASLEEP, WAKING) and self.ended_at is None
        assert not is_switching or self.switch_began + SWITCH_SECONDS in self.lifetime.due()

    def its_state_says_so(self) -> None:
        ending, draining = self.ended_at is not None, self.drains_since is not None
        starting = self.ready_at is None
        awake = self.sleep or ("starting" if starting else "ready")
        assert self.lifetime.state == ("ending" if ending else "retiring" if draining else awake)
        is_asleep = self.sleep in (FALLING_ASLEEP, ASLEEP)
        assert self.lifetime.is_leasable == (not ending and not draining and not is_asleep)


@pytest.mark.parametrize("half", [0, 1])
def test_a_server_lives_as_long_as_it_was_promised(half: int) -> None:
    """In a few hundred lives, each of them to its end; a failure names the seed."""
    for seed in range(half * 300, half * 300 + 300):
        machine = Machine(Random(seed))
        rules = {
            machine.comes: 3,
            machine.leaves: 3,
            machine.rests: 3,
            machine.uses_it_again: 3,
            machine.lets_go: 2,
            machine.is_ready: 3,
            machine.is_needed_elsewhere: 2,
            machine.is_woken: 2,
            machine.is_done_with_that: 2,
            machine.is_stopped: 0.2,
            machine.time_passes: 8,
        }
        steps = machine.random.choices([*rules], [*rules.values()], k=60)
        after = 6
        for step in steps:
            try:
                step()
                for holds in (
                    machine.it_lives_as_long_as_somebody_leases_it,
                    machine.it_ends_in_time_when_nobody_is_there,
                    machine.it_is_kept_from_nobody_for_longer_than_was_said,
                    machine.it_gets_its_grace_and_is_killed_after_that,
                    machine.it_never_sleeps_while_it_is_leased,
                    machine.its_state_says_so,
                ):
                    holds()
            except AssertionError as exc:
                raise AssertionError(f"seed {seed}, {step.__name__} at {machine.now:g}") from exc
            after -= machine.ended_at is not None
            if not after:
                break
