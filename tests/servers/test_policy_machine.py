"""A state machine over the supervisor's policy: whatever happens in whatever order, its promises hold.

The machine plays all that is around: clients that come, ask and hang up, a server that prints, gets ready and ends, a
directory that is deleted, and the time. What must be true is said here once more, by who uses the server and by the
time alone. Hypothesis finds a short life that breaks a promise, and many seeds find that there is one; ``nox -s
ledger_machine`` runs the long profile.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.policy_around import BEGAN, DRAIN, GRACE, KEEP_ALIVE, Around

from doteval.servers._supervisor.lifetime import (
    ASLEEP,
    FALLING_ASLEEP,
    KILL_SECONDS,
    PAUSE_SECONDS,
    SWITCH_SECONDS,
    UNUSED,
    WAKING,
)
from doteval.servers._supervisor.messages import Ask
from doteval.servers._supervisor.policy import (
    BED,
    OUTPUT_SECONDS,
    SETTLE_SECONDS,
    SLOTS,
)

STEPS = 60


class Machine(Around):
    """Whatever they do, in any order; the first client has started the server, and leases it."""

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.leases()

    # ------------------------------------------------------------ who is there

    def leases(self) -> None:
        is_new = self.kinds and len(self.kinds) < 4 and self.random.random() < 0.3
        who, keep_alive = self.comes() if is_new else self.who(), self.random.choice(KEEP_ALIVE)
        may = self.kinds[who] == "lease" or not (
            self.drains_since is not None or self.sleep in (FALLING_ASLEEP, ASLEEP)
        )
        is_granted = may and not self.is_ending
        if is_granted:
            self.keep_alive = max(self.keep_alive, keep_alive)
            self.becomes(who, "lease")
        answer = self.ask(who, Ask.lease(keep_alive))
        assert answer["granted"] is is_granted
        if not is_granted:
            assert (answer["ending"], answer["sleeps"]) == (self.is_ending, bool(self.sleep) and not self.is_ending)
            assert answer["reason"]

    def holds(self) -> None:
        who, was_ending, keep_alive = self.who(), self.is_ending, self.random.choice(KEEP_ALIVE)
        if not was_ending:
            self.keep_alive = max(self.keep_alive, keep_alive)
            self.becomes(who, "hold")
        assert self.ask(who, Ask.hold(keep_alive))["granted"] is not was_ending

    def leaves(self) -> None:
        who = self.who()
        self.becomes(who, "visitor")
        assert self.ask(who, Ask.leave())["ending"] is self.is_ending

    def hangs_up(self) -> None:
        who = self.who()
        was_nurse = who == self.nurse
        if was_nurse:
            self.nurse, self.is_forced = None, True
        self.becomes(who, None)
        self.policy.gone(who, self.now)
        self.act()
        assert self.is_ending or not was_nurse

    # ------------------------------------------------------------ what is rare

    def is_stopped(self) -> None:
        self.is_forced = True
        if self.random.random() < 0.5:
            was_so, was_ending = self.policy.is_stopped, self.is_ending
            assert self.ask(self.who(), Ask.stop("somebody wants to"))["ending"]
            assert self.policy.is_stopped is (was_so if was_ending else True)
        else:
            self.policy.signalled("SIGTERM", self.now)
            self.act()
        assert self.is_ending

    def is_ended_in_its_sleep(self) -> None:
        was_ending = self.is_ending
        self.is_forced |= self.sleep == ASLEEP
        answer = self.ask(self.who(), Ask.end_sleeping("others need the place"))
        assert answer["ending"] is self.is_ending is (was_ending or self.sleep == ASLEEP)

    def waits(self) -> None:
        """Only what those who lease it wait for counts."""
        who = self.who()
        wishes = [[[f"slot-{who}"], each, 10_000] for each in range(self.random.randrange(3))]
        assert self.ask(who, Ask.waits(wishes)) == {}
        is_told = all(wish in self.policy.waits() for wish in wishes)
        assert is_told is (not wishes or self.kinds[who] == "lease")
        assert len(self.policy.waits()) <= 2 * self.count("lease"), "whoever has gone waits for nothing"

    def talks_nonsense(self) -> None:
        """It changes nothing."""
        request = self.random.choice([{}, {"op": "what"}, {"op": "waits"}, {"op": "lease", "keep_alive": "x"}])
        with suppress(KeyError, TypeError, ValueError):
            assert "error" in self.policy.ask(self.who(), request, self.now)
        assert not self.policy.effects

    def prints(self) -> None:
        self.printed += 10
        self.policy.printed(self.printed)

    def gives_up(self) -> None:
        who = self.who()
        is_last = self.kinds[who] == "lease" and self.count("lease") + self.count("hold") == 1
        was_ending, self.has_kept_log = self.is_ending, False
        self.is_forced |= is_last
        answer = self.policy.ask(who, Ask.give_up("it did not get ready"), self.now)
        self.becomes(who, "visitor")
        self.act()
        assert answer["ending"] is self.is_ending
        assert self.has_kept_log is (is_last and not was_ending)

    def exits(self) -> None:
        if not self.has_exited:
            self.has_exited = self.is_forced = True
            self.policy.exited(self.now)
            self.act()
            assert self.is_ending
            assert self.has_said_exit

    # ------------------------------------------------------------ the server

    def is_ready(self) -> None:
        if self.sleep:
            return
        condition = self.random.choice(["", "health"])
        self.ask(self.who(), Ask.ready(condition))
        if not self.is_ending:
            self.met.add(condition)
            if self.ready_at is None:
                self.ready_at, self.may_go_at = self.now, self.now + max(self.now - BEGAN, self.stay)
            assert {*self.lifetime.met} == self.met

    def something_is_deleted(self) -> None:
        self.place = self.random.choice([*["whole"] * 8, "unwatched", "later", "taken"])
        self.policy.may_be_deleted(self.now)
        if self.look_at is None:
            self.look_at = self.now + SETTLE_SECONDS

    # ------------------------------------------------------------ its slots

    def is_needed_elsewhere(self) -> None:
        drain, sleep, bed = (self.random.random() < chance for chance in (0.7, 0.6, 0.7))
        who, leases, was_draining = self.who(), self.count("lease"), self.drains_since
        was_ending, may_go = self.is_ending, self.now >= self.may_go_at
        may_sleep = sleep and self.can_sleep and self.ready_at is not None
        pause = min(PAUSE_SECONDS, self.switch_seconds) if may_sleep else PAUSE_SECONDS
        makes_way = not leases and not self.sleep and (may_go or self.now >= self.last_leased + pause)
        answer = self.ask(who, Ask.end("its slots are needed", drain=drain, sleep=sleep))
        assert (answer is BED) is (makes_way and may_sleep and not was_ending)
        if answer is BED:
            answer = self.policy.beds(who, self.now, found=bed)
            assert answer["granted"] is bed
            if bed:
                self.nurse, self.has_bed = who, True
                self.sleep, self.switch_began, self.drains_since = FALLING_ASLEEP, self.now, None
                self.met.clear()
            self.act()
            assert not self.is_ending
        else:
            assert answer["ending"] is self.is_ending
            assert self.is_ending is (was_ending or makes_way)
            begins = drain and leases and may_go and was_draining is None and not self.sleep and not was_ending
            assert (self.drains_since is not None) is bool(begins or (was_draining is not None and not self.is_ending))

    def is_woken(self) -> None:
        who, are_free = self.who(), self.random.random() < 0.7
        answer = self.ask(who, Ask.wake())
        assert (answer is SLOTS) is (self.sleep == ASLEEP and not self.is_ending)
        if answer is SLOTS:
            taken = [] if are_free else ["slot-0"]
            assert self.policy.slots(who, ["slot-0"], taken, self.now)["granted"] is are_free
            if are_free:
                self.nurse, self.has_slots = who, True
                self.sleep, self.switch_began = WAKING, self.now
            self.act()

    def is_done_with_that(self) -> None:
        """Mostly who has it to do says so; nobody else is believed."""
        problem = self.random.choice([*[""] * 8, "out of memory"])
        it = self.nurse if self.nurse is not None and self.random.random() < 0.8 else self.who()
        counts = it == self.nurse and not self.is_ending
        if it == self.nurse:
            self.nurse = None
        self.is_forced |= counts and bool(problem)
        seconds = self.now - self.switch_began
        if counts and not problem:
            if self.sleep == FALLING_ASLEEP:
                self.sleep, self.switch_seconds = ASLEEP, seconds
            elif self.sleep == WAKING:
                answer = self.ask(it, Ask.switched(problem))
                self.sleep, self.switch_seconds = "", self.switch_seconds + seconds
                self.last_leased, self.may_go_at = self.now, self.now + seconds
                assert answer == {}
                return
        assert self.ask(it, Ask.switched(problem)) == {}
        assert self.is_ending or not (counts and problem)

    # ------------------------------------------------------------ what must be true

    def it_ends_in_time_when_nobody_is_there(self) -> None:
        if self.left_at is None or self.is_forced:
            return
        stays = self.keep_alive if self.ready_at is not None and self.ready_at <= self.left_at else 0.0
        assert self.is_ending or self.now <= self.left_at + stays
        if self.lifetime.reason == UNUSED:
            assert self.ended_at is not None
            assert self.ended_at >= self.left_at + stays

    def it_is_kept_from_nobody_for_longer_than_was_said(self) -> None:
        assert self.lifetime.is_draining == (self.drains_since is not None)
        if self.drains_since is not None:
            assert self.count("lease") or self.can_sleep
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
        assert terms == [
            when for when in (self.ended_at, self.ended_at + grace / 3) if when < self.now or when in terms
        ]
        assert self.now <= self.ended_at + grace or len(self.sent) > 2
        assert self.lifetime.is_given_up(self.now) == (self.now > self.ended_at + grace + KILL_SECONDS)
        assert self.policy.due(), "nobody would send the next signal"

    def who_uses_it_has_it(self) -> None:
        """Its slots while it is awake, or about to be; nobody leases it while it sleeps, and it sleeps in a bed."""
        assert self.lifetime.sleep == self.sleep
        assert not (self.count("lease") and self.sleep in (FALLING_ASLEEP, ASLEEP))
        assert self.has_slots is (self.sleep != ASLEEP) or self.is_ending
        assert self.has_bed or not self.sleep
        is_switching = self.sleep in (FALLING_ASLEEP, WAKING) and not self.is_ending
        assert not is_switching or self.switch_began + SWITCH_SECONDS in self.policy.due()
        assert {kind: self.policy.count(kind) for kind in ("lease", "hold")} == {
            "lease": self.count("lease"),
            "hold": self.count("hold"),
        }

    def its_state_says_so(self) -> None:
        awake = self.sleep or ("starting" if self.ready_at is None else "ready")
        is_draining = self.drains_since is not None
        assert self.lifetime.state == ("ending" if self.is_ending else "retiring" if is_draining else awake)
        assert self.lifetime.keep_alive == self.keep_alive

    def nothing_is_forgotten(self) -> None:
        """What it has printed is told soon, and its place is looked after, while there is somebody who wants that."""
        if self.is_ending:
            return
        due = self.policy.due()
        assert self.look_at is None or self.look_at in due
        if self.ready_at is None and self.printed > self.told_printed:
            assert min(due) <= max(self.now, self.told_printed_at + OUTPUT_SECONDS)

    # ------------------------------------------------------------ a life

    def lives(self) -> None:
        """Many steps, and the end: it ends when all have hung up, what is left is killed, and all are told once."""
        rules = {
            self.leases: 5,
            self.holds: 4,
            self.leaves: 2,
            self.hangs_up: 1.5,
            self.is_ready: 4,
            self.is_needed_elsewhere: 4,
            self.is_woken: 2,
            self.is_done_with_that: 2,
            self.something_is_deleted: 0.5,
            self.prints: 2,
            self.waits: 0.5,
            self.talks_nonsense: 0.5,
            self.gives_up: 0.5,
            self.exits: 0.2,
            self.is_stopped: 0.2,
            self.is_ended_in_its_sleep: 0.5,
            self.time_passes: 10,
        }
        for step in self.random.choices([*rules], [*rules.values()], k=STEPS):
            step()
            self.keeps_its_promises()
        while self.kinds:
            self.hangs_up()
        self.wakes_up(self.now)
        while not self.is_ending:
            self.time_passes(60.0)
            self.keeps_its_promises()
        for _ in range(4):
            self.time_passes(GRACE)
            self.keeps_its_promises()
        assert self.sent[-1][1] == signal.SIGKILL
        assert self.lifetime.is_given_up(self.now)
        self.policy.is_over()
        self.policy.failed("it could not be helped")
        self.act()
        assert self.has_said_exit

    def keeps_its_promises(self) -> None:
        self.it_ends_in_time_when_nobody_is_there()
        self.it_is_kept_from_nobody_for_longer_than_was_said()
        self.it_gets_its_grace_and_is_killed_after_that()
        self.who_uses_it_has_it()
        self.its_state_says_so()
        self.nothing_is_forgotten()


@pytest.mark.parametrize("half", [0, 1])
def test_a_policy_keeps_its_promises(half: int) -> None:
    """In a few hundred lives, each of them to its end; a failure names the seed."""
    for seed in range(half * 150, half * 150 + 150):
        try:
            Machine(Random(seed)).lives()
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}") from exc


@given(st.randoms(use_true_random=False))
def test_no_life_breaks_a_promise(random: Random) -> None:
    """However short it is; Hypothesis looks for one, and for the shortest."""
    Machine(random).lives()
