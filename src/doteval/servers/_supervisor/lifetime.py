"""``Lifetime``: how long the server lives, and who may lease it meanwhile.

It is told what happens, and when; what follows it tells everybody, and says which signals are due. It does no I/O and
looks at no clock.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

PAUSE_SECONDS = 0.5  # for so long nobody leases a server between two tests that both use it
KILL_SECONDS = 10.0  # how long to wait for what was killed; what sits in the kernel longer than that cannot be helped
KILL_AGAIN_SECONDS = 0.1
UNUSED = "nobody is connected any more"


class Lifetime:
    """From the start of the server to the last signal it gets.

    Args:
        now: When it begins, as all times on the monotonic clock, in seconds.
        grace: How long the server may take to end, before it is killed, in seconds; half of it while it is not ready.
        drain_seconds: For how long it is leased to nobody new where its slots are needed, in seconds.
        stay_seconds: For how long after it was ready that does not happen, in seconds; at least as long as its start.
        tell: Tells an event to everybody.
    """

    def __init__(
        self,
        now: float,
        *,
        grace: float,
        drain_seconds: float,
        stay_seconds: float,
        tell: Callable[[dict[str, object]], object],
    ) -> None:
        self.is_ready = False
        self.met: list[str] = []
        """The conditions for being ready that somebody has seen it meet; each has its own."""
        self.reason = ""
        """Why it ends; empty while it lives."""
        self.drain_reason = ""
        """Why it is leased to nobody new, or was last."""
        self.keep_alive = 0.0
        """How long it stays when nobody is connected any more, in seconds; the longest that anybody has asked for."""
        self._grace = grace
        self._drain_seconds = drain_seconds
        self._stay_seconds = stay_seconds
        self._tell = tell
        self._started_at = self._used_at = now
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
        return "ending" if self.reason else "ready" if self.is_ready else "starting"

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
        self._tell({"event": "ready", "condition": condition})

    def uses_changed(self, leases: int, holds: int, now: float, *, used: bool) -> None:
        """Somebody has come, has changed what they are, or has gone.

        Args:
            leases: How many lease it now.
            holds: How many keep it warm now.
            now: The time.
            used: Whether who it was leases it, or has until now.
        """
        if used:
            self._used_at = now
        if self.is_draining and not leases:
            self.end(self.drain_reason, now)
        if leases or holds:
            self._unused_until = None
        elif not (self.is_ready and self.keep_alive > 0):
            self.end(UNUSED, now)  # at once: whoever leaves last is told so
        elif self._unused_until is None and not self.reason:
            self._unused_until = now + self.keep_alive

    def make_way(self, reason: str, leases: int, now: float, *, drain: bool) -> bool:
        """Somebody needs the slots: end where nobody leases it, else lease it to nobody new for a while.

        Returns:
            Whether it ends.
        """
        may_go = now >= self._no_drain_before
        if not leases:
            if may_go or now >= self._used_at + PAUSE_SECONDS:
                self.end(reason, now)
        elif drain and may_go and not self.reason and not self.is_draining:
            self._drains_until, self.drain_reason = now + self._drain_seconds, reason
            self._tell({"event": "retiring", "reason": reason})
        return bool(self.reason)

    def end(self, reason: str, now: float, *, is_told: bool = False) -> None:
        """It ends, unless it does already.

        Args:
            reason: Why, as half a sentence.
            now: The time.
            is_told: Whether everybody knows, as its process has ended by itself.
        """
        if self.reason:
            return
        self.reason = reason
        self._unused_until = self._drains_until = None
        # What is not ready has nothing to finish, and may not listen to TERM at all.
        grace = self._grace / (1 if self.is_ready else 2)
        self._signals = [(now, signal.SIGTERM), (now + grace / 3, signal.SIGTERM), (now + grace, signal.SIGKILL)]
        self._kills_until = now + grace + KILL_SECONDS
        if not is_told:
            self._tell({"event": "ending", "reason": reason})

    # ---------------------------------------------------------------- the time

    def due(self) -> list[float]:
        """When `pass_time` has something to do."""
        times = (*(when for when, _ in self._signals[:1]), self._unused_until, self._drains_until)
        return [when for when in times if when is not None]

    def pass_time(self, now: float) -> list[int]:
        """What happens because of the time alone.

        Returns:
            The signals that all processes of the server are to get now, in this order.
        """
        if self._unused_until is not None and now >= self._unused_until:
            self.end(UNUSED, now)
        if self._drains_until is not None and now >= self._drains_until and not self.reason:
            # Whoever leases it may wait for a lease on it itself: a wish for its slots must not stop it for ever.
            self._drains_until, self._no_drain_before = None, now + self._drain_seconds
            self._tell({"event": "resumed"})
        numbers: list[int] = []
        while self._signals and now >= self._signals[0][0]:
            numbers.append(self._signals.pop(0)[1])
            if numbers[-1] == signal.SIGKILL:  # what was forked meanwhile is killed as well
                self._signals = [(now + KILL_AGAIN_SECONDS, signal.SIGKILL)]
        return numbers

    def is_given_up(self, now: float) -> bool:
        """Whether it should have ended long ago, and cannot be helped."""
        return now > self._kills_until
