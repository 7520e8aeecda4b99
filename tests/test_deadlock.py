"""The question of deadlock, asked without a ledger: a queue, what those in it hold, and so many slots."""

from __future__ import annotations

import pytest

from doteval._pool.deadlock import Held, Waiter, is_deadlocked

A, B = Held("a", 1), Held("b", 1)
OLD_A = Held("a", 1, retiring=True)


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
    ],
)
def test_it_is_a_deadlock_where_somebody_could_never_be_served(
    queue: list[Waiter], capacity: int, expected: bool
) -> None:
    """Everybody who does not wait lets go; everybody in the queue does so after being served."""
    assert is_deadlocked(queue, capacity) is expected
