"""Leaks: leases whose handle was dropped without a teardown, or that are held suspiciously long."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from .._hold import place_of_the_caller
from .owners import TaskOwner
from .records import Lease
from .reporter import logger


@dataclass(slots=True, eq=False)
class _Watched:
    lease: Lease
    owner: TaskOwner
    since: float
    place: str
    handle: weakref.ref[object] | None = None
    is_told: bool = False


class Leaks:
    """Watches the leases of one pool.

    Args:
        provider: The provider's name, for messages.
        leak_after: How long a lease may be held before somebody is told, in seconds; `None` for ever.
        time: The clock.
        on_dropped: Called when there is something to reclaim, in any thread and at any moment.
    """

    def __init__(
        self, provider: str, leak_after: float | None, time: Callable[[], float], on_dropped: Callable[[], object]
    ) -> None:
        self._provider = provider
        self._leak_after = leak_after
        self._time = time
        self._on_dropped = on_dropped
        self._watched: dict[Lease, _Watched] = {}
        self._dropped: deque[_Watched] = deque()

    def watch(self, handle: object, lease: Lease) -> None:
        """Notice when the handle is dropped; call it where the lease is set up."""
        watched = _Watched(lease, TaskOwner(), self._time(), place_of_the_caller())
        watched.handle = weakref.ref(handle, partial(self._on_gone, watched))
        self._watched[lease] = watched

    def _on_gone(self, watched: _Watched, _: object) -> None:
        """Runs wherever the garbage is collected, so it does no more than to tell."""
        self._watched.pop(watched.lease, None)
        if not watched.lease.ended:
            self._dropped.append(watched)
            self._on_dropped()

    def reclaim(self, release: Callable[[Lease], object]) -> None:
        """End the leases whose handles are gone, and warn of each."""
        while self._dropped:
            watched = self._dropped.popleft()
            if not watched.lease.ended:
                release(watched.lease)
                self._warn(watched, "was leased and never torn down: its handle was dropped, so it is reclaimed;")

    def look(self, now: float) -> float | None:
        """Warn of what is held too long, once; return when to look again, or `None` for not at all."""
        if self._leak_after is None:
            return None
        left: list[float] = []
        for watched in list(self._watched.values()):
            if watched.lease.ended:
                self._watched.pop(watched.lease, None)
            elif not watched.is_told and now >= watched.since + self._leak_after:
                watched.is_told = True
                self._warn(watched, f"has been leased for {now - watched.since:.3g} s, and still is;")
            elif not watched.is_told:
                left.append(watched.since + self._leak_after)
        return min(left, default=None)

    def _warn(self, watched: _Watched, what: str) -> None:
        label = watched.lease.entry.want.label
        message = f"{self._provider}: '{label}' {what} {watched.owner} set it up in {watched.place}"
        logger.warning(message)
        try:
            warnings.warn_explicit(message, ResourceWarning, *_taken_apart(watched.place))
        except ResourceWarning:  # where warnings are errors: nobody is here whose error it would be
            sys.unraisablehook(cast(Any, _Unraisable(ResourceWarning(message), watched.place)))


def _taken_apart(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 1)


class _Unraisable:
    """What `sys.unraisablehook` takes."""

    def __init__(self, error: Exception, place: str) -> None:
        self.exc_type, self.exc_value, self.exc_traceback = type(error), error, None
        self.err_msg = None
        self.object = place
