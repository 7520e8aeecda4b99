"""A state machine over the ledger: whatever happens in whatever order, its promises hold.

The machine plays the world around the ledger: tasks that ask, wait, release and leave, and resource tasks that open,
fail, break and close. A task that waits does nothing else, as a real one. The number of steps is set by the Hypothesis
profile; ``nox -s ledger_machine`` runs the long one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from doteval import CapacityDeadlockError, CapacityExceededError, QueueFullError
from doteval._pool.ledger import Ledger
from doteval._pool.records import (
    CancelOpening,
    Check,
    Close,
    Entry,
    Examine,
    Lease,
    Open,
    Phase,
    Request,
    Rest,
    Retired,
    Settle,
    State,
    Want,
)
from doteval._pool.waits import Ending

OWNERS = [f"task {number}" for number in range(6)]
KEYS = ["a", "b", "c", "d", "e"]
SIZES = {"a": 1, "b": 1, "c": 1, "d": 2, "e": 3}


class LedgerMachine(RuleBasedStateMachine):
    """Tasks and resources around one ledger."""

    @initialize(
        capacity=st.one_of(st.none(), st.integers(1, 4), st.just(["gpu0", "gpu1", "gpu2"])),
        keep_alive=st.sampled_from([None, 0, 5]),
        health_after=st.sampled_from([None, 3]),
        remember_failures=st.sampled_from([0.0, 4.0]),
        health_every=st.sampled_from([None, 3]),
        max_waiting=st.sampled_from([None, None, 0, 2]),
        lives_for=st.sampled_from([None, None, 6.0]),
    )
    def start(
        self,
        capacity: int | Sequence[str] | None,
        keep_alive: float | None,
        health_after: float | None,
        remember_failures: float,
        health_every: float | None,
        max_waiting: int | None,
        lives_for: float | None,
    ) -> None:
        self.now = 0.0
        self.capacity = capacity
        self.max_waiting = max_waiting
        self.is_draining = False
        self.began: dict[Request, float] = {}
        self.waited, self.waits = 0.0, 0
        self.keep_alive = keep_alive
        self.ledger = Ledger(
            "Machine",
            capacity=capacity,
            keep_alive=keep_alive,
            health_after=health_after,
            remember_failures=remember_failures,
            health_every=health_every,
            max_waiting=max_waiting,
            tells_idle=True,
        )
        self.live: dict[Entry, str] = {}  # entry -> what its task is doing
        self.waiting: dict[str, Request] = {}
        self.leases: dict[str, list[Lease]] = {owner: [] for owner in OWNERS}
        self.aged: set[Entry] = set()  # those that are leased to nobody new because they are old
        self.lives_for = math.inf if lives_for is None else lives_for
        self.resting: set[Entry] = set()  # those that were said to be idle and not leased or closed since
        self.act()

    # ------------------------------------------------------------ the world's side

    def act(self) -> None:
        while self.ledger.effects:
            match self.ledger.effects.popleft():
                case Open(entry):
                    others = [other for other in self.live if other.want.key == entry.want.key]
                    assert all(other in self.aged for other in others), "two live resources of one key"
                    self.live[entry] = "opening"
                case CancelOpening(entry):
                    assert self.live[entry] == "opening"
                    self.live[entry] = "aborting"
                case Check(entry):
                    self.live[entry] = "checking"
                case Retired(entry):
                    assert entry.leases
                    assert self.now >= entry.lives_until or entry.retiring == "its slots are gone"
                    self.aged.add(entry)
                case Examine(entry):
                    assert entry.leases, "nobody holds it"
                    self.examined.append(entry)
                case Rest(entry):
                    self.resting.add(entry)
                case Close(entry):
                    assert not entry.leases, "closed under somebody who uses it"
                    self.live[entry] = "closing"
                case Settle(request):
                    assert request.state in (State.GRANTED, State.FAILED)
                    self.settle(request)

    def settle(self, request: Request) -> None:
        owner: Any = request.owner
        self.waiting.pop(owner, None)
        if request in self.began:
            self.end_wait(request, "granted" if request.state is State.GRANTED else "failed")
        if request.state is State.GRANTED:
            for lease in request.leases:
                assert lease.entry.phase is Phase.OPEN
                assert not lease.ended
                self.leases[owner].append(lease)

    def end_wait(self, request: Request, ending: Ending) -> None:
        began = self.began.pop(request)
        self.waited += self.now - began
        self.waits += 1
        self.ledger.waits.add(request, ending, began, self.now)

    @invariant()
    def every_wait_is_counted(self) -> None:
        if hasattr(self, "ledger"):
            waits = self.ledger.waits
            assert waits.times.count == sum(waits.times.buckets) == sum(waits.endings.values()) == self.waits
            assert waits.times.seconds == pytest.approx(self.waited)
            assert 0 <= waits.queue_seconds <= waits.times.seconds + 1e-6

    def idle_owner(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from([owner for owner in OWNERS if owner not in self.waiting]))

    @precondition(lambda self: len(self.waiting) < len(OWNERS))
    @rule(data=st.data(), keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3))
    def ask(self, data: st.DataObject, keys: list[str]) -> None:
        owner = self.idle_owner(data)
        wants = tuple(Want(key, key, SIZES[key]) for key in keys)
        if len(wants) == 1:
            lease = self.ledger.lease_now(keys[0], owner, self.now)
            if lease is not None:
                assert not self.is_draining
                assert lease.entry.phase is Phase.OPEN
                self.leases[owner].append(lease)
                return
        open_keys = {e.want.key for e in self.live if e.phase is not Phase.CLOSING and e not in self.aged}
        try:
            request = self.ledger.ask(wants, owner, self.now)
        except CapacityExceededError:
            total = sum(SIZES[key] for key in set(keys))
            assert self.ledger.capacity is not None
            assert total > self.ledger.capacity
            return
        if request.state in (State.QUEUED, State.ADMITTED):
            self.waiting[owner] = request
            self.began[request] = self.now
        elif isinstance(request.error, QueueFullError):
            assert self.max_waiting is not None
            assert self.ledger.waiting >= self.max_waiting
            assert self.ledger.waiting or not self.ledger.queue.starving, "somebody starves who was refused"
        elif isinstance(request.error, CapacityDeadlockError):
            assert self.leases[owner], "a task that holds nothing was told that it waits for itself"
            held = {lease.entry.want.key for lease in self.ledger._leases.of(owner)}
            assert not set(keys) <= open_keys | held, "told to wait for ever for what is open and costs no slot"
        self.act()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.waiting)))
        request = self.waiting.pop(owner)
        assert self.ledger.spent(request, self.began[request], self.now).startswith("spent: ")
        self.end_wait(request, "cancelled")
        self.ledger.abandon(request, self.now)
        self.act()

    @precondition(lambda self: any(held and owner not in self.waiting for owner, held in self.leases.items()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from([o for o, held in self.leases.items() if held and o not in self.waiting]))
        lease = data.draw(st.sampled_from(self.leases[owner]))
        self.leases[owner].remove(lease)
        self.ledger.release(lease, "released", self.now)
        self.ledger.release(lease, "released again", self.now)
        self.act()

    @precondition(lambda self: any(held and owner not in self.waiting for owner, held in self.leases.items()))
    @rule(data=st.data())
    def hand_over(self, data: st.DataObject) -> None:
        giver = data.draw(st.sampled_from([o for o, held in self.leases.items() if held and o not in self.waiting]))
        taker = self.idle_owner(data)
        lease = data.draw(st.sampled_from(self.leases[giver]))
        self.leases[giver].remove(lease)
        self.leases[taker].append(lease)
        self.ledger.adopt(lease, taker)

    @precondition(lambda self: "opening" in self.live.values())
    @rule(data=st.data(), outcome=st.sampled_from(["opened", "opened", "opened", "failed", "nothing"]))
    def finish_opening(self, data: st.DataObject, outcome: str) -> None:
        entry = data.draw(st.sampled_from([e for e, doing in self.live.items() if doing == "opening"]))
        if outcome == "opened":
            self.live[entry] = "open"
            self.ledger.opened(entry, self.now, self.lives_for)
        else:
            del self.live[entry]
            self.ledger.ended(entry, OSError("no") if outcome == "failed" else None, self.now)
        self.act()

    @precondition(lambda self: "aborting" in self.live.values())
    @rule(data=st.data(), too_late=st.booleans())
    def finish_abort(self, data: st.DataObject, too_late: bool) -> None:
        entry = data.draw(st.sampled_from([e for e, doing in self.live.items() if doing == "aborting"]))
        if too_late:
            self.ledger.opened(entry)
        del self.live[entry]
        self.ledger.ended(entry, None, self.now)
        self.act()

    @precondition(lambda self: "closing" in self.live.values())
    @rule(data=st.data(), fails=st.booleans())
    def finish_closing(self, data: st.DataObject, fails: bool) -> None:
        entry = data.draw(st.sampled_from([e for e, doing in self.live.items() if doing == "closing"]))
        del self.live[entry]
        self.ledger.ended(entry, OSError("no") if fails else None, self.now)
        self.act()

    @precondition(lambda self: "checking" in self.live.values())
    @rule(data=st.data(), healthy=st.booleans())
    def finish_check(self, data: st.DataObject, healthy: bool) -> None:
        entry = data.draw(st.sampled_from([e for e, doing in self.live.items() if doing == "checking"]))
        self.live[entry] = "open"
        self.ledger.checked(entry, healthy, self.now)
        self.act()

    @precondition(lambda self: "open" in self.live.values())
    @rule(data=st.data())
    def break_down(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from([e for e, doing in self.live.items() if doing == "open"]))
        self.live[entry] = "closing"
        self.ledger.losing(entry, "it broke", self.now)
        self.act()

    @precondition(lambda self: self.capacity is not None)
    @rule(size=st.integers(1, 5))
    def resize(self, size: int) -> None:
        self.capacity = size if isinstance(self.capacity, int) else [f"gpu{number}" for number in range(5 - size, 5)]
        self.ledger.resize(self.capacity, self.now)
        self.act()
        names = self.capacity if isinstance(self.capacity, list) else None
        current = [e for e in self.live if e not in self.aged and e.phase is not Phase.CLOSING]
        assert names is None or all(set(names).issuperset(e.slot_names) for e in current), "on a slot that is gone"
        if self.ledger.free_slots < 0:
            idle = [entry for entry in self.live if entry.phase is Phase.OPEN and not entry.leases]
            closing = sum(entry.want.slots for entry in self.live if entry.phase is Phase.CLOSING)
            assert not idle or self.ledger.free_slots + closing >= 0, "idle where there are too few slots"

    @rule(healthy=st.booleans())
    def examine(self, healthy: bool) -> None:
        deadline = self.ledger.examine(self.now)
        assert deadline is None or deadline > self.now
        self.examined: list[Entry] = []
        self.act()
        for entry in self.examined:
            if not healthy:
                self.ledger.broken(entry, "unhealthy", self.now)
                self.act()

    @rule()
    def age(self) -> None:
        deadline = self.ledger.age(self.now)
        assert deadline is None or deadline > self.now
        self.act()
        assert all(e.retiring or e.lives_until > self.now for e in self.live if e.phase is Phase.OPEN)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def tear_down(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(list(self.live)))
        self.ledger.close(entry, "told to", self.now)
        self.act()

    @precondition(lambda self: self.live and self.capacity is not None)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(list(self.live)))
        self.ledger.retire(entry, "somebody else needs its slots", self.now)
        self.act()

    @precondition(lambda self: any(entry.retiring and entry not in self.aged for entry in self.live))
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from([entry for entry in self.live if entry.retiring and entry not in self.aged]))
        self.ledger.resume(entry, self.now)
        self.act()

    @rule(seconds=st.sampled_from([1.0, 2.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        deadline = self.ledger.expire(self.now)
        assert deadline is None or deadline > self.now
        self.act()

    # ------------------------------------------------------------ what must hold

    @invariant()
    def books_match_the_world(self) -> None:
        if not hasattr(self, "ledger"):
            return
        assert set(self.ledger.entries) == set(self.live)
        held = [lease for leases in self.leases.values() for lease in leases if not lease.ended]
        assert self.ledger.active_leases == len(held)
        assert all(lease.entry.phase is Phase.OPEN for lease in held), "a lease on something that is not open"
        assert all(lease in lease.entry.leases for lease in held)
        counts = self.ledger.counts
        assert counts.opens - counts.closes == sum(entry.opened_before for entry in self.live)
        assert self.ledger.waiting <= len(self.waiting)

    @invariant()
    def who_is_idle_is_known(self) -> None:
        """An entry was said to be idle when it became so, and a retiring one never is: it closes."""
        if not hasattr(self, "ledger"):
            return
        idle = {entry for entry in self.live if entry.phase is Phase.OPEN and not entry.leases}
        self.resting &= {entry for entry in self.live if entry.phase is Phase.OPEN and not entry.leases}
        assert idle == self.resting
        assert not any(entry.retiring for entry in idle)

    @invariant()
    def capacity_holds(self) -> None:
        if not hasattr(self, "ledger") or self.ledger.capacity is None:
            return
        used = sum(entry.want.slots for entry in self.live)
        assert used + self.ledger.free_slots == self.ledger.capacity
        closing = sum(entry.want.slots for entry in self.live if entry.phase is Phase.CLOSING)
        assert self.ledger._closing_slots == closing
        if not isinstance(self.capacity, int) and self.capacity is not None:
            names = [name for entry in self.live for name in entry.slot_names]
            assert len(names) == len(set(names)) == used
            assert set(self.ledger._free_names) == set(self.capacity) - set(names)
            assert len(self.ledger._free_names) >= self.ledger.free_slots

    @invariant()
    def nobody_waits_without_a_reason(self) -> None:
        """When nothing is being opened or closed, whoever waits does so for a lease of somebody who does not wait."""
        if not hasattr(self, "ledger") or not self.waiting or set(self.live.values()) - {"open"}:
            return
        assert self.ledger.capacity is not None
        assert any(
            not lease.ended for owner, leases in self.leases.items() if owner not in self.waiting for lease in leases
        ), "everybody waits"
        first = next(iter(self.ledger._queue))
        if any(
            entry.retiring and entry not in self.aged and entry.want.key in {want.key for want in first.wants}
            for entry in self.live
        ):
            return  # it waits for that one to close
        there = {entry.want.key for entry in self.live if entry not in self.aged}
        missing = {want.key: want.slots for want in first.wants if want.key not in there}
        idle = sum(e.want.slots for e in self.live if not e.leases and e.want.key not in {w.key for w in first.wants})
        assert sum(missing.values()) > self.ledger.free_slots + idle, "the first in the queue could be served"

    @precondition(lambda self: not self.is_draining)
    @rule(chance=st.integers(0, 9))
    def drain(self, chance: int) -> None:
        """Seldom, as little happens afterwards."""
        if not chance:
            self.is_draining = True
            self.ledger.drain()

    @invariant()
    def a_drain_ends_with_the_last_lease(self) -> None:
        if hasattr(self, "ledger"):
            held = [lease for leases in self.leases.values() for lease in leases if not lease.ended]
            pinned = any(request.state is State.ADMITTED for request in self.waiting.values())
            assert self.ledger.is_drained is not bool(held or pinned or self.ledger.waiting)

    def teardown(self) -> None:
        """When everybody lets go and everything works, everybody is served; then the provider closes to nothing."""
        if not hasattr(self, "ledger"):
            return
        for _ in range(200):
            for owner, held in self.leases.items():
                if owner not in self.waiting:
                    while held:
                        self.ledger.release(held.pop(), "released", self.now)
                        self.act()
            for entry, doing in list(self.live.items()):
                if doing == "opening":
                    self.live[entry] = "open"
                    self.ledger.opened(entry)
                elif doing == "checking":
                    self.live[entry] = "open"
                    self.ledger.checked(entry, True, self.now)
                elif doing in ("closing", "aborting"):
                    del self.live[entry]
                    self.ledger.ended(entry, None, self.now)
                self.act()
            if not self.waiting and not set(self.live.values()) - {"open"}:
                break
        assert not self.waiting, "somebody was never served"
        self.ledger.shut(self.now)
        self.act()
        for entry, doing in list(self.live.items()):
            assert doing == "closing"
            del self.live[entry]
            self.ledger.ended(entry, None, self.now)
        self.act()
        assert not list(self.ledger.entries)
        assert self.ledger.active_leases == 0
        assert self.ledger.counts.opens == self.ledger.counts.closes


TestLedgerMachine = pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")(
    LedgerMachine.TestCase
)
