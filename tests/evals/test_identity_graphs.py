"""Objects that know each other: looked at in little time, however many ways lead through them, and each counts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from tests.evals.identity_kinds import Plain

from doteval.evals._identity.looks import digest_of
from doteval.evals._identity.walk import Walk


@dataclass
class Node:
    """One of a graph."""

    text: Any
    near: Any = field(default_factory=list[Any])


class Linked:
    """One of a list that is linked in both directions."""

    def __init__(self, text: Any) -> None:
        self.text, self.before, self.after = text, None, None


def peers(texts: Sequence[Any]) -> Any:
    nodes = [Node(text) for text in texts]
    for node in nodes:
        node.near = [each for each in nodes if each is not node]
    return nodes[0]


def grid(texts: Sequence[Any]) -> Any:
    nodes = {divmod(place, 6): Node(text) for place, text in enumerate(texts)}
    for (row, column), node in nodes.items():
        beside = ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1))
        node.near = [nodes[place] for place in beside if place in nodes]
    return nodes[0, 0]


def linked(texts: Sequence[Any]) -> Any:
    nodes: list[Any] = [Linked(text) for text in texts]
    for one, other in pairwise(nodes):
        one.after, other.before = other, one
    return nodes[0]


def layers(texts: Iterable[Any]) -> Any:
    below: Any = ()
    for text in texts:
        below = (Plain([text, below]), Plain([below, "other"]))
    return below


def lists(texts: Iterable[Any]) -> Any:
    below: Any = []
    for text in texts:
        below = [below, text, {"again": below}]
    return below


def looked_at(value: object) -> tuple[dict[str, str], int]:
    walk = Walk()
    begun = walk.left_to_see
    walk.add("it", value)
    return {**walk.parts}, begun - walk.left_to_see


@pytest.mark.parametrize(("make", "count"), [(peers, 12), (grid, 36), (linked, 150), (layers, 40), (lists, 40)])
def test_objects_that_know_each_other_count_each(make: Callable[[Sequence[str]], Any], count: int) -> None:
    texts = [f"text {place}" for place in range(count)]
    found, steps = looked_at(make(texts))
    assert (found, steps) == looked_at(make(texts))
    assert steps < 1_000_000
    for place in (0, count // 2, count - 1):
        edited = [*texts]
        edited[place] = "another"
        assert looked_at(make(edited))[0] != found


@pytest.mark.parametrize("count", [10, 600, 8000])
def test_which_of_two_that_many_share_one_has_counts(count: int) -> None:
    """However many they are: each says which it is."""
    rubrics = {"text": "one", "more": [{}]}, {"text": "other", "more": [{}]}
    items = [{"rubric": rubrics[place % 2]} for place in range(count)]
    found, _ = looked_at(items)
    for place in (0, count // 2, count - 1):
        edited = [*items]
        edited[place] = {"rubric": rubrics[(place + 1) % 2]}
        assert looked_at(edited)[0] != found


class Member:
    """One of a set, whose order is that in which it was filled."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __hash__(self) -> int:
        return 0


Made = tuple[str, tuple[int, ...]]
"""A kind of value, and the numbers of those that it holds."""
FILLED = ("list", "dict", "object")
"""Kinds that can hold what comes after them, or themselves."""


def drawn(random: Random, *, circles: bool) -> list[Made]:
    """What shares what: narrow and deep, or wide."""
    made: list[Made] = [("text", ()), ("text", ())]
    count = random.choice([30, 60])
    for place in range(2, count):
        kind = random.choice([*FILLED, "tuple", "set", "text"])
        first = max(0, place - random.choice([3, 10, place]))
        end = count if circles and kind in FILLED and random.random() < 0.4 else place
        held = 0 if kind == "text" else random.choice([1, 2, 3, 60])
        made.append((kind, tuple(random.randrange(first, end) for _ in range(held))))
    return [*made, ("list", tuple(range(len(made))))]


