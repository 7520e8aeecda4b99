"""The books: what is open or about to be, who holds and awaits what, and what has to be done next.

Single entries in them, and what can be read from them; `Ledger` knows when to make which.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence

from .account import account_of
from .entries import Entries
from .inside import dependents_of, inside_of
from .leases import Leases
from .queue import Queue
from .records import (
    CancelOpening,
    Close,
    CloseFirst,
    Counts,
    Effect,
    Entry,
    Failure,
    Lease,
    Open,
    Phase,
    Released,
    Request,
    Want,
)
from .waits import Waits, in_queue

_OPEN = Phase.OPEN  # a name of its own, as in `ledger`
_MOST_FAILURES = 1000  # that are remembered; each keeps what was alive when it was raised


class Books:
    """The books of one pool.

    Args:
        provider: The provider's name, for messages.
        capacity: How many slots there are, or their names; `None` for no limit.
        keep_alive: How long an idle entry stays open, in seconds; `None` for ever, 0 not at all.
        health_after: Ask for an entry's health when it was idle for at least this long, in seconds; `None` never.
        max_waiting: How many requests may wait for somebody's release; `None` for no limit.
        health_every: Ask for the health of what is leased whenever so many seconds have passed; `None` never.
        remember_failures: For how long a failed opening is answered from memory, in seconds.
        tells_idle: Ask for a `Rest` whenever an entry becomes idle.
    """

    def __init__(
        self,
        provider: str,
        *,
        capacity: int | Sequence[str] | None = None,
        keep_alive: float | None = None,
        health_after: float | None = None,
        max_waiting: int | None = None,
        health_every: float | None = None,
        remember_failures: float = 0.0,
        tells_idle: bool = False,
    ) -> None:
        self._provider = provider
        self._names = () if capacity is None or isinstance(capacity, int) else tuple(capacity)
        self._free_names = list(self._names)
        self.capacity: int | None = capacity if capacity is None or isinstance(capacity, int) else len(capacity)
        self.free_slots = self.capacity or 0
        self._closing_slots: int = 0  # occupied by entries that are closing
        self._keep_alive = keep_alive
        self.closes_at_once = keep_alive == 0
        """Whether the last release of an entry closes it."""
        self._health_after = health_after
        self._max_waiting = max_waiting
        self._health_every = health_every
        self._remember_failures = remember_failures
        self._tells_idle = tells_idle
        self._entries = Entries()
        self._leases = Leases()
        self._queue = Queue()
        self._failures: dict[Hashable, Failure] = {}
        self.effects: deque[Effect] = deque()
        """What has to be done now, in order; whoever does it takes one at a time, and all before it awaits."""
        self._shut = False
        self._draining = False
        self.active_leases: int = 0
        self.counts = Counts()
        self.waits = Waits()
        self.queue = self._queue

    # ---------------------------------------------------------------- reading

    @property
    def entries(self) -> Iterator[Entry]:
        """Every generation whose task has not ended."""
        return iter(self._entries)

    @property
    def waiting(self) -> int:
        """How many requests stand in the queue."""
        return self._queue.waiting

    @property
    def idle(self) -> int:
        """How many open entries have no lease."""
        return len(self._entries.idle)

    @property
    def keeps_for_a_while(self) -> bool:
        """Whether idle entries expire, so that somebody has to call `expire`."""
        return self._keep_alive is not None and self._keep_alive > 0

    @property
    def examines(self) -> bool:
        """Whether the health of what is leased is asked for, so that somebody has to call `examine`."""
        return self._health_every is not None

    def named(self, label: str) -> list[Entry]:
        """Every generation with this resource id."""
        return [entry for entry in self._entries if entry.want.label == label]

    def find(self, label: str) -> Entry | None:
        """The entry with this resource id, or `None`; of several generations the last."""
        return self._entries.find(label)

    def held_by(self, owner: Hashable) -> list[str]:
        """What the owner holds, for error messages; known only where capacity is limited."""
        return [repr(lease.entry.want.label) for lease in self._leases.held_by(owner) if lease.request is None]

    def has_room(self, want: Want) -> bool:
        """Whether it can be leased with nothing taken from those who lease or wait; idle entries may have to go."""
        if self._queue or self._shut or self._draining:
            return False
        if not self._entries.is_absent(want.key):
            return not self._entries.is_retiring(want.key)
        if self.capacity is None:
            return True
        return want.slots <= self.free_slots + sum(entry.want.slots for entry in self._entries.idle)

    def open_entry(self, key: Hashable) -> Entry | None:
        """What is open under the key, or `None`."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry.phase is _OPEN else None

    def is_open(self, key: Hashable) -> bool:
        """Whether something is open under the key; whether it can be leased now is another question."""
        entry = self._entries.get(key)
        return entry is not None and entry.phase is _OPEN

    def spent(self, request: Request, began: float, now: float) -> str:
        """Where a request that waits has spent its time, for error messages."""
        queue = in_queue(request, began, now)
        rest = now - began - queue
        parts = [f"{queue:.3g} s in the queue"] if queue > 0 else []
        doing = {lease.entry.phase.value: None for lease in request.leases if lease.entry.phase is not _OPEN}
        if doing or rest > 0:
            parts.append(f"{rest:.3g} s {' and '.join(doing) or 'opening'}")
        return "spent: " + ", ".join(parts)

    def account(self) -> list[str]:
        """Who holds what and who waits for what, a line each, for error messages."""
        return account_of(self._entries, self._queue, with_slots=self.capacity is not None)

    # ---------------------------------------------------------------- single entries

    def _take_slots(self, slots: int) -> tuple[str, ...]:
        """Occupy slots; return their names, where they have names."""
        if self.capacity is None:
            return ()
        self.free_slots -= slots
        names = tuple(self._free_names[:slots])
        del self._free_names[:slots]
        return names

    def _give_back_slots(self, entry: Entry) -> None:
        if self.capacity is not None:
            self.free_slots += entry.want.slots
            self._free_names.extend(name for name in entry.slot_names if name in self._names)

    def _is_stale(self, entry: Entry, now: float) -> bool:
        """Whether the entry was idle for so long that its health is to be asked for."""
        return (
            self._health_after is not None
            and entry in self._entries.idle
            and now - entry.idle_since >= self._health_after
        )

    def _pin(self, entry: Entry, owner: Hashable, request: Request | None) -> Lease:
        lease = Lease(entry, owner, request)
        if not entry.leases:
            self._entries.idle.pop(entry, None)
        entry.leases[lease] = None
        if self.capacity is not None:
            self._leases.add(lease)
        return lease

    def _remember(self, key: Hashable, failure: Failure, now: float) -> None:
        """Answer from memory for a while; what has expired is forgotten, and the oldest where there are too many."""
        failures = self._failures
        failures.pop(key, None)
        failures[key] = failure
        while len(failures) > _MOST_FAILURES or next(iter(failures.values())).expires <= now:
            del failures[next(iter(failures))]

    def _begin(self, want: Want) -> Entry:
        """Open the next generation."""
        entry = self._entries.add(want, self._take_slots(want.slots))
        self.effects.append(Open(entry))
        return entry

    def _end_leases(self, entry: Entry, reason: str, now: float) -> None:
        """End the leases on the entry, but for those of its dependents, which need it for their own closing."""
        for lease in list(entry.leases):
            if not entry.dependents or inside_of(lease.owner) not in entry.dependents:
                lease.ended = reason
                self.active_leases -= 1
                if self.capacity is not None:
                    self.waits.uses.add(now - lease.since)
                self._leases.remove(lease)
                del entry.leases[lease]
                self.effects.append(Released(entry))

    def _close(self, entry: Entry, reason: str) -> None:
        effect: Effect = CancelOpening(entry)
        if entry.phase is not Phase.OPENING:
            entry.dependents = dependents_of(entry)
            effect = CloseFirst(entry) if entry.dependents else Close(entry)
        self._set_closing(entry, reason)
        self.effects.append(effect)

    def _set_closing(self, entry: Entry, reason: str) -> None:
        entry.phase = Phase.CLOSING
        entry.reason = reason
        self._closing_slots += entry.want.slots
        self._entries.idle.pop(entry, None)
