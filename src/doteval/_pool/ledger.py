"""The ledger: who holds what, who waits, and what is to be opened or closed next.

Pure and synchronous. Every method takes what has happened, changes the books in one go, and leaves *effects* behind:
what somebody else now has to do (open, close, check, tell). Nobody reads the books, awaits, and then writes them.

Words: an `Entry` is one generation of one resource. A `Request` is one caller's wish to lease one or several keys, all
or nothing. A `Claim` is a place in the queue: all requests for the same key stand in one place and are served together.
A `Lease` is a request's pin on an entry; from the moment it is admitted, nothing can be evicted from under it.

The order of service, in three sentences. Claims are served in order of arrival, and a claim that cannot be served holds
up everything behind it that would need a slot. While a claim starves, newcomers queue even for a key that is open, or a
hot key would keep its slot for ever. A task whose own leases are what the queue waits for is served before those who
wait for them, where the queue can be served in such an order, and otherwise told that it waits for itself.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

from .._errors import ModelSetupError, ProviderClosedError, QueueFullError
from .admission import Admission
from .inside import Inside, inside_of
from .records import (
    Close,
    Entry,
    Examine,
    Failure,
    Lease,
    Phase,
    Released,
    Request,
    Retired,
    State,
    Want,
)
from .waits import SHORT

# Names of their own: a member of an Enum takes longer to look up than all that a warm lease does with it.
_OPENING, _OPEN, _CLOSING = Phase.OPENING, Phase.OPEN, Phase.CLOSING


class Ledger(Admission):
    """The books of one pool, and what has to be written in them when something happens; is made as `Books` is."""

    # ---------------------------------------------------------------- leasing

    def lease_now(self, key: Hashable, owner: Hashable, now: float) -> Lease | None:
        """Lease an open resource without a request, or return `None` where that takes more than a look."""
        entry = self._entries.get(key)
        if (
            entry is None
            or entry.phase is not _OPEN
            or entry.retiring
            or self._queue.starving
            or self._draining
            or (self._health_after is not None and self._is_stale(entry, now))
        ):
            return None
        lease = self._pin(entry, owner, None)
        lease.since = now
        counts = self.counts
        counts.reuses += 1
        counts.leases += 1
        self.active_leases += 1
        return lease

    def join(self, key: Hashable, owner: Hashable, now: float) -> Request | None:
        """Ask for what is being opened already, or return `None` where nothing is; comes to the same as `ask`."""
        entry = self._entries.get(key)
        if entry is None or entry.phase is not _OPENING or entry.retiring or self._draining:
            return None
        if self._queue and self._leases.of(owner):
            return None
        request = Request((entry.want,), owner)
        request.state = State.ADMITTED
        request.admitted = now
        request.opening = 1
        request.leases = (self._pin(entry, owner, request),)
        return request

    def ask(self, wants: tuple[Want, ...], owner: Hashable, now: float) -> Request:
        """Ask for leases on all of `wants`.

        The request comes back granted, failed, or undecided; of an undecided one a `Settle` effect tells later.

        Raises:
            CapacityExceededError: More slots are needed at once than there are.
        """
        self._check_fits(wants)
        request = Request(wants, owner)
        if self._shut:
            self._fail(request, ProviderClosedError(self._provider))
        elif self._draining and inside_of(owner) is None:
            self._fail(request, ProviderClosedError(self._provider, is_draining=True))
        elif remembered := self._remembered(wants, now):
            self._fail(request, *remembered)
        elif self._can_admit_now(request):
            self._admit(request, now)
            if (
                self._queue
                and request.state is State.ADMITTED
                and self._closes_a_cycle(owner)
                and not self._can_reorder()
            ):
                self._retract(request, None, now)  # what is being opened waits for what the owner holds
                self._fail_as_deadlocked(request)
        else:
            self._queue_up(request, now)
        return request

    def _queue_up(self, request: Request, now: float) -> None:
        """Let the request wait, out of turn where others could else never be served, or fail it."""
        self._queue.add(request)
        if not self._closes_a_cycle(request.owner):
            if not self._queue.starving:
                self._serve(now)
        elif not self._takes_slots(request):
            self._queue.remove(request)
            self._admit(request, now, in_turn=False)
        elif self._can_reorder():
            self._serve(now)
        else:
            self._queue.remove(request)
            self._fail_as_deadlocked(request)
        if request.state is State.QUEUED and self._is_full():
            self._queue.remove(request)
            assert self._max_waiting is not None
            labels = [want.label for want in request.wants]
            self._fail(request, QueueFullError(labels, self._max_waiting, self.account()))
            self._serve(now)  # it is no reason for anybody to wait any more

    def adopt(self, lease: Lease, owner: Hashable) -> None:
        """Another task is responsible for the lease from now on."""
        if not lease.ended:
            self._leases.remove(lease)
            lease.owner = owner
            if self.capacity is not None:
                self._leases.add(lease)

    @property
    def moves(self) -> int:
        """Changes whenever somebody may no longer hold what counted as held when a request failed as a deadlock."""
        return self._leases.moves

    def abandon(self, request: Request, now: float) -> None:
        """The caller no longer wants what it asked for, granted or not."""
        if request.state is State.QUEUED:
            self._queue.remove(request)
            request.state = State.ABANDONED
            request.admitted = now
            self._serve(now)
        elif request.state in (State.ADMITTED, State.GRANTED):
            granted = request.state is State.GRANTED
            request.state = State.ABANDONED
            for lease in request.leases:
                if granted:
                    if not lease.ended:
                        self.effects.append(Released(lease.entry))
                    self.release(lease, "its setup was cancelled", now)
                else:
                    self._unpin(lease, now)

    def release(self, lease: Lease, reason: str, now: float) -> None:
        """End an active lease. One that has ended before, with its generation or by itself, changes nothing."""
        if lease.ended:
            return
        lease.ended = reason
        self.active_leases -= 1
        if self.capacity is not None:
            seconds, uses = now - lease.since, self.waits.uses
            if seconds <= SHORT:  # as `add`, without the call
                uses.short += 1
                uses.seconds += seconds
            else:
                uses.add(seconds)
        self._unpin(lease, now)

    # ------------------------------------------------------- what tasks report

    def opened(self, entry: Entry, now: float = 0.0, lives_for: float = math.inf) -> None:
        """The entry's task has opened it; who asks after `lives_for` seconds gets the next generation."""
        self.counts.opens += 1
        entry.opened_before = True
        entry.examined = now
        entry.lives_until = now + lives_for
        if entry.phase is not Phase.OPENING:
            return  # it was called off while the last step of the opening ran; its task closes it
        self._make_available(entry, now)

    def checked(self, entry: Entry, healthy: bool, now: float) -> None:
        """The entry's health is known."""
        if entry.phase is not Phase.CHECKING:
            return
        if healthy:
            self._make_available(entry, now)
        else:
            self.counts.unhealthy += 1
            self._close(entry, "unhealthy")
            self._requeue(entry, now)
            self._serve(now)

    def losing(self, entry: Entry, reason: str, now: float) -> None:
        """The entry broke by itself: its leases end, its slots stay taken until its task has ended."""
        if entry.phase is Phase.CLOSING and not entry.dependents:
            return
        self.counts.losses += 1
        entry.lost = True
        if entry.phase is Phase.CLOSING:
            entry.dependents = set()  # they need not be waited for
        else:
            self._set_closing(entry, reason)
            self._requeue(entry, now)
        self._end_leases(entry, "its resource was lost", now)
        self._serve(now)

    def freed(self, entry: Entry, dependent: Inside, now: float) -> None:
        """One of those that lease the entry from inside is gone; after the last one, the entry closes."""
        if dependent in entry.dependents:
            entry.dependents.remove(dependent)
            if not entry.dependents:
                self._end_leases(entry, entry.reason, now)
                self.effects.append(Close(entry))

    def broken(self, entry: Entry, reason: str, now: float) -> None:
        """Somebody has found out that the entry is of no use to anybody any more; its task does not know."""
        if entry.phase is not Phase.CLOSING:
            self.effects.append(Close(entry))
            self.losing(entry, reason, now)

    def ended(self, entry: Entry, error: BaseException | None, now: float) -> None:
        """The entry's task is over; `error` says why it could not be opened, where it could not."""
        self._entries.remove(entry)
        if entry.dependents:  # an interrupt has ended it before
            entry.dependents = set()
            self._end_leases(entry, entry.reason, now)
        if entry.phase is Phase.CLOSING:
            self._closing_slots -= entry.want.slots
        self._give_back_slots(entry)
        self._count_end(entry, error, now)
        if entry.phase is Phase.OPENING:
            if error is None:
                error = ModelSetupError(entry.want.label, "the opening ended without a result")
            self._fail_pending(entry, error, now)
        self._serve(now)

    def _count_end(self, entry: Entry, error: BaseException | None, now: float) -> None:
        if entry.opened_before:
            self.counts.closes += 1
        elif error is not None and entry.phase is Phase.OPENING:
            self.counts.open_failures += 1
            if self._remember_failures > 0:
                self._remember(entry.want.key, Failure(error, now + self._remember_failures), now)
        else:
            self.counts.open_cancellations += 1

    # ------------------------------------------------------------- housekeeping

    def close(self, entry: Entry, reason: str, now: float) -> None:
        """Close the entry now, whoever holds it; requests that wait for its opening fail."""
        if entry.phase is Phase.CLOSING:
            return
        opening = entry.phase is Phase.OPENING
        self._close(entry, reason)
        if opening:
            problem = f"{reason} while it was opened"
            self._fail_pending(entry, ModelSetupError(entry.want.label, problem, "Call setup() again."), now)
        else:
            self._requeue(entry, now)
            self._end_leases(entry, reason, now)
        self._serve(now)

    def retire(self, entry: Entry, reason: str, now: float) -> None:
        """Lease the entry to nobody new and close it after its last lease; an idle one now.

        Whoever asks for it meanwhile waits for the next generation, unless it holds a lease on the entry already. That
        is known only where capacity is limited. Nothing changes where those who hold it would wait for themselves.
        """
        assert self.capacity is not None
        if entry.phase is Phase.CLOSING or entry.retiring:
            return
        entry.retiring = reason
        if entry.leases and self._is_deadlocked():
            entry.retiring = ""
            return
        self.counts.retirements += 1
        if not entry.leases:
            self._close(entry, reason)
            self._serve(now)

    def resume(self, entry: Entry, now: float) -> None:
        """The entry need not retire after all: who waited for the next generation is served by this one."""
        if entry.retiring and entry.phase is not Phase.CLOSING:
            entry.retiring = ""
            self._serve(now)

    def expire(self, now: float) -> float | None:
        """Close what has been idle for `keep_alive` seconds; return when to look again, or `None` for not at all."""
        if self._keep_alive is None:
            return None
        while self._entries.idle:
            entry = next(iter(self._entries.idle))
            if now < entry.idle_since + self._keep_alive:
                return entry.idle_since + self._keep_alive
            self.counts.expirations += 1
            self._close(entry, "idle for keep_alive")
        return None

    def age(self, now: float) -> float | None:
        """Retire what is old, with those who lease it; return when to look again, or `None` for not at all.

        Who asks from now on need not wait for them, and gets the next generation at once, where there are slots. Who
        leases an old one, and would wait for itself, is given another lease on it.
        """
        for entry in self._current():
            if now >= entry.lives_until:
                self.counts.retirements += 1
                self._outlive(entry, "it has reached max_lifetime")
                self._untangle(now)
        self._serve(now)
        return _earliest(entry.lives_until for entry in self._current())

    def look_again(self, now: float, *, is_certain: bool) -> list[str]:
        """Somebody has waited for a while, so what is not entered counts as held: is anybody to wait for itself?

        Args:
            now: The time.
            is_certain: Whether nobody is there who could give it back. Else nobody is told that it waits for ever.

        Returns:
            Who waits for whom, where all who wait might do so for ever.
        """
        with self._leases.after_a_while():
            is_left = self._untangle(now, may_fail=is_certain)
            account = self.account() if is_left else []
        self._serve(now)
        return account

    def left_behind(self) -> list[str]:
        """Who holds what, where all of them have ended."""
        return self.account() if self._leases.is_left_behind else []

    def asking(self) -> list[Hashable]:
        """Who waits in the queue."""
        return [request.owner for request in self._requests()]

    def held_after_a_while(self, owner: Hashable) -> list[str]:
        """What the owner holds, as in `look_again`; for error messages."""
        with self._leases.after_a_while():
            return self.held_by(owner)

    def _outlive(self, entry: Entry, reason: str) -> None:
        """Lease the entry to nobody new, and let the next generation be opened while this one is still leased."""
        if entry.leases:
            entry.retiring = reason
            self._entries.set_aside(entry)
            self.effects.append(Retired(entry))
        else:
            self._close(entry, reason)

    def examine(self, now: float) -> float | None:
        """Ask for the health of what is leased; return when to look again, or `None` for not at all."""
        if self._health_every is None:
            return None
        for entry in self._living():
            if now >= entry.examined + self._health_every:
                entry.examined = now
                if entry.leases and entry.phase is _OPEN:
                    self.effects.append(Examine(entry))
        return _earliest(entry.examined + self._health_every for entry in self._living())

    def _living(self) -> list[Entry]:
        return [entry for entry in self._entries if entry.phase in (Phase.OPEN, Phase.CHECKING)]

    def _current(self) -> list[Entry]:
        return [entry for entry in self._living() if not entry.retiring]

    def drain(self) -> None:
        """Grant no more leases but to those who wait already, and to what is being opened for them."""
        self._draining = True

    @property
    def is_drained(self) -> bool:
        """Whether nobody leases or awaits anything any more, but resources each other."""
        held = (lease for entry in self._entries for lease in entry.leases)
        return not self._queue and all(inside_of(lease.owner) is not None for lease in held)

    def resize(self, capacity: int | Sequence[str], now: float) -> None:
        """Have so many slots from now on, or these. What is leased stays, and idle entries go where there are too few.

        Where slots with names are gone, so is what is idle there, and newcomers get the next generation elsewhere. Who
        waits for more than there are any more, or would now wait for ever, is told.
        """
        assert self.capacity is not None
        used = self.capacity - self.free_slots
        self.capacity = capacity if isinstance(capacity, int) else len(capacity)
        self.free_slots = self.capacity - used
        if not isinstance(capacity, int):
            taken = {name for entry in self._entries for name in entry.slot_names}
            self._names = tuple(capacity)
            self._free_names = [name for name in capacity if name not in taken]
            for entry in [entry for entry in self._entries if not self._names_all(entry)]:
                if entry.phase is not Phase.CLOSING and not self._entries.is_older(entry):
                    self._outlive(entry, "its slots are gone")
        while self._entries.idle and self._is_too_much():
            self.counts.evictions += 1
            self._close(next(iter(self._entries.idle)), "evicted: there are fewer slots")
        for request in self._requests():
            self._fails_to_fit(request)
        self._untangle(now)
        self._serve(now)

    def _names_all(self, entry: Entry) -> bool:
        return set(self._names).issuperset(entry.slot_names)

    def shut(self, now: float) -> None:
        """The provider closes: nobody is served any more, everything is closed."""
        self._shut = True
        for claim in list(self._queue):
            for request in self._queue.take(claim):
                self._fail(request, ProviderClosedError(self._provider))
        for entry in list(self._entries):
            for request in self._pending(entry):
                self._retract(request, None, now)
                self._fail(request, ProviderClosedError(self._provider))
            if entry.phase is not Phase.CLOSING:
                self._close(entry, "provider closed")
                self._end_leases(entry, "the provider was closed", now)


def _earliest(times: Iterable[float]) -> float | None:
    earliest = min(times, default=math.inf)
    return None if earliest == math.inf else earliest
