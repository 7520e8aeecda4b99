"""The ledger's decisions, one at a time: who is served when, what is evicted, who is told what."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest

from doteval import CapacityDeadlockError, CapacityExceededError, ProviderClosedError, QueueFullError
from doteval._pool import admission as admission_module
from doteval._pool.deadlock import Waiter, is_deadlocked
from doteval._pool.entries import Entries
from doteval._pool.ledger import Ledger
from doteval._pool.records import CancelOpening, Check, Close, Effect, Entry, Lease, Open, Phase, Request, State, Want


class World:
    """A ledger whose resource tasks do at once what they are told, unless a test does it by hand."""

    def __init__(self, **settings: object) -> None:
        self.ledger = Ledger("World", **settings)  # type: ignore[arg-type]
        self.now = 0.0
        self.seen: list[str] = []
        self.slots: dict[str, int] = {}

    def ask(self, *keys: str, owner: str = "nobody", settle: bool = True) -> Request:
        wants = tuple(Want(key, key, self.slots.get(key, 1)) for key in keys)
        request = self.ledger.ask(wants, owner, self.now)
        if settle:
            self.settle()
        return request

    def settle(self) -> None:
        while self.ledger.effects:
            effect = self.ledger.effects.popleft()
            self.note(effect)
            match effect:
                case Open(entry):
                    self.ledger.opened(entry)
                case CancelOpening(entry) | Close(entry):
                    self.ledger.ended(entry, None, self.now)
                case Check(entry):
                    self.ledger.checked(entry, True, self.now)
                case _:
                    pass

    def note(self, effect: Effect) -> None:
        if isinstance(effect, (Open, Close, CancelOpening, Check)):
            self.seen.append(f"{type(effect).__name__.lower()} {effect.entry.want.label}")

    def release(self, request: Request, *, settle: bool = True) -> None:
        for lease in request.leases:
            self.ledger.release(lease, "released", self.now)
        if settle:
            self.settle()

    def entry(self, key: str) -> Entry:
        entry = self.ledger.find(key)
        assert entry is not None
        return entry

    def lease_now(self, key: str, owner: str = "nobody") -> Lease | None:
        return self.ledger.lease_now(key, owner, self.now)


def test_the_second_request_for_an_open_key_shares_it() -> None:
    """Two requests for one key open it once and get a lease each."""
    world = World()
    first, second = world.ask("a"), world.ask("a")
    assert first.state is second.state is State.GRANTED
    assert first.leases[0] is not second.leases[0]
    assert first.leases[0].entry is second.leases[0].entry
    assert world.seen == ["open a"]


def test_the_least_recently_used_idle_resource_is_evicted() -> None:
    """At the limit, what has been idle longest goes; what is leased stays."""
    world = World(capacity=3)
    a, b, c = world.ask("a"), world.ask("b"), world.ask("c")
    world.release(b)
    world.release(a)
    assert world.ask("d").state is State.GRANTED
    assert world.seen[3:] == ["close b", "open d"]
    assert c.leases[0].ended == ""


def test_waiters_are_served_in_the_order_of_arrival_and_one_key_together() -> None:
    """With one slot: b, c and again b wait; both for b are served at once, before c."""
    world = World(capacity=1)
    a = world.ask("a", owner="1")
    b1, c, b2 = world.ask("b", owner="2"), world.ask("c", owner="3"), world.ask("b", owner="4")
    world.release(a)
    assert (b1.state, b2.state, c.state) == (State.GRANTED, State.GRANTED, State.QUEUED)
    world.release(b1)
    assert c.state is State.QUEUED
    world.release(b2)
    assert c.state is State.GRANTED


def test_a_newcomer_for_an_open_key_queues_behind_an_older_waiter_that_needs_its_slot() -> None:
    """A hot key does not keep its slot for ever: while b waits for a slot, nobody new gets a."""
    world = World(capacity=1)
    a1 = world.ask("a", owner="1")
    b = world.ask("b", owner="2")
    assert world.lease_now("a", "3") is None
    a2 = world.ask("a", owner="3")
    assert a2.state is State.QUEUED
    world.release(a1)
    assert (b.state, a2.state) == (State.GRANTED, State.QUEUED)
    world.release(b)
    assert a2.state is State.GRANTED


def test_a_newcomer_for_an_open_key_does_not_wait_where_nobody_starves() -> None:
    """While b's slot is being freed by an eviction, c stays available to everybody."""
    world = World(capacity=2)
    a, c1 = world.ask("a", owner="1"), world.ask("c", owner="2")
    world.release(a)
    b = world.ask("b", owner="3", settle=False)
    assert b.state is State.QUEUED
    assert world.lease_now("c", "4") is not None
    world.settle()
    assert b.state is State.GRANTED
    assert c1.leases[0].ended == ""


