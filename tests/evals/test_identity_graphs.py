"""Objects that know each other: looked at in little time, however many ways lead through them, and each counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from tests.evals.identity_kinds import Plain

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
