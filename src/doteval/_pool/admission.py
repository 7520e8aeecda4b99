"""Admission: who is served next, who waits for whom, and what is undone where it does not come to anything."""

from __future__ import annotations

from collections.abc import Collection, Hashable

from .._errors import CapacityDeadlockError, CapacityExceededError
from .account import labels
from .books import Books
from .deadlock import is_deadlocked, order_of_service
from .holding import held_by, waiters
from .queue import Look
from .records import Check, Claim, Entry, Lease, Phase, Request, Rest, Settle, State, Want

# Names of their own: a member of an Enum takes longer to look up than all that a warm lease does with it.
_OPENING, _OPEN, _CLOSING = Phase.OPENING, Phase.OPEN, Phase.CLOSING


class Admission(Books):
    """The books of one pool, and how requests get through them; is made as `Books` is."""

    # ---------------------------------------------------------------- who fits

    def _check_fits(self, wants: tuple[Want, ...]) -> None:
        needed = sum({want.key: want.slots for want in wants}.values())
        if self.capacity is not None and needed > self.capacity:
            raise CapacityExceededError([want.label for want in wants], needed, self.capacity)

    def _remembered(self, wants: tuple[Want, ...], now: float) -> tuple[BaseException, Want] | None:
        """Why the opening of one of `wants` failed a short time ago, and which; `None` where none did."""
        for want in wants:
            failure = self._failures.get(want.key)
            if failure is not None and now < failure.expires:
                return failure.error, want
        return None

    def _can_admit_now(self, request: Request) -> bool:
        """Whether there is nothing to wait for, but what is being opened or checked already or can be opened now."""
        entries = [self._entries.get(want.key) for want in request.wants]
        if all(entry is not None and self._is_joinable(entry, request.owner) for entry in entries):
            return not self._queue.starving or not any(entry and entry.phase is Phase.OPEN for entry in entries)
        return self.capacity is None and not self._queue and not any(entries)

    def _there(self, want: Want, owner: Hashable) -> Entry | None:
        """What is under the key, or where nothing is any more or yet, an older generation that the owner holds."""
        entry = self._entries.get(want.key)
        if entry is None or entry.phase is _CLOSING:
            for lease in self._leases.of(owner):
                if lease.entry.want.key == want.key and lease.entry.phase is not _CLOSING:
                    return lease.entry
        return entry

    def _is_joinable(self, entry: Entry, owner: Hashable) -> bool:
        """Whether the owner may be given one more lease on the entry."""
        return entry.phase is not Phase.CLOSING and (not entry.retiring or self._leases.holds(owner, entry))

    # ------------------------------------------------------------- admission

    def _serve(self, now: float) -> None:
        """Serve the queue in order, as far as the slots go, evicting what is idle."""
        while admissible := self._look_at_queue():
            for claim in admissible:
                if claim in self._queue:  # else it was served together with an earlier one
                    for request in self._queue.take(claim):
                        self._admit(request, now)

    def _look_at_queue(self) -> list[Claim]:
        """The claims that can be served at once; evicts for those that can be served soon."""
        if not self._queue:
            self._queue.starving = None
            return []
        free = None if self.capacity is None else self.free_slots
        look = Look(self._queue, self._entries, free, self._closing_slots)
        self._queue.starving = look.starving
        for entry in look.evictions:
            self.counts.evictions += 1
            entry.evicted = True
            self._close(entry, "evicted: its slots are needed")
        return look.admissible

    def _admit(self, request: Request, now: float, *, in_turn: bool = True) -> None:
        """Pin every key of the request; open what is not open. There are slots for all of it, or it costs none."""
        request.state = State.ADMITTED
        request.admitted = now
        request.leases = ()
        request.opening = 0
        leases: list[Lease] = []
        reused = True
        for want in request.wants:
            there = self._entries.get(want.key) if in_turn else self._there(want, request.owner)
            entry = there or self._open(want, now)
            if entry.phase is Phase.OPEN and self._is_stale(entry, now):
                entry.phase = Phase.CHECKING
                self.effects.append(Check(entry))
            leases.append(self._pin(entry, request.owner, request))
            if entry.phase is not Phase.OPEN:
                request.opening += 1
                reused = reused and entry.phase is not Phase.OPENING
        request.leases = tuple(leases)
        if reused:
            self.counts.reuses += len(leases)
        if not request.opening:
            self._grant(request, now)

    def _open(self, want: Want, now: float) -> Entry:
        self._failures.pop(want.key, None)
        entry = self._begin(want)
        for request in self._queue.take_all_for(want.key):
            self._admit(request, now)
        return entry

    def _requeue(self, entry: Entry, now: float) -> None:
        """The entry is about to go: who was admitted but not granted yet goes back to the front of the queue."""
        for request in reversed(self._pending(entry)):
            self._retract(request, entry, now)
            request.admitted = None
            self._queue.add(request, in_front=True)
            if self._fails_to_fit(request):
                continue
            if self._closes_a_cycle(request.owner) and not self._can_reorder():
                self._queue.remove(request)
                self._fail_as_deadlocked(request)

    def _retract(self, request: Request, leaving: Entry | None, now: float) -> None:
        """Undo an admission. The entry `leaving` is about to go and is not made idle or closed on the way."""
        request.state = State.QUEUED
        for lease in request.leases:
            if lease.entry is leaving:
                lease.ended = "its resource went away"
                lease.entry.leases.pop(lease, None)
                self._leases.remove(lease)
            else:
                self._unpin(lease, now)
        request.leases = ()

    def _unpin(self, lease: Lease, now: float) -> None:
        """Take a lease off its entry; the last one makes it idle, closes it, or calls its opening off."""
        # In one piece: each call that a warm lease makes more costs some 350 instructions of its 19,000, or 2 %.
        entry = lease.entry
        lease.ended = lease.ended or "its setup did not complete"
        entry.leases.pop(lease, None)
        if self.capacity is not None and self._leases.unsorted.pop(lease, lease) is not None:
            self._leases.remove(lease)
        phase = entry.phase
        if entry.leases or phase is _CLOSING:
            return
        if phase is _OPENING:
            self._close(entry, "nobody waits for it any more")
        elif self.closes_at_once or entry.retiring or (self.free_slots < 0 and self._is_too_much()):
            self._close(entry, entry.retiring or "released")
        else:
            if phase is _OPEN:
                entry.idle_since = now
            self._entries.idle[entry] = None
            entry.phase = _OPEN
            if self._tells_idle:
                self.effects.append(Rest(entry))
        if self._queue.starving:
            self._serve(now)

    def _grant(self, request: Request, now: float) -> None:
        request.state = State.GRANTED
        for lease in request.leases:
            lease.since = now
            self.active_leases += 1
            self.counts.leases += 1
            lease.request = None
        self.effects.append(Settle(request))

    def _fail(self, request: Request, error: BaseException, want: Want | None = None) -> None:
        request.state = State.FAILED
        request.error = error
        request.failed_want = want
        self.effects.append(Settle(request))

    def _fail_pending(self, entry: Entry, error: BaseException, now: float) -> None:
        """Nobody gets what the entry would have opened."""
        for request in self._pending(entry):
            self._retract(request, entry, now)
            self._fail(request, error, entry.want)

    def refuse(self, entry: Entry, owners: Collection[Hashable], error: BaseException, now: float) -> None:
        """Some who wait for the opening of the entry do not get it; for the others it goes on."""
        for request in self._pending(entry):
            if request.owner in owners:
                self._retract(request, None, now)
                self._fail(request, error)

    def _pending(self, entry: Entry) -> list[Request]:
        """The requests that are admitted to the entry but not granted yet, oldest first."""
        requests = {lease.request: None for lease in entry.leases if lease.request is not None}
        return list(requests)

    def _fails_to_fit(self, request: Request) -> bool:
        """Tell who waits that there are not so many slots any more, where that is so."""
        try:
            self._check_fits(request.wants)
        except CapacityExceededError as exc:
            self._queue.remove(request)
            self._fail(request, exc)
            return True
        return False

    def _is_too_much(self) -> bool:
        """Whether more slots are occupied than there are, and will be when all has closed that is closing."""
        return self.free_slots + self._closing_slots < 0

    def _is_full(self) -> bool:
        """Whether more requests wait than may; for what is closing, which makes room by itself, any number may."""
        return self._max_waiting is not None and self._queue.starved > self._max_waiting

    # ------------------------------------------------------------- deadlock

    def _closes_a_cycle(self, owner: Hashable) -> bool:
        """Whether the queue could no longer be served, now that `owner` waits in it.

        Only who holds something can close a cycle.
        """
        return self._holds_something(owner) and self._is_deadlocked()

    def _holds_something(self, owner: Hashable) -> bool:
        return any(True for _ in held_by(owner, self._leases))

    def _is_deadlocked(self) -> bool:
        return self.capacity is not None and is_deadlocked(
            waiters(self._queue, self._leases, self._entries), self.capacity
        )

    def _untangle(self, now: float, *, may_fail: bool = True) -> bool:
        """Something was set aside, or slots are gone: nobody in the queue is to wait for itself.

        Args:
            now: The time.
            may_fail: Whether who would wait for itself is told so.

        Returns:
            Whether somebody still would.
        """
        while self._is_deadlocked() and not self._can_reorder():
            waiting = [request for request in self._requests() if self._holds_something(request.owner)]
            costless = next((request for request in waiting if not self._takes_slots(request)), None)
            if costless is None and not may_fail:
                return True
            self._queue.remove(costless or waiting[-1])
            if costless is None:
                self._fail_as_deadlocked(waiting[-1])
            else:
                self._admit(costless, now, in_turn=False)
        return False

    def _takes_slots(self, request: Request) -> bool:
        """Whether it would wait for slots, were it served out of turn."""
        there = [self._there(want, request.owner) for want in request.wants]
        return any(entry is None or entry.phase is _CLOSING for entry in there)

    def _requests(self) -> list[Request]:
        """Who waits in the queue, in order."""
        return [request for claim in self._queue for request in claim.requests]

    def _can_reorder(self) -> bool:
        """Put the queue in an order in which all who wait can be served; whether there is one."""
        assert self.capacity is not None
        order = order_of_service(waiters(self._queue, self._leases, self._entries), self.capacity)
        if order is not None:
            self._queue.reorder(order)
        return order is not None

    def _fail_as_deadlocked(self, request: Request) -> None:
        account = [*self.account(), f"{request.owner} asks for {labels(request)}"]
        self._fail(request, CapacityDeadlockError([want.label for want in request.wants], account))

    def _make_available(self, entry: Entry, now: float) -> None:
        entry.phase = Phase.OPEN
        for lease in list(entry.leases):
            request = lease.request
            if request is not None:
                request.opening -= 1
                if not request.opening:
                    self._grant(request, now)
