"""Leaks: leases whose handle was dropped without a teardown, or that are held suspiciously long."""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from .._caller import place_of_the_caller
from .._loop import HomeLoop
from .owners import Owner
from .records import Lease
from .reporter import logger

DROPPED = "its handle was dropped"
"""Why a lease has ended that was reclaimed."""


@dataclass(slots=True, eq=False)
class Trace:
    """Who has set up a lease, where, and when."""

    owner: Owner
    place: str
    since: float
    is_told: bool = False

    def __str__(self) -> str:
        return f"{self.owner} set it up in {self.place}"


class Leaks:
    """Tells of the leases of one pool that leak.

    Args:
        provider: The provider's name, for messages.
        leak_after: How long a lease may be held before somebody is told, in seconds; `None` for ever.
        loop: The event loop, which is asked for the time and for who sets up a lease.
        on_dropped: Called when there is something to reclaim, in any thread and at any moment.
    """

    def __init__(
        self, provider: str, leak_after: float | None, loop: HomeLoop, on_dropped: Callable[[], object]
    ) -> None:
        self._provider = provider
        self._leak_after = leak_after
        self._loop = loop
        self._on_dropped = on_dropped
        self._dropped: deque[Lease] = deque()

    def trace(self, lease: Lease) -> None:
        """Remember where it is set up, which is here."""
        owner = Owner(self._loop.task_here)
        place = place_of_the_caller() if owner.caller is None else place_of_the_caller(otherwise=owner.caller.place)
        lease.trace = Trace(owner, place, self._loop.time())

    def dropped(self, lease: Lease) -> None:
        """Nobody can end the lease any more; runs wherever garbage is collected, so it does no more than to tell."""
        self._dropped.append(lease)
        self._on_dropped()

    @property
    def are_looked_for(self) -> bool:
        """Whether `look` has anything to do."""
        return self._leak_after is not None

    @property
    def is_any_dropped(self) -> bool:
        """Whether there is something to reclaim."""
        return bool(self._dropped)

    def reclaim(self, release: Callable[[Lease], object]) -> None:
        """End the leases whose handles are gone, and warn of each."""
        while self._dropped:
            lease = self._dropped.popleft()
            if not lease.ended:
                release(lease)
                self._warn(lease, "was leased and never torn down: its handle was dropped, so it is reclaimed")

    def look(self, now: float, leases: Iterable[Lease]) -> float | None:
        """Warn of what is held too long, once; return when to look again, or `None` for not at all."""
        if self._leak_after is None:
            return None
        left: list[float] = []
        for lease in leases:
            trace: Trace | None = lease.trace
            if trace is None or trace.is_told:
                continue
            if now < trace.since + self._leak_after:
                left.append(trace.since + self._leak_after)
            else:
                trace.is_told = True
                self._warn(lease, f"has been leased for {now - trace.since:.3g} s, and still is")
        return min(left, default=None)

    def _warn(self, lease: Lease, what: str) -> None:
        trace: Trace | None = lease.trace
        place = f"<{self._provider}>" if trace is None else trace.place
        message = f"{self._provider}: '{lease.entry.want.label}' {what}; {account_of_setup(lease)}"
        logger.warning(message)
        try:
            warnings.warn_explicit(message, ResourceWarning, *_taken_apart(place))
        except ResourceWarning:  # where warnings are errors: nobody is here whose error it would be
            sys.unraisablehook(cast(Any, _Unraisable(ResourceWarning(message), place)))


def account_of_setup(lease: Lease) -> str:
    """Who has set up the lease, and where, as far as it is known."""
    if lease.trace is not None:
        return str(lease.trace)
    if lease.owner is not None:
        return f"{lease.owner} had it, and trace_leases=True says where it was set up"
    return "trace_leases=True says who set it up, and where"


def _taken_apart(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 1)


class _Unraisable:
    """What `sys.unraisablehook` takes."""

    def __init__(self, error: Exception, place: str) -> None:
        self.exc_type, self.exc_value, self.exc_traceback = type(error), error, None
        self.err_msg = None
        self.object = place


class Recording:
    """What was leased in this process since it began, for whoever asks which of it is left."""

    def __init__(self) -> None:
        self.is_on = False
        """Whether all that is set up from now on is traced, and so can be told of here."""
        self._noted: list[Lease] = []

    def begin(self) -> None:
        """Forget what was leased before."""
        self._noted = []

    def note(self, lease: Lease) -> None:
        """It is set up now."""
        self._noted.append(lease)

    def held(self) -> list[Lease]:
        """What is held now, and what nobody can give back any more; forgets all of it."""
        noted, self._noted = self._noted, []
        return [lease for lease in noted if lease.ended in ("", DROPPED)]


recording = Recording()