def test_several_waiters_are_served_at_once_when_several_slots_come_free() -> None:
    """Evictions for waiters further back start before those for the first have ended."""
    world = World(capacity=2)
    for request in [world.ask("a"), world.ask("b")]:
        world.release(request)
    world.ask("c", settle=False)
    world.ask("d", settle=False)
    assert [type(effect).__name__ for effect in world.ledger.effects] == ["Close", "Close"]


def test_a_request_for_several_slots_is_not_overtaken_by_smaller_ones() -> None:
    """Free slots are kept for the big request at the front of the queue."""
    world = World(capacity=3)
    world.slots = {"big": 3}
    a = world.ask("a", owner="1")
    big = world.ask("big", owner="2")
    small = world.ask("b", owner="3")
    assert (big.state, small.state) == (State.QUEUED, State.QUEUED)
    world.release(a)
    assert (big.state, small.state) == (State.GRANTED, State.QUEUED)


def test_setup_many_is_all_or_nothing_and_spares_what_it_asks_for() -> None:
    """A request for a and c evicts idle b, though a has been idle for longer, and is granted in one go."""
    world = World(capacity=2)
    for request in [world.ask("a"), world.ask("b")]:
        world.release(request)
    both = world.ask("a", "c")
    assert both.state is State.GRANTED
    assert world.seen[2:] == ["close b", "open c"]


def test_setup_many_waits_without_holding_anything_back() -> None:
    """A request that cannot be granted whole takes no lease at all."""
    world = World(capacity=2)
    a = world.ask("a", owner="1")
    b = world.ask("b", owner="2")
    both = world.ask("c", "d", owner="3")
    assert both.state is State.QUEUED
    assert world.ledger.active_leases == 2
    world.release(a)
    assert both.state is State.QUEUED
    world.release(b)
    assert both.state is State.GRANTED


def test_who_waits_for_one_key_is_served_with_a_request_for_several_that_opens_it() -> None:
    """d is opened for the older request for c and d; the one behind it that wants d alone gets it together with it."""
    world = World(capacity=3)
    world.slots = {"x": 3}
    x = world.ask("x", owner="1")
    both = world.ask("c", "d", owner="2")
    world.slots["y"] = 3
    y = world.ask("y", owner="3")
    d = world.ask("d", owner="4")
    world.release(x)
    assert (both.state, d.state, y.state) == (State.GRANTED, State.GRANTED, State.QUEUED)


def test_a_request_for_the_same_key_twice_takes_one_slot_and_two_leases() -> None:
    """Slots are counted by resource, not by lease."""
    world = World(capacity=1)
    twice = world.ask("a", "a")
    assert twice.state is State.GRANTED
    assert len({id(lease) for lease in twice.leases}) == 2
    assert world.ledger.free_slots == 0


def test_more_slots_than_there_are_fail_at_once() -> None:
    """A request larger than the machine does not wait."""
    world = World(capacity=2)
    world.slots = {"huge": 3}
    with pytest.raises(CapacityExceededError, match=r"'huge' needs 3 slots at once, but the provider has 2"):
        world.ask("huge")
    with pytest.raises(CapacityExceededError, match="'a', 'b', 'c' need 3 slots"):
        world.ask("a", "b", "c")


def test_slots_with_names_are_handed_out_and_come_back() -> None:
    """No name is in two entries, and what is closed gives its names back."""
    world = World(capacity=["gpu0", "gpu1", "gpu2"])
    world.slots = {"a": 2, "c": 2}
    a, b = world.ask("a"), world.ask("b")
    assert world.entry("a").slot_names == ("gpu0", "gpu1")
    assert world.entry("b").slot_names == ("gpu2",)
    world.release(a)
    c = world.ask("c")
    assert c.state is State.GRANTED
    assert sorted(world.entry("c").slot_names) == ["gpu0", "gpu1"]
    assert b.leases[0].ended == ""


