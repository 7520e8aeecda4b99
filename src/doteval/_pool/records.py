"""What the ledger's books are made of: wants, entries, leases, requests, claims; and the effects it asks for.

Plain records without behaviour; only the ledger and its parts change them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Phase(Enum):
    """Where an entry is in its life; an entry whose task has ended is no longer in the books."""

    OPENING = "opening"
    CHECKING = "checking"
    OPEN = "open"
    CLOSING = "closing"


class State(Enum):
    """Where a request is in its life."""

    QUEUED = "queued"
    ADMITTED = "admitted"
    GRANTED = "granted"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Want:
    """One key that a request asks for.

    Args:
        key: What identifies the resource.
        label: The resource id, for people.
        slots: How many slots it occupies while it is open, at least 1.
        payload: What the one who opens it needs to know; the ledger does not look inside.
    """

    key: Hashable
    label: str
    slots: int = 1
    payload: Any = None


class Entry:
    """One generation of one resource, from the decision to open it until its task has ended."""

    __slots__ = (
        "close_error",
        "crowd",
        "dependents",
        "evicted",
        "examined",
        "generation",
        "idle_since",
        "inside",
        "leases",
        "lives_until",
        "lost",
        "opened_before",
        "phase",
        "reason",
        "resource",
        "retiring",
        "slot_names",
        "want",
    )

    def __init__(self, want: Want, generation: int, slot_names: tuple[str, ...]) -> None:
        self.want = want
        self.generation = generation
        self.slot_names = slot_names
        self.phase = Phase.OPENING
        self.leases: dict[Lease, None] = {}
        self.idle_since = 0.0
        self.lives_until = math.inf
        self.examined = 0.0
        """When its health was last asked for while it was leased, or when it was opened."""
        self.reason = ""
        self.retiring = ""
        """Why it is leased to nobody new and closes after its last lease; empty where it does not."""
        self.opened_before = False
        self.lost = False
        self.evicted = False
        """Whether it closes because its slots are needed."""
        self.resource: Any = None
        """Whoever acts on the effects keeps the opened thing here."""
        self.crowd: Any = None
        """And here what all who have joined the opening listen to."""
        self.inside: Any = None
        """And here what stands for it as an owner of leases."""
        self.close_error: Exception | None = None
        """And here what its closing raised, for all who wait for that."""
        self.dependents: set[Any] = set()
        """While it closes: who leases it from inside and has to be gone before."""

    def __repr__(self) -> str:
        return f"<Entry {self.want.label!r} generation {self.generation} {self.phase.value} leases={len(self.leases)}>"


class Lease:
    """A pin on an entry, held by one owner; `ended` says why it no longer counts, or is empty while it does."""

    __slots__ = ("ended", "entry", "is_told", "owner", "request", "since", "trace")

    def __init__(self, entry: Entry, owner: Hashable, request: Request | None) -> None:
        self.entry = entry
        self.owner = owner
        self.request = request
        self.ended = ""
        self.since = 0.0
        """When it was granted, by the caller's clock."""
        self.is_told = False
        """Whether somebody was told of it, and is to be told of its end."""
        self.trace: Any = None
        """Whoever hands it out may keep here where it was set up."""


class Request:
    """One caller's wish for one or several keys, all or nothing."""

    __slots__ = (
        "admitted",
        "claim",
        "error",
        "failed_want",
        "leases",
        "listener",
        "opening",
        "owner",
        "state",
        "wants",
    )

    def __init__(self, wants: tuple[Want, ...], owner: Hashable) -> None:
        self.wants = wants
        self.owner = owner
        self.state = State.QUEUED
        self.leases: tuple[Lease, ...] = ()
        self.opening = 0
        self.admitted: float | None = None
        """When it was admitted or has left the queue, by the caller's clock; `None` where it has only ever queued."""
        self.error: BaseException | None = None
        self.failed_want: Want | None = None
        """The want that `error` is about, where it is about one."""
        self.claim: Claim | None = None
        self.listener: Any = None
        """Whoever acts on the effects keeps here whom to tell."""


class Claim:
    """A place in the queue: one key and all who wait for it, or one request for several keys."""

    __slots__ = ("requests", "wants")

    def __init__(self, wants: tuple[Want, ...]) -> None:
        self.wants = wants
        self.requests: dict[Request, None] = {}


@dataclass(slots=True)
class _OfEntry:
    entry: Entry


class Open(_OfEntry):
    """Start the task that opens the entry."""

    __slots__ = ()


class CancelOpening(_OfEntry):
    """Nobody waits for the opening any more: cancel it."""

    __slots__ = ()


class Check(_OfEntry):
    """Ask whether the idle entry is still healthy, then call `Ledger.checked`."""

    __slots__ = ()


class Rest(_OfEntry):
    """The entry has just become idle; only asked for where somebody wants to know."""

    __slots__ = ()


class CloseFirst(_OfEntry):
    """Close the entry's dependents, and call `Ledger.freed` for each that is gone."""

    __slots__ = ()


class Examine(_OfEntry):
    """Ask whether the entry is still healthy though it is leased, and call `Ledger.broken` where it is not."""

    __slots__ = ()


class Retired(_OfEntry):
    """The entry is leased to nobody new from now on, as it is old; for those who listen."""

    __slots__ = ()


class Released(_OfEntry):
    """A lease on the entry has ended without its holder's doing; for those who count."""

    __slots__ = ()


class Close(_OfEntry):
    """Tell the entry's task to close."""

    __slots__ = ()


@dataclass(slots=True)
class Settle:
    """The request is granted or has failed: wake the one who waits for it."""

    request: Request


EntryEffect = Open | CancelOpening | Check | Rest | Examine | Retired | Released | CloseFirst | Close
Effect = EntryEffect | Settle


@dataclass(slots=True)
class Counts:
    """What has happened since the ledger was made."""

    opens: int = 0
    closes: int = 0
    leases: int = 0
    reuses: int = 0
    open_failures: int = 0
    open_cancellations: int = 0
    losses: int = 0
    replica_losses: int = 0
    evictions: int = 0
    expirations: int = 0
    retirements: int = 0
    unhealthy: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """An opening that failed and is remembered until `expires`, in seconds of the caller's clock."""

    error: BaseException
    expires: float
