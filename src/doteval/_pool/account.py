"""The account of who holds what and who waits for what, for error messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping

from .entries import Entries
from .queue import Queue
from .records import Entry, Phase, Request


def account_of(entries: Entries, queue: Queue, *, with_slots: bool) -> list[str]:
    """Who holds what and who waits for what, a line each.

    Args:
        entries: What is open.
        queue: Who waits.
        with_slots: Whether to say how many slots each entry occupies.
    """
    waits = {request.owner: labels(request) for claim in queue for request in claim.requests}
    lines: list[str] = []
    for entry in entries:
        size = f"{_counted(entry.want.slots, 'slot')}, " if with_slots else ""
        lines.append(f"'{entry.want.label}': {size}{'idle' if entry in entries.idle else _state(entry, waits)}")
    if queue:
        lines.append(f"waiting: {_counted(queue.waiting, 'request')}")
    return lines


def labels(request: Request) -> str:
    """What the request asks for."""
    return ", ".join(repr(want.label) for want in request.wants)


def _state(entry: Entry, waits: Mapping[Hashable, str]) -> str:
    if not entry.leases or entry.phase is not Phase.OPEN:
        return entry.phase.value
    owners = Counter(
        f"{lease.owner} (waits for {waits[lease.owner]})" if lease.owner in waits else str(lease.owner)
        for lease in entry.leases
    )
    return "leased by " + ", ".join(f"{owner} x {count}" if count > 1 else owner for owner, count in owners.items())


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
