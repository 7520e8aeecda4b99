"""The question of deadlock, asked without a ledger: a queue, what those in it hold, and so many slots."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doteval._pool.deadlock import Held, Waiter, is_deadlocked, order_of_service

A, B = Held("a", 1), Held("b", 1)
OLD_A = Held("a", 1, retiring=True)
KEYS = ["a", "b", "c"]
STATES = int(os.environ.get("STATES", "300"))  # nox -s ledger_machine


@pytest.mark.parametrize(
    ("queue", "capacity", "expected"),
    [
        pytest.param([], 1, False, id="nobody waits"),
        pytest.param([Waiter({"b": 1}, [])], 1, False, id="what others hold is released"),
        pytest.param([Waiter({"b": 1}, [A])], 1, True, id="waits for itself"),
        pytest.param([Waiter({"b": 1}, [A])], 2, False, id="a slot that nobody in the queue holds"),
        pytest.param([Waiter({"a": 1}, [A])], 1, False, id="what is held costs no slot"),
        pytest.param([Waiter({"c": 1}, [A]), Waiter({"d": 1}, [B])], 2, True, id="a circle of two"),
        pytest.param([Waiter({"c": 1}, [A]), Waiter({"d": 1}, [B])], 3, False, id="the first one lets go for the next"),
        pytest.param([Waiter({"c": 2}, [A]), Waiter({"d": 1}, [])], 2, True, id="who is in front holds up all behind"),
        pytest.param([Waiter({"b": 1}, [A, A])], 2, False, id="two leases on one resource hold one slot"),
        pytest.param([Waiter({"c": 1}, [A]), Waiter({"d": 2}, [A])], 2, True, id="shared with one who still waits"),
        pytest.param([Waiter({"c": 1}, [A]), Waiter({"a": 1, "d": 1}, [])], 2, False, id="given back, then needed"),
        pytest.param([Waiter({"c": 1}, [A]), Waiter({"a": 1, "d": 2}, [])], 2, True, id="given back, then too much"),
        pytest.param([Waiter({"a": 1}, [OLD_A])], 2, True, id="waits for its own to retire"),
        pytest.param([Waiter({"a": 1}, []), Waiter({"b": 1}, [OLD_A])], 2, False, id="waits for another's to retire"),
        pytest.param([Waiter({"a": 1}, [B]), Waiter({"b": 1}, [OLD_A])], 2, False, id="and holds up nobody meanwhile"),
        pytest.param([Waiter({"a": 1}, [B]), Waiter({"c": 1}, [OLD_A])], 2, True, id="and keeps a slot meanwhile"),
        pytest.param(
            [Waiter({"a": 1}, [B]), Waiter({"c": 1}, [OLD_A]), Waiter({"d": 3}, [])],
            3,
            False,
            id="and is served before those behind, once it has retired",
        ),
        pytest.param(
            [Waiter({"b": 1, "c": 2}, []), Waiter({"d": 1}, [Held("b", 1, True)]), Waiter({"e": 2}, [A])],
            3,
            True,
            id="and holds up those behind, once it has retired",
        ),
    ],
)
def test_it_is_a_deadlock_where_somebody_could_never_be_served(
    queue: list[Waiter], capacity: int, expected: bool
) -> None:
    """Everybody who does not wait lets go; everybody in the queue does so after being served."""
    assert is_deadlocked(queue, capacity) is expected


def can_all_be_served(queue: Sequence[Waiter], capacity: int) -> bool:
    """Whether there is an order in which everybody is served, tried one after the other; who is served lets go."""
    held = {each for waiter in queue for each in waiter.holds}
    open_, retiring = {each.key for each in held}, {each.key for each in held if each.retiring}
    free = capacity - sum(each.slots for each in held)
    for turn, waiter in enumerate(queue):
        if waiter.wants.keys() & retiring:
            continue  # holds up nobody
        if sum(slots for key, slots in waiter.wants.items() if key not in open_) > free:
            return False  # holds up all behind
        if can_all_be_served([*queue[:turn], *queue[turn + 1 :]], capacity):
            return True
    return not queue


@st.composite
def queues(draw: st.DrawFn) -> tuple[list[Waiter], int]:
    """Up to four places in the queue, for up to three resources that fit into up to three slots."""
    capacity = draw(st.integers(1, 3))
    slots = {key: draw(st.integers(1, capacity)) for key in KEYS}
    retiring = draw(st.sampled_from([None, *KEYS]))  # of two, it may matter which of them is closed first
    opened: list[str] = []
    for key in draw(st.permutations(KEYS)):
        if sum(slots[each] for each in [*opened, key]) <= capacity:
            opened.append(key)
    wanted = st.sets(st.sampled_from(KEYS), min_size=1).filter(
        lambda keys: sum(map(slots.__getitem__, keys)) <= capacity
    )
    held = st.lists(st.sampled_from([Held(key, slots[key], key == retiring) for key in opened]), max_size=3)

    def waiter(keys: set[str], holds: list[Held]) -> Waiter:
        return Waiter({key: slots[key] for key in sorted(keys)}, holds)

    return draw(st.lists(st.builds(waiter, wanted, held), max_size=4)), capacity


@given(queues())
def test_it_is_a_deadlock_where_no_order_serves_everybody(state: tuple[list[Waiter], int]) -> None:
    """The answer of a few rounds along the queue is that of trying every order there is."""
    queue, capacity = state
    assert is_deadlocked(queue, capacity) is not can_all_be_served(queue, capacity)


@given(queues())
def test_the_order_of_service_is_one_that_serves_everybody_where_there_is_any(
    state: tuple[list[Waiter], int],
) -> None:
    """Of all orders in which they might stand."""
    queue, capacity = state
    order = order_of_service(queue, capacity)
    if order is None:
        assert not any(can_all_be_served(list(other), capacity) for other in permutations(queue))
    else:
        assert sorted(order) == list(range(len(queue)))
        assert can_all_be_served([queue[place] for place in order], capacity)


def any_queue(chance: random.Random) -> tuple[list[Waiter], int]:
    """Up to four places for up to five resources of up to two slots, some of which retire or have a successor."""
    capacity = chance.randint(1, 5)
    slots = {key: chance.randint(1, min(2, capacity)) for key in "abcde"}
    held: list[Held] = []
    for key in [*chance.sample("abcde", chance.randint(0, 4)), object()]:
        each = Held(key, slots.get(str(key), 1), isinstance(key, str) and chance.random() < 0.2)
        if sum(one.slots for one in held) + each.slots <= capacity:
            held.append(each)
    queue = []
    for _ in range(chance.randint(0, 4)):
        wants = {key: slots[key] for key in sorted(chance.sample("abcde", chance.randint(1, 2)))}
        if sum(wants.values()) <= capacity:
            queue.append(Waiter(wants, chance.sample(held, chance.randint(0, min(2, len(held))))))
    return queue, capacity


def test_in_whatever_state_nobody_is_told_wrongly_and_nobody_left_waiting() -> None:
    """No false alarm and no miss: trying every order says the same, of the queue as it is and as it might be."""
    for seed in range(STATES):
        queue, capacity = any_queue(random.Random(seed))
        assert is_deadlocked(queue, capacity) is not can_all_be_served(queue, capacity), seed
        order = order_of_service(queue, capacity)
        assert order is None or sorted(order) == list(range(len(queue))), seed
        orders = permutations(queue) if order is None else [[queue[place] for place in order]]
        assert any(can_all_be_served(list(each), capacity) for each in orders) is (order is not None), seed
