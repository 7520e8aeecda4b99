"""``Lifetime``: how long the server lives, and who may lease it meanwhile.

It is told what happens, and when; it says what everybody is to be told, and which signals are due, as effects. It does
no I/O and looks at no clock.
"""

from __future__ import annotations

import collections
import signal

from .messages import Tell

TYPE_CHECKING = False  # as in typing, whose import takes time
if TYPE_CHECKING:
    from typing import Any

    Effect = tuple[str, tuple[Any, ...]]

TELL = "tell"
"""Effect: tell everybody an event."""
SIGNAL = "signal"
"""Effect: send a signal to all processes of the server."""
PAUSE_SECONDS = 0.5  # for so long nobody leases a server between two tests that both use it
FALLING_ASLEEP, ASLEEP, WAKING = "falling asleep", "asleep", "waking"
SWITCH_SECONDS = 600.0  # whoever puts it to sleep has a limit of their own, and may be stopped
KILL_SECONDS = 10.0  # how long to wait for what was killed; what sits in the kernel longer than that cannot be helped
KILL_AGAIN_SECONDS = 0.1
UNUSED = "nobody is connected any more"
UNSAID = "somebody has asked for that"


class Lifetime:
    """From the start of the server to the last signal it gets.

    Args:
        now: When it begins, as all times on the monotonic clock, in seconds.
        grace: How long the server may take to end, before it is killed, in seconds; half of it while it is not ready.
        drain_seconds: For how long it is leased to nobody new where its slots are needed, in seconds.
        stay_seconds: For how long after it was ready that does not happen, in seconds; at least as long as its start.
        can_sleep: Whether there is a place where it may sleep instead of ending when its slots are needed.
    """

    def __init__(
        self,
        now: float,
        *,
        grace: float,
        drain_seconds: float,
        stay_seconds: float,
        can_sleep: bool = False,
    ) -> None:
        self.effects: collections.deque[Effect] = collections.deque()
        """What is to be done, the first first, each with its arguments; whoever does it takes it from here."""
        self.is_ready = False
        self.met: list[str] = []
        """The conditions for being ready that somebody has seen it meet; each has its own."""
        self.reason = ""
        """Why it ends; empty while it lives."""
        self.drain_reason = ""
        """Why it is leased to nobody new, or was last."""
        self.keep_alive = 0.0
        """How long it stays when nobody is connected any more, in seconds; the longest that anybody has asked for."""
        self.sleep = ""
        """Whether it falls asleep, is asleep or wakes up; empty while it is awake."""
        self._can_sleep = can_sleep
        self._switch_began = now
        self._switch_until: float | None = None
        self._switch_seconds = 0.0  # how long it took to fall asleep last time, and to wake up
        self._grace = grace
        self._drain_seconds = drain_seconds
        self._stay_seconds = stay_seconds
        self._started_at = self.used_at = now
        self._no_drain_before = float("inf")  # not while it starts
        self._unused_until: float | None = None
        self._drains_until: float | None = None
        self._signals: list[tuple[float, int]] = []  # when to send which, while it is being stopped
        self._kills_until = float("inf")

    @property
    def is_draining(self) -> bool:
        """Whether it is leased to nobody new."""
        return self._drains_until is not None

    @property
    def state(self) -> str:
        """What `doteval servers` shows."""
        if self.is_draining:
            return "retiring"
        if self.reason:
            return "ending"
        return self.sleep or ("ready" if self.is_ready else "starting")

    @property
    def is_leasable(self) -> bool:
        """Whether somebody new may lease it; one that wakes up may be leased, and used when it is awake."""
        return not (self.reason or self.is_draining or self.sleep in (FALLING_ASLEEP, ASLEEP))

    # ---------------------------------------------------------------- what happens

    def ready(self, now: float, condition: str = "") -> None:
        """Somebody has seen that it is ready, by a condition of their own."""
        if self.reason or condition in self.met:
            return
        self.met.append(condition)
        if not self.is_ready:
            self.is_ready = True
            # It stays as long as its start took, or two that take turns would start it for every lease.
            self._no_drain_before = now + max(now - self._started_at, self._stay_seconds)
        self._do(TELL, Tell.ready(condition))

    def uses_changed(self, leases: int, holds: int, now: float, *, used: bool) -> None:
        """Somebody has come, has changed what they are, or has gone.

        Args:
            leases: How many lease it now.
            holds: How many keep it warm now.
            now: The time.
            used: Whether who it was leases it, or has until now.
        """
        if used:
            self.used_at = now
        if self.is_draining and not leases and not self._can_sleep:  # else whoever needs its slots puts it to sleep
            self.end(self.drain_reason, now)
        if leases or holds:
            self._unused_until = None
        elif not (self.is_ready and self.keep_alive > 0):
            self.end(UNUSED, now)  # at once: whoever leaves last is told so
        elif self._unused_until is None and not self.reason:
            self._unused_until = now + self.keep_alive

    def make_way(self, reason: str, leases: int, now: float, *, drain: bool, may_sleep: bool = False) -> bool:
        """Somebody needs the slots: end where nobody leases it, else lease it to nobody new for a while.

        Args:
            reason: Why, as half a sentence.
            leases: How many lease it.
            now: The time.
            drain: Whether it is to be leased to nobody new, where somebody leases it.
            may_sleep: Whether it is to sleep instead of ending.

        Returns:
            Whether it may fall asleep now; it does by `fall_asleep`, where there is a place for that.
        """
        if self.sleep or self.reason:
            return False
        may_go = now >= self._no_drain_before
        if not leases:
            # One that sleeps costs so little that somebody who comes back at once need not be waited for.
            may_sleep = may_sleep and self._can_sleep and self.is_ready
            pause = min(PAUSE_SECONDS, self._switch_seconds) if may_sleep else PAUSE_SECONDS
            if may_go or now >= self.used_at + pause:
                if may_sleep:
                    return True
                self.end(reason, now)
        elif drain and may_go and not self.is_draining:
            self._drains_until, self.drain_reason = now + self._drain_seconds, reason
            self._do(TELL, Tell.retiring(reason))
        return False

    def fall_asleep(self, now: float) -> None:
        """Somebody puts it to sleep, and there is a place for that."""
        self._switch(FALLING_ASLEEP, now)

    def wake(self, now: float) -> None:
        """Somebody wakes it up, who has its slots."""
        self._switch(WAKING, now)

    def _switch(self, sleep: str, now: float) -> None:
        self.sleep = sleep
        self._switch_began, self._switch_until = now, now + SWITCH_SECONDS
        self._drains_until = None
        self.met.clear()  # what it has met before says nothing of the time after

    def switched(self, problem: str, now: float) -> None:
        """Whoever puts it to sleep, or wakes it up, is done; where that did not go well, it ends.

        Args:
            problem: What went wrong; empty where nothing did.
            now: The time.
        """
        if self._switch_until is None or self.reason:
            return
        seconds, self._switch_until = now - self._switch_began, None
        if problem:
            done = "put to sleep" if self.sleep == FALLING_ASLEEP else "woken up"
            self.end(f"it could not be {done}: {problem}", now)
        elif self.sleep == FALLING_ASLEEP:
            self.sleep, self._switch_seconds = ASLEEP, seconds
        else:
            self.sleep, self._switch_seconds = "", self._switch_seconds + seconds
            self.used_at, self._no_drain_before = now, now + seconds  # as after a start
            self._do(TELL, Tell.awake())

    def end(self, reason: str, now: float, *, is_told: bool = False) -> None:
        """It ends, unless it does already.

        Args:
            reason: Why, as half a sentence; where that is empty, it was not said.
            now: The time.
            is_told: Whether everybody knows, as its process has ended by itself.
        """
        if self.reason:
            return
        self.reason = reason or UNSAID
        self._unused_until = self._drains_until = self._switch_until = None
        # What is not ready has nothing to finish, and may not listen to TERM at all.
        grace = self._grace / (1 if self.is_ready else 2)
        self._signals = [(now, signal.SIGTERM), (now + grace / 3, signal.SIGTERM), (now + grace, signal.SIGKILL)]
        self._kills_until = now + grace + KILL_SECONDS
        if not is_told:
            self._do(TELL, Tell.ending(self.reason))

    # ---------------------------------------------------------------- the time

    def due(self) -> list[float]:
        """When `pass_time` has something to do."""
        times = (*(when for when, _ in self._signals[:1]), self._unused_until, self._drains_until, self._switch_until)
        return [when for when in times if when is not None]

    def pass_time(self, now: float) -> None:
        """What happens because of the time alone."""
        if self._unused_until is not None and now >= self._unused_until:
            self.end(UNUSED, now)
        if self._switch_until is not None and now >= self._switch_until:
            self.switched("it took too long", now)
        if self._drains_until is not None and now >= self._drains_until and not self.reason:
            # Whoever leases it may wait for a lease on it itself: a wish for its slots must not stop it for ever.
            self._drains_until, self._no_drain_before = None, now + self._drain_seconds
            self._do(TELL, Tell.resumed())
        while self._signals and now >= self._signals[0][0]:
            number = self._signals.pop(0)[1]
            self._do(SIGNAL, number)
            if number == signal.SIGKILL:  # what was forked meanwhile is killed as well
                self._signals = [(now + KILL_AGAIN_SECONDS, signal.SIGKILL)]

    def _do(self, name: str, *arguments: Any) -> None:
        self.effects.append((name, arguments))

    def is_given_up(self, now: float) -> bool:
        """Whether it should have ended long ago, and cannot be helped."""
        return now > self._kills_until
