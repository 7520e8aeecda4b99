"""Deadlock: tasks in the queue that would wait for each other for ever.

The question is that of the banker's algorithm, asked of a queue with a fixed order: if every task that does not wait
gives back what it holds, can all who wait be served in their turn, each giving back what it held before and gets then?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import NamedTuple


class Held(NamedTuple):
    """A resource that somebody in the queue holds a lease on.

    Args:
        key: What identifies it.
        slots: How many slots it occupies until nobody holds it any more.
        retiring: Whether nobody new may lease it: who asks for it waits until nobody holds it any more.
    """

    key: Hashable
    slots: int
    retiring: bool = False


class Waiter(NamedTuple):
    """A place in the queue.

    Args:
        wants: The keys waited for, each with the slots it needs where it is not open.
        holds: What those who wait here hold, one for each lease.
    """

    wants: Mapping[Hashable, int]
    holds: Sequence[Held]


def is_deadlocked(queue: Sequence[Waiter], capacity: int) -> bool:
    """Whether somebody in the queue would never be served though every task that does not wait releases what it holds.

    Args:
        queue: Who waits, in the order of service.
        capacity: How many slots there are.
    """
    held = _HeldInQueue(queue)
    while queue:
        later: list[Waiter] = []
        for turn, waiter in enumerate(queue):
            if held.is_any_retiring(waiter.wants):
                later.append(waiter)  # waits until that has retired, and holds up nobody
            elif held.slots_missing(waiter.wants) > capacity - held.slots:
                later += queue[turn:]  # holds up everybody behind
                break
            else:
                held.release(waiter.holds)
        if len(later) == len(queue):
            return True
        held.retire()
        queue = later
    return False


def order_of_service(queue: Sequence[Waiter], capacity: int) -> list[int] | None:
    """An order in which all in the queue would be served, as near to theirs as may be; `None` where there is none.

    Args:
        queue: Who waits, in the order of service so far.
        capacity: How many slots there are.

    Returns:
        Places in `queue`.
    """
    held = _HeldInQueue(queue)
    left = list(range(len(queue)))
    order: list[int] = []
    while left:
        turn = next((turn for turn in left if held.can_serve(queue[turn].wants, capacity)), None)
        if turn is not None:
            held.release(queue[turn].holds)
            left.remove(turn)
            order.append(turn)
        elif not held.retire():
            return None
    return None if is_deadlocked([queue[turn] for turn in order], capacity) else order


class _HeldInQueue:
    """What those in the queue hold whose turn has not come yet."""

    def __init__(self, queue: Sequence[Waiter]) -> None:
        self._leases = Counter(held for waiter in queue for held in waiter.holds)
        self._retiring = {held.key for held in self._leases if held.retiring}
        self._retired: list[Held] = []
        self._keys = {held.key for held in self._leases}
        self.slots = sum(held.slots for held in self._leases)

    def is_any_retiring(self, keys: Collection[Hashable]) -> bool:
        return not self._retiring.isdisjoint(keys)

    def slots_missing(self, wants: Mapping[Hashable, int]) -> int:
        """How many slots it takes to open what is wanted and not held by anybody in the queue."""
        return sum(slots for key, slots in wants.items() if key not in self._keys)

    def can_serve(self, wants: Mapping[Hashable, int], capacity: int) -> bool:
        return not self.is_any_retiring(wants) and self.slots_missing(wants) <= capacity - self.slots

    def release(self, leases: Sequence[Held]) -> None:
        """A turn has come: what was held there is given back, and is closed where it was the last lease."""
        for held in leases:
            self._leases[held] -= 1
            if not self._leases[held]:
                if held.retiring:
                    self._retired.append(held)
                else:
                    self._close(held)

    def retire(self) -> bool:
        """Close what was to retire: not before, as who waits for that may stand in front of others and need slots.

        Returns:
            Whether there was any.
        """
        retired, self._retired = self._retired, []
        for held in retired:
            self._close(held)
        return bool(retired)

    def _close(self, held: Held) -> None:
        self.slots -= held.slots
        self._keys.discard(held.key)
        self._retiring.discard(held.key)
