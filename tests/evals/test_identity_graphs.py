"""Objects that know each other: looked at in little time, however many ways lead through them, and each counts."""

from __future__ import annotations

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
"""A kind of value, and the numbers of those that it holds, which come before it."""
KINDS = ("list", "tuple", "dict", "object", "set", "text")


def drawn(random: Random) -> list[Made]:
    """What shares what, without a circle: narrow and deep, or wide."""
    made: list[Made] = [("text", ()), ("text", ())]
    for _ in range(random.choice([30, 60])):
        kind = random.choice(KINDS)
        near = random.choice([3, 10, len(made)])
        count = 0 if kind == "text" else random.choice([1, 2, 3, 60])
        made.append((kind, tuple(random.choice(range(max(0, len(made) - near), len(made))) for _ in range(count))))
    return [*made, ("list", tuple(range(len(made))))]


def built(made: Iterable[Made], texts: Mapping[int, str], random: Random) -> Any:
    """The last of them; what stands in no order is put together in another one each time."""
    found: list[Any] = []
    for place, (kind, held) in enumerate(made):
        inner = [found[each] for each in held]
        match kind:
            case "list":
                found.append(inner)
            case "tuple":
                found.append(tuple(inner))
            case "dict":
                found.append({f"key {number}": each for number, each in enumerate(inner)})
            case "object":
                found.append(Plain(inner))
            case "set":
                members = [Member(each) for each in inner]
                random.shuffle(members)
                found.append({*members})
            case _:
                found.append(texts.get(place, "a text"))
    return found[-1]


def told(made: Iterable[Made], texts: Mapping[int, str]) -> str:
    """What it comes to when everything is written out, as a fingerprint."""
    found: list[str] = []
    for place, (kind, held) in enumerate(made):
        inner = [found[each] for each in held]
        if kind == "text":
            inner = [texts.get(place, "a text")]
        found.append(digest_of((kind, sorted(inner) if kind == "set" else inner)))
    return found[-1]


@pytest.mark.parametrize("seed", range(40))
def test_what_many_share_counts_as_if_each_had_its_own(seed: int) -> None:
    """However it is shared, and in whatever order it is met, beside a model that writes all of it out.

    What leads to one of two that are equal may lead to the other.
    """
    random = Random(seed)
    made = drawn(random)
    texts = {place: random.choice("ab") for place, (kind, _) in enumerate(made) if kind == "text"}
    found, steps = looked_at(built(made, texts, random))
    assert steps < 200_000
    assert looked_at(built(made, texts, random))[0] == found
    for _ in range(8):
        place = random.choice([each for each, (kind, held) in enumerate(made) if held or kind == "text"])
        edited, others = [*made], dict(texts)
        kind, held = made[place]
        if held:
            inner = [*held]
            inner[random.randrange(len(inner))] = random.randrange(place)
            edited[place] = kind, tuple(inner)
        else:
            others[place] = "b" if texts[place] == "a" else "a"
        is_same = told(edited, others) == told(made, texts)
        assert (looked_at(built(edited, others, random))[0] == found) == is_same


def test_which_way_leads_back_counts() -> None:
    """What holds it, or what holds that."""

    def linked_to(which: int) -> list[Any]:
        nodes: list[Any] = [[], ["a"], ["b"]]
        nodes[0].append(nodes[1])
        nodes[1].append(nodes[2])
        nodes[2].append(nodes[which])
        return nodes[0]

    assert len({str(looked_at(linked_to(which))[0]) for which in range(3)}) == 3
