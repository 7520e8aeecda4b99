"""Waits: how long requests waited, what for, and how that ended, and how long leases were held."""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

from .._errors import CapacityDeadlockError
from .events import TIME_BOUNDS
from .records import Request, State

SHORT = TIME_BOUNDS[0]
Ending = Literal["granted", "failed", "timeout", "deadlock", "cancelled"]


class Histogram:
    """How many times were how long: a bucket for each of `TIME_BOUNDS`, and one for what is longer; made once."""

    __slots__ = ("_longer", "seconds", "short")

    def __init__(self) -> None:
        self.short = 0
        """How many were no longer than `SHORT`; a count of its own, as most leases are, and finding a bucket costs."""
        self._longer = [0] * len(TIME_BOUNDS)
        self.seconds = 0.0

    @property
    def buckets(self) -> tuple[int, ...]:
        """How many of them were how long."""
        return (self.short, *self._longer)

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.buckets)

    def add(self, seconds: float) -> None:
        """Count a time."""
        self.seconds += seconds
        if seconds <= SHORT:
            self.short += 1
        else:
            self._longer[bisect_left(TIME_BOUNDS, seconds) - 1] += 1


class Waits:
    """The waits of one pool."""

    def __init__(self) -> None:
        self.times = Histogram()
        self.opens = Histogram()
        self.uses = Histogram()
        """How long leases were held. Kept only where capacity is limited: elsewhere nobody waits for their end."""
        self.queue_seconds = 0.0
        self.endings: dict[Ending, int] = dict.fromkeys(("granted", "failed", "timeout", "deadlock", "cancelled"), 0)

    def add(self, request: Request, ending: Ending, began: float, now: float) -> None:
        """Count a wait that is over.

        Args:
            request: Who waited.
            ending: How it ended.
            began: When it began.
            now: When it ended.
        """
        self.endings[ending] += 1
        self.times.add(now - began)
        self.queue_seconds += in_queue(request, began, now)


def ending_of(request: Request) -> Ending:
    """How a wait has ended that nobody has broken off."""
    if request.state is State.GRANTED:
        return "granted"
    if request.state is State.FAILED:
        is_own = request.failed_want is None  # and not that of an opening which waits for another one
        return "deadlock" if is_own and isinstance(request.error, CapacityDeadlockError) else "failed"
    return "timeout"


def in_queue(request: Request, began: float, now: float) -> float:
    """How much of a wait, in seconds, was spent before there was a place; the rest was opening or asking for health."""
    return max(0.0, (now if request.admitted is None else request.admitted) - began)