def test_a_task_that_waits_for_its_own_slot_is_told_at_once() -> None:
    """The error names who holds what, and what to do."""
    world = World(capacity=1)
    world.ask("a", owner="task one")
    refused = world.ask("b", owner="task one")
    assert isinstance(refused.error, CapacityDeadlockError)
    assert "'a': 1 slot, leased by task one" in str(refused.error)
    assert "task one asks for 'b'" in str(refused.error)
    assert "setup_many" in str(refused.error)


def test_the_last_one_to_close_a_circle_is_told() -> None:
    """Task one holds a and waits for c; task two, holding b, may not wait too. When it lets go, task one is served."""
    world = World(capacity=2)
    world.ask("a", owner="task one")
    b = world.ask("b", owner="task two")
    c = world.ask("c", owner="task one")
    assert c.state is State.QUEUED
    refused = world.ask("d", owner="task two")
    assert isinstance(refused.error, CapacityDeadlockError)
    assert "'a': 1 slot, leased by task one (waits for 'c')" in str(refused.error)
    world.release(b)
    assert c.state is State.GRANTED


def test_a_circle_is_seen_though_others_share_the_resource() -> None:
    """That somebody else also uses a does not help: its slot comes free only when everybody lets go."""
    world = World(capacity=1)
    world.ask("a", owner="task one")
    world.ask("a", owner="task two")
    assert isinstance(world.ask("b", owner="task one").error, CapacityDeadlockError)


def test_two_leases_of_one_waiting_task_pin_a_slot_once() -> None:
    """Task one holds a twice and b; with three slots there is still one for c, so it may ask."""
    world = World(capacity=3)
    for key in ("a", "a", "b"):
        world.ask(key, owner="task one")
    x = world.ask("x", owner="task two")
    c = world.ask("c", owner="task one")
    assert c.state is State.QUEUED
    world.slots = {"d": 3}
    d = world.ask("d", owner="task two")
    assert isinstance(d.error, CapacityDeadlockError)
    world.release(x)
    assert c.state is State.GRANTED


def test_what_is_open_is_granted_out_of_turn_where_waiting_would_never_end() -> None:
    """Task one holds a and asks for a again while b waits for its slot: queueing behind b would never end."""
    world = World(capacity=1)
    world.ask("a", owner="task one")
    b = world.ask("b", owner="task two")
    again = world.ask("a", owner="task one")
    assert (again.state, b.state) == (State.GRANTED, State.QUEUED)


def test_who_holds_what_a_larger_request_waits_for_goes_before_it() -> None:
    """One of two slots is free, and that is enough; that somebody waits for both, and is first, is no reason."""
    world = World(capacity=2)
    world.slots = {"large": 2}
    a = world.ask("a", owner="task one")
    large = world.ask("large", owner="task two")
    b = world.ask("b", owner="task one")
    assert (large.state, b.state) == (State.QUEUED, State.GRANTED)
    world.release(a)
    world.release(b)
    assert large.state is State.GRANTED


def test_who_can_end_a_circle_goes_first_though_another_closes_it() -> None:
    """Task one waits for what is open, and holds what those in front of it need: task two may wait there, too."""
    world = World(capacity=4)
    world.slots = {"c": 2}
    held = [world.ask("c", "e", owner="task one"), world.ask("b", "e", owner="task two")]
    first = world.ask("a", owner="task three")
    again = world.ask("c", owner="task one")
    assert (first.state, again.state) == (State.QUEUED, State.QUEUED)
    last = world.ask("a", owner="task two")
    assert (first.state, again.state, last.state) == (State.QUEUED, State.GRANTED, State.QUEUED)
    world.release(again)
    world.release(held[0])
    assert (first.state, last.state) == (State.GRANTED, State.GRANTED)


def test_a_task_that_holds_something_may_wait_where_another_will_let_go() -> None:
    """Only what can never end is refused."""
    world = World(capacity=2)
    world.ask("a", owner="task one")
    b = world.ask("b", owner="task two")
    c = world.ask("c", owner="task one")
    assert c.state is State.QUEUED
    world.release(b)
    assert c.state is State.GRANTED


def test_who_is_refused_by_a_full_queue_is_in_nobodys_way() -> None:
    """What is open is leased as if the refused one had never asked."""
    world = World(capacity=1, max_waiting=0)
    world.ask("a", owner="task one")
    assert isinstance(world.ask("b", owner="task two").error, QueueFullError)
    assert world.lease_now("a", "task two") is not None
    assert world.ask("a", owner="task three").state is State.GRANTED