def built(made: Sequence[Made], texts: Mapping[int, str], random: Random) -> Any:
    """The last of them; what stands in no order is put together in another one each time."""
    empty: dict[str, Callable[[], Any]] = {"list": list, "dict": dict, "object": lambda: Plain([])}
    found: list[Any] = [empty[kind]() if kind in FILLED else texts.get(at) for at, (kind, _) in enumerate(made)]
    for place, (kind, held) in enumerate(made):
        if kind == "tuple":
            found[place] = tuple(found[each] for each in held)
        elif kind == "set":
            members = [Member(found[each]) for each in held]
            random.shuffle(members)
            found[place] = {*members}
    for place, (kind, held) in enumerate(made):
        inner = [found[each] for each in held]
        match kind:
            case "list":
                found[place] += inner
            case "dict":
                found[place] |= {f"key {number}": each for number, each in enumerate(inner)}
            case "object":
                vars(found[place]).update(vars(Plain(inner)))
            case _:
                pass
    return found[-1]


def told(made: Sequence[Made], texts: Mapping[int, str]) -> str:
    """What it comes to when everything is written out, deep enough to tell apart whatever is not the same."""
    found = [""] * len(made)
    for _ in range(2 * len(made)):
        inner = [[found[each] for each in held] for _, held in made]
        found = [
            digest_of((kind, texts.get(place), sorted(each) if kind == "set" else each))
            for place, ((kind, _), each) in enumerate(zip(made, inner, strict=True))
        ]
    return found[-1]


@pytest.mark.parametrize("circles", [False, True])
@pytest.mark.parametrize("seed", range(int(os.environ.get("GRAPHS", "6"))))
def test_what_many_share_counts_as_if_each_had_its_own(seed: int, circles: bool) -> None:
    """However it is shared, and in whatever order it is met, beside a model that writes all of it out.

    What leads to one of two that are equal may lead to the other.
    """

    def fingerprints(made: Sequence[Made], texts: Mapping[int, str]) -> dict[str, str]:
        found, steps = looked_at(built(made, texts, random))
        assert steps < 100_000
        return {name: each for name, each in found.items() if "order of" not in name}  # that may be another one

    random = Random(seed)
    made = drawn(random, circles=circles)
    texts = {place: random.choice("ab") for place, (kind, _) in enumerate(made) if kind == "text"}
    found = fingerprints(made, texts)
    assert fingerprints(made, texts) == found
    for _ in range(5):
        place = random.choice([each for each, (kind, held) in enumerate(made) if held or kind == "text"])
        edited, others = [*made], dict(texts)
        kind, held = made[place]
        if held:
            inner = [*held]
            end = len(made) - 1 if circles and kind in FILLED else place
            inner[random.randrange(len(inner))] = random.randrange(end)
            edited[place] = kind, tuple(inner)
        else:
            others[place] = "b" if texts[place] == "a" else "a"
        is_same = told(edited, others) == told(made, texts)
        assert (fingerprints(edited, others) == found) == is_same


def turns(end: str, length: int) -> Any:
    """What is followed by what, as in a dialogue."""
    turn: Any = {"text": end}
    for _ in range(length):
        turn = {"text": "and", "next": turn}
    return turn


def both_ways(end: str, length: int) -> Any:
    return linked([*["and"] * length, end])


def calls(end: str, length: int) -> Any:
    """Functions of one name around each other, as middleware is."""

    def around(inner: Callable[[], str]) -> Callable[[], str]:
        return lambda: inner() + "!"

    made: Callable[[], str] = lambda: end  # noqa: E731 - of another name
    for _ in range(length):
        made = around(made)
    return made


@pytest.mark.parametrize("length", [5, 150])
@pytest.mark.parametrize("make", [turns, both_ways, calls])
def test_what_is_far_away_counts(make: Callable[[str, int], Any], length: int) -> None:
    """Which of two that differ only at their ends is where."""
    one, other = ([make(end, length) for end in ends] for ends in (("a", "b"), ("b", "a")))
    found = looked_at(one)[0]
    assert looked_at([make("a", length), make("b", length)])[0] == found
    assert looked_at(other)[0] != found


def test_which_way_leads_back_counts() -> None:
    """What holds it, or what holds that."""

    def linked_to(which: int) -> list[Any]:
        nodes: list[Any] = [[], ["a"], ["b"]]
        nodes[0].append(nodes[1])
        nodes[1].append(nodes[2])
        nodes[2].append(nodes[which])
        return nodes[0]

    assert len({str(looked_at(linked_to(which))[0]) for which in range(3)}) == 3
