"""The queue: who waits, in order of arrival, and who may be admitted next.

Claims are served in order of arrival, and a claim that cannot be served holds up everything behind it that would need a
slot. While a claim *starves*, which is when it waits for somebody's release, newcomers queue even for a key that is
open, or a hot key would keep its slot for ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Sequence
from itertools import dropwhile

from .entries import Entries
from .records import Claim, Entry, Request, State


class Queue:
    """Claims in order of arrival; all requests for one and the same key stand in one claim and are served together."""

    def __init__(self) -> None:
        self._claims: OrderedDict[Claim, None] = OrderedDict()
        self._by_key: dict[Hashable, Claim] = {}  # the claims on a single key
        self.starving: Claim | None = None
        """The claim at which the last look at the queue ended, as it has to wait for a release."""

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims)

    def __contains__(self, claim: Claim) -> bool:
        return claim in self._claims

    def __bool__(self) -> bool:
        return bool(self._claims)

    @property
    def waiting(self) -> int:
        """How many requests stand in the queue."""
        return sum(len(claim.requests) for claim in self._claims)

    @property
    def starved(self) -> int:
        """How many of them wait for a release; before them are those for whom something closes already."""
        return sum(len(claim.requests) for claim in dropwhile(lambda claim: claim is not self.starving, self._claims))

    def add(self, request: Request, *, in_front: bool = False) -> None:
        """Let the request wait: with those who want the same, where it alone is wanted, and else behind everybody."""
        request.state = State.QUEUED
        alone = len(request.wants) == 1
        claim = self._by_key.get(request.wants[0].key) if alone else None
        if claim is None:
            claim = Claim(request.wants)
            self._claims[claim] = None
            if alone:
                self._by_key[request.wants[0].key] = claim
        if in_front:
            self._claims.move_to_end(claim, last=False)
        claim.requests[request] = None
        request.claim = claim

    def reorder(self, places: Sequence[int]) -> None:
        """Serve the claims in another order from now on: of their places now."""
        claims = list(self._claims)
        for place in places:
            self._claims.move_to_end(claims[place])

    def remove(self, request: Request) -> None:
        """The request no longer waits."""
        claim = request.claim
        assert claim is not None
        request.claim = None
        del claim.requests[request]
        if not claim.requests:
            self._drop(claim)

    def take(self, claim: Claim) -> Collection[Request]:
        """Take everybody who stands in the claim out of the queue."""
        self._drop(claim)
        for request in claim.requests:
            request.claim = None
        return claim.requests

    def take_all_for(self, key: Hashable) -> Collection[Request]:
        """Take everybody out of the queue who wants this key alone."""
        claim = self._by_key.get(key)
        return () if claim is None else self.take(claim)

    def _drop(self, claim: Claim) -> None:
        del self._claims[claim]
        if len(claim.wants) == 1:
            self._by_key.pop(claim.wants[0].key, None)


class Look:
    """One look along the queue, without changing anything.

    Args:
        queue: Who waits.
        entries: What is open.
        free_slots: How many slots are free; `None` where there is no limit.
        closing_slots: How many are occupied by what is closing.
    """

    def __init__(self, queue: Queue, entries: Entries, free_slots: int | None, closing_slots: int) -> None:
        self.admissible: list[Claim] = []
        """The claims that can be served at once, all of them, in order."""
        self.evictions: list[Entry] = []
        """What is idle and has to be closed, so that others can be served soon."""
        self._entries = entries
        self._limited = free_slots is not None
        self._free = free_slots or 0  # not promised to a claim that was passed
        self._coming = closing_slots  # will be free, and is not promised either
        self._promised: set[Hashable] = set()  # the keys of all claims that were passed and do not wait for others
        self._victims = iter(entries.idle)
        self._evicted: set[Hashable] = set()
        self.starving = next((claim for claim in queue if not self._passes(claim)), None)
        """The first claim that has to wait for a release, and holds up what is behind it."""

    def _passes(self, claim: Claim) -> bool:
        """Whether the look goes on behind the claim."""
        if any(self._entries.is_retiring(want.key) for want in claim.wants):
            return True  # waits for that to close, and holds up nobody
        absent = {want.key: want.slots for want in claim.wants if self._is_absent(want.key)}
        if not self._promised.isdisjoint(absent):
            return True  # joins the earlier claim as soon as that one opens the key
        self._promised.update(want.key for want in claim.wants)
        needed = sum(absent.values()) if self._limited else 0
        if not self._make_room(needed):
            return False
        if needed <= self._free and not any(key in self._entries for key in absent):
            self.admissible.append(claim)
        self._promise(needed)
        return True

    def _is_absent(self, key: Hashable) -> bool:
        return self._entries.is_absent(key) or key in self._evicted

    def _make_room(self, slots: int) -> bool:
        """Choose what is to be evicted until so many slots are free or will be; whether that is enough."""
        while slots > self._free + self._coming:
            victim = next((entry for entry in self._victims if entry.want.key not in self._promised), None)
            if victim is None:
                return False
            self.evictions.append(victim)
            self._evicted.add(victim.want.key)
            self._coming += victim.want.slots
        return True

    def _promise(self, slots: int) -> None:
        """Set so many slots aside: free ones first, then those that will be free."""
        self._coming -= max(0, slots - self._free)
        self._free = max(0, self._free - slots)
