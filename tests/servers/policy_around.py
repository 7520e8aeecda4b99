"""What is around the policy of a supervisor: time, a place, and those who are told; see `test_policy_machine.py`."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from doteval.servers._supervisor.lifetime import (
    PAUSE_SECONDS,
    SIGNAL,
    SWITCH_SECONDS,
    TELL,
    UNUSED,
    WAKING,
    Lifetime,
)
from doteval.servers._supervisor.policy import (
    GIVE_SLOTS_BACK,
    KEEP_LOG,
    LEAVE_BED,
    LOOK,
    LOOK_SECONDS,
    OUTPUT_SECONDS,
    SAY_EXITED,
    SETTLE_SECONDS,
    Policy,
)

GRACE, DRAIN, BEGAN = 6.0, 10.0, 100.0
SECONDS = [
    0.0,
    1 / 64,
    1 / 8,
    PAUSE_SECONDS,
    1.0,
    2.0,
    GRACE,
    DRAIN,
    60.0,
    SWITCH_SECONDS,
]  # which floats can hold exactly
KEEP_ALIVE = [0.0, 0.0, 1.0, 60.0]


class Around:
    """Those around a policy; the first client has started the server, and leases it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = BEGAN
        self.can_sleep, self.stay = random.random() < 0.5, random.choice([0.0, 3.0])
        self.lifetime = Lifetime(
            BEGAN, grace=GRACE, drain_seconds=DRAIN, stay_seconds=self.stay, can_sleep=self.can_sleep
        )
        self.kinds: dict[int, str] = {0: "lease"}
        self.next = 1
        self.policy = Policy(0, self.lifetime)
        self.keep_alive = 0.0
        self.met: set[str] = set()
        self.ready_at: float | None = None
        self.may_go_at = math.inf
        self.last_leased = BEGAN
        self.left_at: float | None = None
        self.is_forced = False
        """Something happens by which a server ends whoever leases it."""
        self.ended_at: float | None = None
        self.drains_since: float | None = None
        self.sleep, self.switch_began, self.switch_seconds = "", 0.0, 0.0
        self.nurse: int | None = None
        self.has_slots, self.has_bed = True, False
        self.has_exited = self.has_said_exit = self.has_kept_log = False
        self.sent: list[tuple[float, int]] = []
        self.printed, self.told_printed, self.told_printed_at = 0, 0, -math.inf
        self.look_at: float | None = None
        self.place = "whole"

    @property
    def is_ending(self) -> bool:
        return self.ended_at is not None

    def count(self, kind: str) -> int:
        return list(self.kinds.values()).count(kind)

    def who(self) -> int:
        """One of those who are connected; one more where nobody is."""
        if not self.kinds:
            self.comes()
        return self.random.choice([*self.kinds])

    def comes(self) -> int:
        self.kinds[self.next] = "visitor"
        self.next += 1
        return self.next - 1

    def becomes(self, who: int, kind: str | None) -> None:
        """Note what somebody is from now on; `None`: gone."""
        was = self.kinds.pop(who)
        if kind is not None:
            self.kinds[who] = kind
        if "lease" in (was, kind):
            self.last_leased = self.now
        if self.count("lease") or self.count("hold"):
            self.left_at = None
        elif self.left_at is None:
            self.left_at = self.now

    # ------------------------------------------------------------ what is to be done

    def ask(self, who: int, request: dict[str, Any]) -> dict[str, Any]:
        answer = self.policy.ask(who, request, self.now)
        self.act()
        return answer

    def act(self) -> None:
        effects = self.policy.effects
        while effects:
            name, arguments = effects.popleft()
            if name == TELL:
                assert not self.has_said_exit, "somebody was told something after the end"
                self.hear(*arguments)
            elif name == SIGNAL:
                self.sent.append((self.now, *arguments))
            elif name == SAY_EXITED:
                assert not self.has_said_exit
                self.has_said_exit = True
                assert arguments[1] == self.is_ending, "whoever wanted it to end expects that, and nobody else"
            elif name == KEEP_LOG:
                self.has_kept_log = True
            elif name == LOOK:
                self.look()
            elif name == GIVE_SLOTS_BACK:
                assert self.has_slots
                self.has_slots = False
            else:
                assert name == LEAVE_BED
                self.has_bed = False
        if self.lifetime.reason and not self.is_ending:
            self.ends(self.lifetime.reason)

    def hear(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "ready":
                assert not self.is_ending
                assert event["condition"] not in self.met
            case "retiring":
                assert self.drains_since is None
                self.drains_since = self.now
            case "resumed":
                assert self.drains_since is not None
                assert self.now == pytest.approx(self.drains_since + DRAIN)
                self.drains_since, self.may_go_at = None, self.now + DRAIN
            case "awake":
                assert self.sleep == WAKING
            case "output":
                assert self.ready_at is None
                assert not self.is_ending
                assert event["bytes"] == self.printed > self.told_printed
                assert self.now >= self.told_printed_at + OUTPUT_SECONDS
                self.told_printed, self.told_printed_at = self.printed, self.now
            case _:
                assert event == {"event": "ending", "reason": self.lifetime.reason}
                self.ends(event["reason"])

    def ends(self, reason: str) -> None:
        assert not self.is_ending, "it ends once"
        assert reason
        if not self.is_forced and not reason.startswith("it could not be"):
            assert not self.count("lease"), "it was leased"
            assert reason != UNUSED or not self.count("hold"), "it was held"
        self.ended_at, self.drains_since = self.now, None

    def look(self) -> None:
        """Look after the place; it takes no time."""
        assert self.look_at == self.now
        assert not self.is_ending
        if self.place == "taken":
            self.is_forced, self.look_at = True, None
            self.policy.place_taken(self.now)
        elif self.place == "later":
            soon = self.random.random() < 0.5
            self.look_at = self.now + (SETTLE_SECONDS if soon else LOOK_SECONDS)
            self.policy.look_again(self.now, soon=soon)
        else:
            is_told = self.place == "whole"
            self.look_at = None if is_told else self.now + LOOK_SECONDS
            self.policy.watches(is_told, self.now)

    # ------------------------------------------------------------ the time

    def time_passes(self, seconds: float | None = None) -> None:
        """Whoever waits wakes up when something is due, and does not before that."""
        seconds = self.random.choice(SECONDS) if seconds is None else seconds
        until = self.now + (min(seconds, GRACE) if self.is_ending else seconds)
        while (due := min(self.policy.due(), default=until)) < until:
            self.wakes_up(max(due, self.now))
        self.wakes_up(until)

    def wakes_up(self, when: float) -> None:
        early = (self.now + when) / 2
        if all(due > early for due in self.policy.due()):
            self.policy.pass_time(early)
            assert not self.policy.effects
        self.now = when
        for _ in range(2):  # what is done may show that the server has to end
            self.policy.pass_time(when)
            self.act()
        assert all(due > when for due in self.policy.due()), "it would never rest"
