"""What code may write, and no run was seen to: whatever changes in it is noticed, and order only where it counts."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.evals.test_identity_values import fingerprint

from doteval.evals._results.identity import changes, with_what_was_written

SIZES = (1, 99, 100, 101, 10_001)


class Role:
    """A key whose text has an address in it."""

    def __init__(self, name: str) -> None:
        self.name = name


KEYS: dict[str, Callable[[int], Any]] = {
    "text": lambda number: f"key {number}",
    "name": lambda number: f"key_{number}",
    "number": lambda number: number,
    "tuple": lambda number: ("key", number),
    "set": lambda number: frozenset({f"a {number}", f"b {number}", f"c {number}"}),
    "object": lambda number: Role(f"key {number}"),
}
MAPPINGS: dict[str, Callable[[dict[Any, Any]], Any]] = {
    "dict": dict,
    "OrderedDict": OrderedDict,
    "defaultdict": lambda items: defaultdict(str, items),
    "Counter": Counter,
}
OTHERS: dict[str, Callable[[list[str]], Any]] = {"list": list, "deque": deque, "set": set}


def asking(held: Any) -> Callable[[str], Any]:
    """What reads a container, and may write it."""

    def learn(word: str) -> None:
        if word.startswith("!"):
            if isinstance(held, dict):
                held[word] = word
            elif isinstance(held, set):
                held.add(word)
            else:
                held.append(word)

    def ask(question: str) -> Any:
        learn(question)
        return len(held)

    return ask


def told(text: str, default: list[str]) -> Any:
    """A data class, handed over; where it says nothing of itself, `dataclasses` writes its defaults there."""

    @dataclass(frozen=True)
    class Policy:
        allowed: frozenset[str] = frozenset(default)

    if text:
        Policy.__doc__ = text

    def ask(question: str) -> Any:
        return [Policy, len(question)]

    return fingerprint(ask)


@pytest.mark.parametrize("kind", [*MAPPINGS, *OTHERS])
@pytest.mark.parametrize("size", SIZES)
def test_one_item_that_changes_is_noticed_whatever_the_size(kind: str, size: int) -> None:
    """Also where there is one more, or one less; and what is as it was is the same."""
    place = size * 3 // 4

    def made(count: int, text: str) -> Any:
        items = [f"item {number}" for number in range(count)]
        items[min(place, count - 1)] = text
        held = MAPPINGS[kind](dict(enumerate(items))) if kind in MAPPINGS else OTHERS[kind](items)
        return fingerprint(asking(held))

    before = made(size, "one")
    assert not changes(before, made(size, "one"))
    for count in {size, size + 1, max(size - 1, 1)}:
        assert changes(before, made(count, "another")), count
        assert changes(made(count, "another"), before), count


@pytest.mark.parametrize("size", [3, 99, 101])
@pytest.mark.parametrize("kind", KEYS)
def test_what_is_behind_a_key_is_noticed_whatever_the_key(kind: str, size: int) -> None:
    """Keys are known by what they are, and not by where they lie; their order does not count."""

    def made(text: str, seed: int) -> Any:
        order = [*range(size)]
        random.Random(seed).shuffle(order)
        return fingerprint(asking({KEYS[kind](number): text if number == 1 else "same" for number in order}))

    assert not changes(made("one", 0), made("one", 1))
    assert changes(made("one", 0), made("another", 0))
    assert changes(made("one", 0), made("another", 1))


@pytest.mark.parametrize("size", [3, 99, 101, 10_001])
def test_the_order_of_a_set_does_not_count(size: int) -> None:
    """It is another one in each process."""
    items = [f"item {number}" for number in range(size)]
    another = {*reversed(items)}  # of those that would lie at one place, another comes first
    assert size < 100 or [*another] != [*set(items)]
    assert not changes(fingerprint(asking(set(items))), fingerprint(asking(another)))


@pytest.mark.parametrize("size", [98, 99, 100, 101])
def test_what_a_run_was_seen_to_write_is_state(size: int) -> None:
    """Also where a container comes to hold more than is looked at by item."""
    held = {f"key {number}": "same" for number in range(size)}
    ask = asking(held)
    before = fingerprint(ask)
    for number in range(3):
        ask(f"!{number}")
        kept = with_what_was_written(before, fingerprint(ask))
        assert not changes(kept, before)
        assert not changes(kept, fingerprint(ask))
    ask("!more")
    assert not changes(kept, fingerprint(ask))


def test_what_dataclasses_says_of_a_class_is_no_more_than_its_fields() -> None:
    """It writes sets in the order of the moment."""
    items = [f"item {number}" for number in range(100)]
    another = [*reversed(items)]
    assert [*frozenset(items)] != [*frozenset(another)]
    assert not changes(told("", items), told("", another))
    assert changes(told("", items), told("", items[1:]))
    assert changes(told("one", items), told("another", items))
