"""Leases: who holds what."""

from __future__ import annotations

from collections.abc import Collection, Hashable

from .records import Entry, Lease


class Leases:
    """The leases by owner. Kept only where capacity is limited: elsewhere nobody can wait for a holder to let go."""

    def __init__(self) -> None:
        self._held: dict[Hashable, dict[Lease, None]] = {}

    def of(self, owner: Hashable) -> Collection[Lease]:
        """What the owner holds, and certainly nobody else by now."""
        return [lease for lease in self._held.get(owner, ()) if not is_passed_on(lease)]

    def holds(self, owner: Hashable, entry: Entry) -> bool:
        """Whether the owner has a lease on the entry."""
        return any(lease.entry is entry for lease in self.of(owner))

    def add(self, lease: Lease) -> None:
        """The lease's owner holds it from now on."""
        self._held.setdefault(lease.owner, {})[lease] = None

    def remove(self, lease: Lease) -> None:
        """The lease's owner no longer holds it, if it did."""
        held = self._held.get(lease.owner)
        if held is not None:
            held.pop(lease, None)
            if not held:
                del self._held[lease.owner]


def is_passed_on(lease: Lease) -> bool:
    """Whether somebody else than the lease's owner may be the one who holds it by now."""
    return getattr(lease.owner, "is_passed_on", False)