def test_who_waits_for_what_is_closing_is_in_nobodys_way_in_a_bounded_queue() -> None:
    """Only who waits for a release counts."""
    world = World(capacity=2, max_waiting=1)
    world.slots["large"] = 2
    world.release(world.ask("a"))
    closing = world.ask("large", owner="task one", settle=False)
    first, second = world.ask("b", owner="task two", settle=False), world.ask("c", owner="task three", settle=False)
    assert closing.state is first.state is State.QUEUED
    assert isinstance(second.error, QueueFullError)


def test_a_lease_that_is_handed_over_no_longer_counts_for_the_giver() -> None:
    """Task one gives its lease to task two, which does not wait: then task one may."""
    world = World(capacity=1)
    a = world.ask("a", owner="task one")
    world.ledger.adopt(a.leases[0], "task two")
    b = world.ask("b", owner="task one")
    assert b.state is State.QUEUED
    world.release(a)
    assert b.state is State.GRANTED


def test_the_opening_is_called_off_when_nobody_waits_any_more() -> None:
    """One of two leaves: it goes on. The other leaves: it is cancelled, and a newcomer waits, then starts afresh."""
    world = World()
    first, second = world.ask("a", settle=False), world.ask("a", settle=False)
    world.ledger.abandon(first, 0)
    assert world.entry("a").phase is Phase.OPENING
    world.ledger.abandon(second, 0)
    aborted = world.entry("a")
    assert aborted.phase is Phase.CLOSING
    newcomer = world.ask("a", settle=False)
    assert newcomer.state is State.QUEUED
    world.ledger.effects.clear()
    world.ledger.ended(aborted, None, 0)
    world.settle()
    assert newcomer.state is State.GRANTED
    assert newcomer.leases[0].entry is not aborted


def test_a_failed_opening_is_told_to_everybody_and_tried_again_for_the_next() -> None:
    """Without `remember_failures` the next request opens again."""
    world = World()
    both = [world.ask("a", settle=False), world.ask("a", settle=False)]
    world.ledger.effects.clear()
    error = OSError("no")
    world.ledger.ended(world.entry("a"), error, 0)
    assert [request.error for request in both] == [error, error]
    assert world.ask("a").state is State.GRANTED


def test_a_remembered_failure_is_answered_from_memory_until_it_expires() -> None:
    """For ten seconds nobody tries again."""
    world = World(remember_failures=10.0)
    world.ask("a", settle=False)
    world.ledger.effects.clear()
    error = OSError("no")
    world.ledger.ended(world.entry("a"), error, 0)
    world.now = 9.0
    assert world.ask("a").error is error
    world.now = 10.0
    assert world.ask("a").state is State.GRANTED


def test_keep_alive_zero_closes_at_the_last_release() -> None:
    """Not at the first of two."""
    world = World(keep_alive=0)
    first, second = world.ask("a"), world.ask("a")
    world.release(first)
    assert world.seen == ["open a"]
    world.release(second)
    assert world.seen == ["open a", "close a"]


def test_expiry_closes_only_what_is_still_idle_and_says_when_to_look_again() -> None:
    """A resource that was leased again in the meantime is spared; the next look is when the next one is due."""
    world = World(keep_alive=10)
    a, b, c = world.ask("a"), world.ask("b"), world.ask("c")
    world.release(a)
    world.now = 4.0
    world.release(b)
    world.now = 6.0
    world.release(c)
    assert world.lease_now("a") is not None
    assert world.ledger.expire(10.0) == 14.0
    assert world.ledger.expire(14.0) == 16.0
    world.settle()
    assert world.seen[3:] == ["close b"]


def test_an_idle_resource_is_checked_before_it_is_leased_again() -> None:
    """After `health_after` seconds of idleness the lease waits for the answer."""
    world = World(health_after=5)
    a = world.ask("a")
    world.release(a)
    world.now = 4.9
    assert world.lease_now("a") is not None
    world.release(world.ask("a"))
    entry = world.entry("a")
    for lease in list(entry.leases):
        world.ledger.release(lease, "released", world.now)
    world.now = 11.0
    assert world.lease_now("a") is None
    again = world.ask("a")
    assert again.state is State.GRANTED
    assert world.seen[-1] == "check a"


