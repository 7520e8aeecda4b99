"""Leases that a resource takes from inside of its own ``open``: what it leases closes after it.

Pure, as the ledger is. The two may be of different providers, each with books of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from .records import Entry


class Inside:
    """A resource, for those that it leases from.

    Args:
        entry: The resource.
        close: Closes it now, whoever holds it; gets the reason.
    """

    __slots__ = ("_at_end", "_close", "entry", "is_gone")

    def __init__(self, entry: Entry, close: Callable[[str], object]) -> None:
        self.entry = entry
        self._close = close
        self._at_end: list[Callable[[], object]] = []
        self.is_gone = False
        """Its task is over, and whatever it has left behind is no part of it."""

    @property
    def is_evicted(self) -> bool:
        """Whether it closes because its slots are needed."""
        return self.entry.evicted

    def close(self, then: Callable[[], object], reason: str) -> None:
        """Close it, and call `then` when it is gone."""
        if self.is_gone:
            then()
        else:
            self._at_end.append(then)
            self._close(reason)

    def end(self) -> None:
        """Its task is over."""
        self.is_gone = True
        while self._at_end:
            self._at_end.pop()()


def inside_of(owner: Hashable) -> Inside | None:
    """The resource whose task, or a child of it, the owner of a lease is; `None` for all others."""
    inside: Inside | None = getattr(owner, "inside", None)
    return None if inside is None or inside.is_gone else inside


def dependents_of(entry: Entry) -> set[Inside]:
    """Who leases the entry from inside, and has to close before; of those that lease each other, none has to."""
    return {inside for inside in _leasing(entry) if not _leases(entry, inside.entry)}


def _leasing(entry: Entry) -> Iterator[Inside]:
    for lease in entry.leases:
        inside = inside_of(lease.owner)
        if inside is not None and lease.request is None:
            yield inside


def _leases(entry: Entry, other: Entry) -> bool:
    """Whether the entry leases the other one, or what leases it, and so on; each leases itself."""
    found, left = {other}, [other]
    while left:
        more = {inside.entry for inside in _leasing(left.pop())} - found
        found |= more
        left += more
    return entry in found
