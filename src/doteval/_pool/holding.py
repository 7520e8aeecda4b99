"""Who in the queue holds what, as far as the question goes whether they would wait for each other for ever."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from .deadlock import Held, Waiter
from .entries import Entries
from .inside import inside_of
from .leases import Leases
from .queue import Queue
from .records import Entry, Phase


def waiters(queue: Queue, leases: Leases, entries: Entries) -> list[Waiter]:
    """The places in the queue, in order, with what those who wait there hold."""
    return [
        Waiter(
            wants={want.key: want.slots for want in claim.wants},
            holds=[
                Held(entry, entry.want.slots)  # under its key there is another one, or will be
                if entries.is_older(entry)
                else Held(entry.want.key, entry.want.slots, bool(entry.retiring))
                for request in claim.requests
                for entry in held_by(request.owner, leases)
            ],
        )
        for claim in queue
    ]


def held_by(owner: Hashable, leases: Leases) -> Iterator[Entry]:
    """What nobody else gets before the owner goes on, once for each reason.

    That is what it holds; and where it is a resource that is being opened, what those hold who wait for it, which is
    that one and all else that they lease.
    """
    seen: set[Hashable] = set()
    left = [owner]
    while left:
        owner = left.pop()
        if owner in seen:
            continue
        seen.add(owner)
        yield from (lease.entry for lease in leases.held_by(owner))
        inside = inside_of(owner)
        if inside is not None and inside.entry.phase is Phase.OPENING:
            left += [lease.owner for lease in inside.entry.leases if lease.request is not None]
