"""The ledger: who holds what, who waits, and what is to be opened or closed next.

Pure and synchronous. Every method takes what has happened, changes the books in one go, and leaves *effects* behind:
what somebody else now has to do (open, close, check, tell). Nobody reads the books, awaits, and then writes them.

Words: an `Entry` is one generation of one resource. A `Request` is one caller's wish to lease one or several keys, all
or nothing. A `Claim` is a place in the queue: all requests for the same key stand in one place and are served together.
A `Lease` is a request's pin on an entry; from the moment it is admitted, nothing can be evicted from under it.

The order of service, in three sentences. Claims are served in order of arrival, and a claim that cannot be served holds
up everything behind it that would need a slot. While a claim starves, newcomers queue even for a key that is open, or a
hot key would keep its slot for ever. A task whose own leases are what the queue waits for is served out of turn where
that costs no slot, and otherwise told that it waits for itself.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator, Sequence

from .._errors import CapacityDeadlockError, CapacityExceededError, ModelSetupError, ProviderClosedError
from .records import (
    CancelOpening,
    Check,
    Claim,
    Close,
    Counts,
    Effect,
    Entry,
    Failure,
    Lease,
    Open,
    Phase,
    Request,
    Rest,
    Settle,
    State,
    Want,
)

# Names of their own: a member of an Enum takes longer to look up than all that a warm lease does with it.
_OPENING, _OPEN, _CLOSING = Phase.OPENING, Phase.OPEN, Phase.CLOSING


class Ledger:
    """The books of one pool.

    Args:
        provider: The provider's name, for messages.
        capacity: How many slots there are, or their names; `None` for no limit.
        keep_alive: How long an idle entry stays open, in seconds; `None` for ever, 0 not at all.
        health_after: Ask for an entry's health when it was idle for at least this long, in seconds; `None` never.
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
        remember_failures: float = 0.0,
        tells_idle: bool = False,
    ) -> None:
        self._provider = provider
        self._free_names = None if capacity is None or isinstance(capacity, int) else list(capacity)
        self.capacity = capacity if capacity is None or isinstance(capacity, int) else len(capacity)
        self.free_slots = self.capacity or 0
        self._closing_slots = 0  # occupied by entries that are closing
        self._keep_alive = keep_alive
        self.closes_at_once = keep_alive == 0
        """Whether the last release of an entry closes it."""
        self._health_after = health_after
        self._remember_failures = remember_failures
        self._tells_idle = tells_idle
        self._entries: dict[Hashable, Entry] = {}
        self._generation = 0  # one count for all keys: a count a key would remember every key for ever
        self._idle: dict[Entry, None] = {}  # in the order in which they became idle: least recently used first
        self._queue: OrderedDict[Claim, None] = OrderedDict()
        self._claims: dict[Hashable, Claim] = {}  # the claims on a single key
        self._starving = False  # the last look at the queue ended at a claim that has to wait for a release
        self._held: dict[Hashable, dict[Lease, None]] = {}  # owner -> leases; kept only where capacity is limited
        self._failures: dict[Hashable, Failure] = {}
        self.effects: list[Effect] = []
        """What has to be done now, in order."""
        self._shut = False
        self.active_leases = 0
        self.counts = Counts()

    # ---------------------------------------------------------------- reading

    @property
    def entries(self) -> Iterator[Entry]:
        """Every generation whose task has not ended."""
        return iter(self._entries.values())

    @property
    def waiting(self) -> int:
        """How many requests stand in the queue."""
        return sum(len(claim.requests) for claim in self._queue)

    @property
    def idle(self) -> int:
        """How many open entries have no lease."""
        return len(self._idle)

    @property
    def keeps_for_a_while(self) -> bool:
        """Whether idle entries expire, so that somebody has to call `expire`."""
        return self._keep_alive is not None and self._keep_alive > 0

    def find(self, label: str) -> Entry | None:
        """The entry with this resource id, or `None`."""
        return next((entry for entry in self._entries.values() if entry.want.label == label), None)

    def has_room(self, want: Want) -> bool:
        """Whether it can be leased with nothing taken from those who lease or wait; idle entries may have to go."""
        if self._queue or self._shut:
            return False
        if not self._is_absent(want.key):
            return not self._is_retiring(want.key)
        if self.capacity is None:
            return True
        return want.slots <= self.free_slots + sum(entry.want.slots for entry in self._idle)

    def is_open(self, key: Hashable) -> bool:
        """Whether something is open under the key; whether it can be leased now is another question."""
        entry = self._entries.get(key)
        return entry is not None and entry.phase is _OPEN

    def account(self) -> list[str]:
        """Who holds what and who waits for what, a line each, for error messages."""
        waits = {
            request.owner: ", ".join(repr(want.label) for want in request.wants)
            for claim in self._queue
            for request in claim.requests
        }
        lines: list[str] = []
        for entry in self._entries.values():
            slots = entry.want.slots
            size = f"{slots} slot{'' if slots == 1 else 's'}, " if self.capacity is not None else ""
            owners = Counter(
                f"{lease.owner} (waits for {waits[lease.owner]})" if lease.owner in waits else str(lease.owner)
                for lease in entry.leases
            )
            holders = ", ".join(f"{owner} x {count}" if count > 1 else owner for owner, count in owners.items())
            state = f"leased by {holders}" if holders and entry.phase is Phase.OPEN else entry.phase.value
            lines.append(f"'{entry.want.label}': {size}{'idle' if entry in self._idle else state}")
        if self._queue:
            lines.append(f"waiting: {self.waiting} request{'' if self.waiting == 1 else 's'}")
        return lines

    def take_effects(self) -> list[Effect]:
        """Hand over `effects`; the caller does it all before it awaits."""
        effects, self.effects = self.effects, []
        return effects

    # ---------------------------------------------------------------- leasing

    def lease_now(self, key: Hashable, owner: Hashable, now: float) -> Lease | None:
        """Lease an open resource without a request, or return `None` where that takes more than a look."""
        entry = self._entries.get(key)
        if (
            entry is None
            or entry.phase is not _OPEN
            or entry.retiring
            or self._starving
            or (self._health_after is not None and self._is_stale(entry, now))
        ):
            return None
        lease = self._pin(entry, owner, None)
        counts = self.counts
        counts.reuses += 1
        counts.leases += 1
        self.active_leases += 1
        return lease

    def join(self, key: Hashable, owner: Hashable) -> Request | None:
        """Ask for what is being opened already, or return `None` where nothing is; comes to the same as `ask`."""
        entry = self._entries.get(key)
        if entry is None or entry.phase is not _OPENING or entry.retiring:
            return None
        request = Request((entry.want,), owner)
        request.state = State.ADMITTED
        request.opening = 1
        request.leases = (self._pin(entry, owner, request),)
        return request

    def ask(self, wants: tuple[Want, ...], owner: Hashable, now: float) -> Request:
        """Ask for leases on all of `wants`.

        The request comes back granted, failed, or undecided; of an undecided one a `Settle` effect tells later.

        Raises:
            CapacityExceededError: More slots are needed at once than there are.
        """
        request = Request(wants, owner)
        needed = sum({want.key: want.slots for want in wants}.values())
        if self.capacity is not None and needed > self.capacity:
            raise CapacityExceededError([want.label for want in wants], needed, self.capacity)
        if self._shut:
            self._fail(request, ProviderClosedError(self._provider))
            return request
        for want in wants:
            failure = self._failures.get(want.key)
            if failure is not None and now < failure.expires:
                self._fail(request, failure.error, want)
                return request
        entries = [self._entries.get(want.key) for want in wants]
        present = all(entry is not None and entry.phase is not Phase.CLOSING for entry in entries)
        joinable = present and all(entry is not None and self._is_joinable(entry, owner) for entry in entries)
        if joinable and (
            not self._starving or all(entry is not None and entry.phase is not Phase.OPEN for entry in entries)
        ):
            self._admit(request, now)
            return request
        if self.capacity is None and not self._queue and not any(entries):
            self._admit(request, now)  # nothing to wait for, but the opening
            return request
        self._enqueue(request)
        if self._closes_a_cycle(owner):
            self._dequeue(request)
            if present:
                self._admit(request, now)
            else:
                self._fail(request, CapacityDeadlockError([want.label for want in wants], self._account_with(request)))
        elif not self._starving:
            self._serve(now)
        return request

    def adopt(self, lease: Lease, owner: Hashable) -> None:
        """Another task is responsible for the lease from now on."""
        if not lease.ended:
            self._unhold(lease)
            lease.owner = owner
            self._hold(lease)

    def abandon(self, request: Request, now: float) -> None:
        """The caller no longer wants what it asked for, granted or not."""
        if request.state is State.QUEUED:
            self._dequeue(request)
            request.state = State.ABANDONED
            self._serve(now)
        elif request.state in (State.ADMITTED, State.GRANTED):
            granted = request.state is State.GRANTED
            request.state = State.ABANDONED
            for lease in request.leases:
                if granted:
                    self.release(lease, "its setup was cancelled", now)
                else:
                    self._unpin(lease, now)

    def release(self, lease: Lease, reason: str, now: float) -> None:
        """End an active lease. One that has ended before, with its generation or by itself, changes nothing."""
        if lease.ended:
            return
        lease.ended = reason
        self.active_leases -= 1
        self._unpin(lease, now)

    # ------------------------------------------------------- what tasks report

    def opened(self, entry: Entry) -> None:
        """The entry's task has opened it."""
        self.counts.opens += 1
        entry.opened_before = True
        if entry.phase is not Phase.OPENING:
            return  # it was called off while the last step of the opening ran; its task closes it
        self._make_available(entry)

    def checked(self, entry: Entry, healthy: bool, now: float) -> None:
        """The entry's health is known."""
        if entry.phase is not Phase.CHECKING:
            return
        if healthy:
            self._make_available(entry)
        else:
            self.counts.unhealthy += 1
            self._close(entry, "unhealthy")
            self._requeue(entry, now)
            self._serve(now)

    def losing(self, entry: Entry, reason: str, now: float) -> None:
        """The entry broke by itself: its leases end, its slots stay taken until its task has ended."""
        if entry.phase is Phase.CLOSING:
            return
        self.counts.losses += 1
        entry.lost = True
        self._set_closing(entry, reason)
        self._requeue(entry, now)
        self._end_leases(entry, "its resource was lost")
        self._serve(now)

    def ended(self, entry: Entry, error: BaseException | None, now: float) -> None:
        """The entry's task is over.

        Args:
            entry: The entry.
            error: Why it could not be opened, or `None`.
            now: The time, in seconds of the caller's clock.
        """
        del self._entries[entry.want.key]
        self._idle.pop(entry, None)
        if entry.phase is Phase.CLOSING:
            self._closing_slots -= entry.want.slots
        if self.capacity is not None:
            self.free_slots += entry.want.slots
            if self._free_names is not None:
                self._free_names.extend(entry.slot_names)
        if entry.opened_before:
            self.counts.closes += 1
        elif error is not None and entry.phase is Phase.OPENING:
            self.counts.open_failures += 1
            if self._remember_failures > 0:
                self._failures[entry.want.key] = Failure(error, now + self._remember_failures)
        else:
            self.counts.open_cancellations += 1
        if entry.phase is Phase.OPENING:
            failure = error or ModelSetupError(entry.want.label, "the opening ended without a result")
            for request in self._pending(entry):
                self._retract(request, entry, now)
                self._fail(request, failure, entry.want)
        self._serve(now)

    # ------------------------------------------------------------- housekeeping

    def close(self, entry: Entry, reason: str, now: float) -> None:
        """Close the entry now, whoever holds it; requests that wait for its opening fail."""
        if entry.phase is Phase.CLOSING:
            return
        opening = entry.phase is Phase.OPENING
        self._close(entry, reason)
        if opening:
            for request in self._pending(entry):
                self._retract(request, entry, now)
                self._fail(request, ModelSetupError(entry.want.label, f"{reason} while it was opened"), entry.want)
        else:
            self._requeue(entry, now)
            self._end_leases(entry, reason)
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
        if entry.leases and self._is_stuck():
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
        while self._idle:
            entry = next(iter(self._idle))
            if now < entry.idle_since + self._keep_alive:
                return entry.idle_since + self._keep_alive
            self.counts.expirations += 1
            self._close(entry, "idle for keep_alive")
        return None

    def shut(self, now: float) -> None:
        """The provider closes: nobody is served any more, everything is closed."""
        self._shut = True
        for claim in list(self._queue):
            for request in list(claim.requests):
                self._dequeue(request)
                self._fail(request, ProviderClosedError(self._provider))
        for entry in list(self._entries.values()):
            for request in self._pending(entry):
                self._retract(request, None, now)
                self._fail(request, ProviderClosedError(self._provider))
            if entry.phase is not Phase.CLOSING:
                self._end_leases(entry, "the provider was closed")
                self._close(entry, "provider closed")

    # ------------------------------------------------------------- the queue

    def _enqueue(self, request: Request, *, in_front: bool = False) -> None:
        request.state = State.QUEUED
        alone = len(request.wants) == 1
        claim = self._claims.get(request.wants[0].key) if alone else None
        if claim is None:
            claim = Claim(request.wants)
            self._queue[claim] = None
            if alone:
                self._claims[request.wants[0].key] = claim
        if in_front:
            self._queue.move_to_end(claim, last=False)
        claim.requests[request] = None
        request.claim = claim

    def _dequeue(self, request: Request) -> None:
        claim = request.claim
        assert claim is not None
        request.claim = None
        del claim.requests[request]
        if not claim.requests:
            self._drop_claim(claim)

    def _drop_claim(self, claim: Claim) -> None:
        del self._queue[claim]
        if len(claim.wants) == 1:
            self._claims.pop(claim.wants[0].key, None)

    def _serve(self, now: float) -> None:
        """Serve the queue in order, as far as the slots go, evicting what is idle."""
        while servable := self._look_at_queue():
            for claim in servable:
                if claim in self._queue:  # else it was served together with an earlier one
                    self._drop_claim(claim)
                    for request in claim.requests:
                        request.claim = None
                        self._admit(request, now)

    def _look_at_queue(self) -> list[Claim]:
        """The claims that can be served at once; evicts for those that can be served soon; notes if one starves."""
        self._starving = False
        limited = self.capacity is not None
        free = self.free_slots
        coming = self._closing_slots
        promised: set[Hashable] = set()  # the keys of all claims looked at so far
        servable: list[Claim] = []
        for claim in self._queue:
            if any(self._is_retiring(want.key) for want in claim.wants):
                continue  # waits for that to close, and holds up nobody
            absent = {want.key: want.slots for want in claim.wants if self._is_absent(want.key)}
            if not promised.isdisjoint(absent):
                continue  # joins the earlier claim as soon as that one opens the key
            promised.update(want.key for want in claim.wants)
            needed = sum(absent.values()) if limited else 0
            while needed > free + coming:
                victim = next((entry for entry in self._idle if entry.want.key not in promised), None)
                if victim is None:
                    self._starving = True
                    return servable
                self.counts.evictions += 1
                self._close(victim, "evicted: its slots are needed")
                coming += victim.want.slots
            if needed <= free and not any(key in self._entries for key in absent):
                servable.append(claim)
                free -= needed
            else:
                coming -= max(0, needed - free)
                free = max(0, free - needed)
        return servable

    def _is_absent(self, key: Hashable) -> bool:
        entry = self._entries.get(key)
        return entry is None or entry.phase is Phase.CLOSING

    def _is_retiring(self, key: Hashable) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.phase is not Phase.CLOSING and bool(entry.retiring)

    def _is_joinable(self, entry: Entry, owner: Hashable) -> bool:
        return not entry.retiring or any(lease.entry is entry for lease in self._held.get(owner, ()))

    def _admit(self, request: Request, now: float) -> None:
        """Pin every key of the request; open what is not open. There are slots for all of it."""
        request.state = State.ADMITTED
        request.leases = ()
        request.opening = 0
        leases: list[Lease] = []
        reused = True
        for want in request.wants:
            entry = self._entries.get(want.key)
            if entry is None:
                entry = self._open(want, now)
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
            self._settle_granted(request)

    def _open(self, want: Want, now: float) -> Entry:
        names: tuple[str, ...] = ()
        if self.capacity is not None:
            self.free_slots -= want.slots
            if self._free_names is not None:
                names = tuple(self._free_names[: want.slots])
                del self._free_names[: want.slots]
        self._generation += 1
        self._failures.pop(want.key, None)
        entry = Entry(want, self._generation, names)
        self._entries[want.key] = entry
        self.effects.append(Open(entry))
        together = self._claims.get(want.key)
        if together is not None:
            self._drop_claim(together)
            for request in together.requests:
                request.claim = None
                self._admit(request, now)
        return entry

    def _requeue(self, entry: Entry, now: float) -> None:
        """The entry is about to go: who was admitted but not granted yet goes back to the front of the queue."""
        for request in reversed(self._pending(entry)):
            self._retract(request, entry, now)
            self._enqueue(request, in_front=True)
            if self._closes_a_cycle(request.owner):
                self._dequeue(request)
                self._fail(
                    request,
                    CapacityDeadlockError([want.label for want in request.wants], self._account_with(request)),
                )

    def _retract(self, request: Request, leaving: Entry | None, now: float) -> None:
        """Undo an admission. The entry `leaving` is about to go and is not made idle or closed on the way."""
        request.state = State.QUEUED
        for lease in request.leases:
            if lease.entry is leaving:
                lease.ended = "its resource went away"
                lease.entry.leases.pop(lease, None)
                self._unhold(lease)
            else:
                self._unpin(lease, now)
        request.leases = ()

    # ------------------------------------------------------------- deadlock

    def _closes_a_cycle(self, owner: Hashable) -> bool:
        """Whether the queue could no longer be served, now that `owner` waits in it.

        Only a task that holds something can close a cycle.
        """
        return bool(self._held.get(owner)) and self._is_stuck()

    def _is_stuck(self) -> bool:
        """Whether the queue could not be served though every task that does not wait releases what it holds.

        Walks the queue in order: what the tasks in the queue hold stays taken until their turn has come.
        """
        if self.capacity is None:
            return False
        pins: Counter[Entry] = Counter()
        for claim in self._queue:
            for request in claim.requests:
                pins.update(lease.entry for lease in self._held.get(request.owner, ()))
        taken = sum(entry.want.slots for entry in pins)
        open_keys = {entry.want.key for entry in pins}
        retiring = {entry.want.key for entry in pins if entry.retiring}
        waiting = list(self._queue)
        while waiting:
            later: list[Claim] = []  # waits for an entry to close that others in the queue hold, and holds up nobody
            for claim in waiting:
                keys = {want.key: want.slots for want in claim.wants}
                if any(key in retiring and key in open_keys for key in keys):
                    later.append(claim)
                    continue
                if sum(slots for key, slots in keys.items() if key not in open_keys) > self.capacity - taken:
                    return True
                for request in claim.requests:
                    for lease in self._held.get(request.owner, ()):
                        pins[lease.entry] -= 1
                        if not pins[lease.entry]:
                            taken -= lease.entry.want.slots
                            open_keys.discard(lease.entry.want.key)
            if len(later) == len(waiting):
                return True
            waiting = later
        return False

    def _account_with(self, request: Request) -> list[str]:
        wanted = ", ".join(repr(want.label) for want in request.wants)
        return [*self.account(), f"{request.owner} asks for {wanted}"]

    # ------------------------------------------------------------- entries and leases

    def _is_stale(self, entry: Entry, now: float) -> bool:
        return self._health_after is not None and entry in self._idle and now - entry.idle_since >= self._health_after

    def _pin(self, entry: Entry, owner: Hashable, request: Request | None) -> Lease:
        lease = Lease(entry, owner, request)
        if not entry.leases:
            self._idle.pop(entry, None)
        entry.leases[lease] = None
        if self.capacity is not None:
            self._hold(lease)
        return lease

    def _unpin(self, lease: Lease, now: float) -> None:
        """Take a lease off its entry; the last one makes it idle, closes it, or calls its opening off."""
        entry = lease.entry
        lease.ended = lease.ended or "its setup did not complete"
        entry.leases.pop(lease, None)
        if self.capacity is not None:
            self._unhold(lease)
        phase = entry.phase
        if entry.leases or phase is _CLOSING:
            return
        if phase is _OPENING:
            self._close(entry, "nobody waits for it any more")
        elif self.closes_at_once or entry.retiring:
            self._close(entry, entry.retiring or "released")
        else:
            if phase is _OPEN:
                entry.idle_since = now
            self._idle[entry] = None
            entry.phase = _OPEN
            if self._tells_idle:
                self.effects.append(Rest(entry))
        if self._starving:
            self._serve(now)

    def _hold(self, lease: Lease) -> None:
        if self.capacity is not None:
            self._held.setdefault(lease.owner, {})[lease] = None

    def _unhold(self, lease: Lease) -> None:
        held = self._held.get(lease.owner)
        if held is not None:
            held.pop(lease, None)
            if not held:
                del self._held[lease.owner]

    def _grant(self, lease: Lease) -> Lease:
        self.active_leases += 1
        self.counts.leases += 1
        lease.request = None
        return lease

    def _settle_granted(self, request: Request) -> None:
        request.state = State.GRANTED
        for lease in request.leases:
            self._grant(lease)
        self.effects.append(Settle(request))

    def _fail(self, request: Request, error: BaseException, want: Want | None = None) -> None:
        request.state = State.FAILED
        request.error = error
        request.failed_want = want
        self.effects.append(Settle(request))

    def _pending(self, entry: Entry) -> list[Request]:
        """The requests that are admitted to the entry but not granted yet, oldest first."""
        requests = {lease.request: None for lease in entry.leases if lease.request is not None}
        return list(requests)

    def _make_available(self, entry: Entry) -> None:
        entry.phase = Phase.OPEN
        for lease in list(entry.leases):
            request = lease.request
            if request is not None:
                request.opening -= 1
                if not request.opening:
                    self._settle_granted(request)

    def _end_leases(self, entry: Entry, reason: str) -> None:
        for lease in entry.leases:
            lease.ended = reason
            self.active_leases -= 1
            self._unhold(lease)
        entry.leases.clear()

    def _close(self, entry: Entry, reason: str) -> None:
        effect: Effect = CancelOpening(entry) if entry.phase is Phase.OPENING else Close(entry)
        self._set_closing(entry, reason)
        self.effects.append(effect)

    def _set_closing(self, entry: Entry, reason: str) -> None:
        entry.phase = Phase.CLOSING
        entry.reason = reason
        self._closing_slots += entry.want.slots
        self._idle.pop(entry, None)