def test_an_unhealthy_resource_is_replaced_for_those_who_wait() -> None:
    """They keep their place at the front of the queue and get the new generation."""
    world = World(health_after=5, capacity=1)
    world.release(world.ask("a"))
    world.now = 6.0
    again = world.ask("a", settle=False)
    other = world.ask("b", owner="other", settle=False)
    old = world.entry("a")
    world.ledger.effects.clear()
    world.ledger.checked(old, False, world.now)
    world.settle()
    assert again.state is State.GRANTED
    assert again.leases[0].entry.generation > old.generation
    assert other.state is State.QUEUED


def test_a_lost_resource_ends_its_leases_and_keeps_its_slots_until_it_is_gone() -> None:
    """The next request waits until the broken one has been cleaned up, then opens a new generation."""
    world = World(capacity=1)
    a = world.ask("a")
    broken = world.entry("a")
    world.ledger.losing(broken, "it broke", 0)
    assert a.leases[0].ended == "its resource was lost"
    assert world.ledger.active_leases == 0
    again = world.ask("a")
    assert again.state is State.QUEUED
    world.ledger.ended(broken, OSError("gone"), 0)
    world.settle()
    assert again.state is State.GRANTED
    assert again.leases[0].entry is not broken


def test_a_lease_of_an_old_generation_releases_nothing_of_the_new_one() -> None:
    """Releasing it late changes nothing."""
    world = World()
    old = world.ask("a")
    world.ledger.close(world.entry("a"), "told to", 0)
    world.settle()
    new = world.ask("a")
    world.release(old)
    assert new.leases[0].ended == ""
    assert world.ledger.active_leases == 1


def test_shutting_fails_who_waits_and_closes_what_is_open() -> None:
    """Waiters hear that the provider is closed; leases end with that reason; nobody is served any more."""
    world = World(capacity=1)
    a = world.ask("a", owner="1")
    b = world.ask("b", owner="2")
    world.ledger.shut(0)
    assert isinstance(b.error, ProviderClosedError)
    assert a.leases[0].ended == "the provider was closed"
    world.settle()
    assert not list(world.ledger.entries)
    assert isinstance(world.ask("c").error, ProviderClosedError)


def test_serving_a_long_queue_looks_at_its_front_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release looks at no more claims than there are slots, however many wait."""
    looks = 0
    real = Entries.is_absent

    def counted(self: Entries, key: object) -> bool:
        nonlocal looks
        looks += 1
        return real(self, key)  # type: ignore[arg-type]

    monkeypatch.setattr(Entries, "is_absent", counted)
    world = World(capacity=2)
    held = [world.ask("x", owner="1"), world.ask("y", owner="2")]
    for number in range(1000):
        world.ask(f"key {number}", owner=f"task {number}")
    looks = 0
    for request in held:
        world.release(request)
    assert 0 < looks < 20


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        pytest.param(("opening",), State.ADMITTED, id="opening"),
        pytest.param(("opening", "opening too"), State.ADMITTED, id="both opening"),
        pytest.param(("open",), State.QUEUED, id="open"),
        pytest.param(("open", "opening"), State.QUEUED, id="one of each"),
    ],
)
def test_while_somebody_starves_newcomers_join_only_what_is_being_opened(keys: tuple[str, ...], state: State) -> None:
    """Whoever waits for an opening takes nothing from the one who starves; a hot key would keep its slot."""
    world = World(capacity=3)
    world.ask("open", owner="1")
    world.ask("opening", "opening too", owner="2", settle=False)
    assert world.ask("starving", owner="3", settle=False).state is State.QUEUED
    assert world.ask(*keys, owner="4", settle=False).state is state


def test_those_who_go_back_to_the_front_of_the_queue_keep_their_order() -> None:
    """Both lose a that they waited for; the older one is served though what the younger one wants is still closing."""
    world = World(capacity=3, health_after=5)
    world.release(world.ask("a"))
    world.now = 6.0
    older, younger = world.ask("a", "b", owner="1", settle=False), world.ask("a", "c", owner="2", settle=False)
    world.ledger.effects.clear()
    a, b = world.entry("a"), world.entry("b")
    world.ledger.checked(a, False, world.now)
    world.ledger.effects.clear()
    world.ledger.ended(a, None, world.now)
    world.ledger.ended(b, None, world.now)
    assert (older.state, younger.state) == (State.ADMITTED, State.QUEUED)


def test_what_an_earlier_waiter_opens_is_not_made_room_for_twice() -> None:
    """x and y are evicted for a and b; whoever wants a alone waits for that, and z is spared."""
    world = World(capacity=3)
    for request in [world.ask("x"), world.ask("y"), world.ask("z")]:
        world.release(request)
    both, alone = world.ask("a", "b", settle=False), world.ask("a", settle=False)
    world.settle()
    assert (both.state, alone.state) == (State.GRANTED, State.GRANTED)
    assert "close z" not in world.seen


def test_the_question_of_deadlock_is_asked_for_those_who_hold_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at the whole queue; a crowd of newcomers would ask it for each of them, and in vain."""
    asked = 0

    def counted(queue: list[Waiter], capacity: int) -> bool:
        nonlocal asked
        asked += 1
        return is_deadlocked(queue, capacity)

    monkeypatch.setattr(admission_module, "is_deadlocked", counted)
    world = World(capacity=2)
    world.ask("a", owner="1")
    world.ask("b", owner="2")
    for number in range(100):
        world.ask(f"key {number}", owner=f"task {number}")
    assert asked == 0
    world.ask("c", owner="1")
    assert asked == 1


