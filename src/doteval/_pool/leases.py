"""Leases: who holds what.

A task that set something up holds it. A thread may have handed it to another one in the same moment: where it has not
entered it, it counts as who holds it only after a while in which nobody else has used it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Hashable
from contextlib import contextmanager

from .records import Entry, Lease


class Leases:
    """The leases by owner. Kept only where capacity is limited: elsewhere nobody can wait for a holder to let go.

    Most end before anybody asks who holds what, so they are found by owner only from then on.
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, dict[Lease, None]] = {}
        self.unsorted: dict[Lease, None] = {}
        """What was added since somebody last asked; what is taken out of here need not be removed."""
        self.add: Callable[[Lease], object] = self.unsorted.setdefault
        """The lease's owner holds it from now on. The dictionary's own method, which saves a call a lease."""
        self._is_after_a_while = False
        self.moves = 0
        """How often one has ended, or was entered, that was there when somebody asked who holds what."""

    def of(self, owner: Hashable) -> Collection[Lease]:
        """What the owner has set up or entered, and nobody else has entered since."""
        self._sort()
        return self._held.get(owner, ())

    def held_by(self, owner: Hashable) -> list[Lease]:
        """What of that the owner holds."""
        return [
            lease
            for lease in self.of(owner)
            if is_surely_held(lease) or (self._is_after_a_while and not is_passed_on(lease))
        ]

    @property
    def is_left_behind(self) -> bool:
        """Whether all have ended who hold something."""
        self._sort()
        return bool(self._held) and all(getattr(owner, "is_over", False) for owner in self._held)

    @contextmanager
    def after_a_while(self) -> Generator[None]:
        """What is not entered counts as held, too, unless somebody else has used it."""
        self._is_after_a_while = True
        try:
            yield
        finally:
            self._is_after_a_while = False

    def holds(self, owner: Hashable, entry: Entry) -> bool:
        """Whether the owner has a lease on the entry."""
        return any(lease.entry is entry for lease in self.of(owner))

    def remove(self, lease: Lease) -> None:
        """The lease's owner no longer holds it, if it did."""
        self.unsorted.pop(lease, None)
        held = self._held.get(lease.owner)
        if held is not None and lease in held:
            del held[lease]
            self.moves += 1
            if not held:
                del self._held[lease.owner]

    def _sort(self) -> None:
        for lease in list(self.unsorted):
            self._held.setdefault(lease.owner, {})[lease] = None
            del self.unsorted[lease]


def is_surely_held(lease: Lease) -> bool:
    """Whether its owner certainly is the one who holds it."""
    return getattr(lease.owner, "is_sure", True)


def is_passed_on(lease: Lease) -> bool:
    """Whether somebody else than its owner seems to be the one who holds it by now."""
    return getattr(lease.owner, "is_passed_on", False)