class Owner:
    """Somebody who can be told from all others, and of whom it can be seen whether anybody remembers them."""


def _hand_over(world: World, request: Request) -> None:
    world.ledger.adopt(request.leases[0], "somebody else")


def _close(world: World, request: Request) -> None:
    world.ledger.close(request.leases[0].entry, "told to", world.now)


def _lose(world: World, request: Request) -> None:
    entry = request.leases[0].entry
    world.ledger.losing(entry, "it broke", world.now)
    world.ledger.ended(entry, None, world.now)


@pytest.mark.parametrize(
    "let_go", [World.release, _hand_over, _close, _lose], ids=["release", "adopt", "close", "lose"]
)
def test_who_holds_nothing_is_forgotten(let_go: Callable[[World, Request], None]) -> None:
    """However many tasks have leased something, nothing is left of them."""
    world = World(capacity=2)
    owners: list[weakref.ref[Owner]] = []
    for _ in range(10):
        owner = Owner()
        owners.append(weakref.ref(owner))
        request = world.ledger.ask((Want("a", "a"),), owner, world.now)
        world.settle()
        let_go(world, request)
        world.settle()
        del owner, request
    gc.collect()
    assert [each for each in owners if each() is not None] == []


def grow_old(world: World, key: str) -> None:
    world.entry(key).lives_until = world.now
    world.ledger.age(world.now)
    world.settle()


def test_who_leases_what_has_grown_old_has_it_once_more_where_it_would_wait_for_itself() -> None:
    world = World(capacity=1)
    first = world.ask("a", owner="one")
    grow_old(world, "a")
    newcomer = world.ask("a", owner="two")
    again = world.ask("a", owner="one")
    assert again.state is State.GRANTED
    assert again.leases[0].entry is first.leases[0].entry
    world.release(first)
    assert newcomer.state is State.QUEUED
    world.release(again)
    assert newcomer.state is State.GRANTED
    assert world.seen == ["open a", "close a", "open a"]


@pytest.mark.parametrize(("wanted", "state"), [("ab", State.GRANTED), ("ad", State.FAILED)])
def test_nobody_waits_for_itself_when_what_it_leases_grows_old(wanted: str, state: State) -> None:
    """It is served where that takes no slot, and told else."""
    world = World(capacity=2)
    world.ask("a", owner="one")
    world.ask("b", owner="two")
    starving = world.ask("c", owner="three")
    request = world.ask(*wanted, owner="one")
    assert request.state is starving.state is State.QUEUED
    grow_old(world, "a")
    assert request.state is state
    assert starving.state is State.QUEUED
    assert isinstance(request.error, CapacityDeadlockError) is (state is State.FAILED)


def test_who_leases_an_older_generation_is_given_the_present_one_where_there_is_one() -> None:
    """Out of turn, as it costs no slot, and all others wait for it."""
    world = World(capacity=2)
    world.ask("a", owner="one")
    grow_old(world, "a")
    world.ask("a", owner="two")
    world.ask("c", owner="three")
    world.ask("d", owner="two")
    again = world.ask("a", owner="one")
    assert again.state is State.GRANTED
    assert again.leases[0].entry is world.entry("a")
