"""Values that hold much: each is said once, however many ways lead to it, and others refer to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .._kinds import Kinds
from .names import Reference, inner_mark
from .places import Path, is_nearer

_SMALL = 16
"""How much a value holds, as often as ways lead to it, that is said wherever it is met; without end in a circle."""
_DEEP = 6
"""How many of these are in each other, in what is small."""
_LENGTH = 64
"""How many plain items count as one that holds others."""
_SIZED = Kinds((list, tuple, dict, set, frozenset))
_MUCH = 1 << 60


class Large(NamedTuple):
    """A value that is said once.

    Args:
        value: The value.
        path: The way to it.
        level: How many containers that make their items hold it.
        is_provider: Whether it is of what a provider says of itself.
    """

    value: Any
    path: Path
    level: int
    is_provider: bool


class Ways:
    """The ways to the values that are said in a part.

    Whether a value is said where it is met depends on what it holds, and not on what was met before: what stands in no
    order is the same in every one. That it is small is tried, and what came of it forgotten where it is not.
    """

    def __init__(self) -> None:
        self.orders = 0
        """In which orders mappings are, as a sum that says nothing of where they are."""
        self.left = _MUCH
        """How much more is looked at before it is known that what is tried is not small; then what is said is
        forgotten."""
        self.is_trying = False
        """Whether it is tried whether a value is small."""
        self._deepest = 0
        self._large: dict[tuple[int, bool], int] = {}
        self._said: list[Large | str] = []
        self._before = 0, 0

    def try_it(self, depth: int) -> None:
        """What is looked at now, in so many others, may be small."""
        self.is_trying, self.left, self._before = True, _SMALL, (self.orders, len(self._said))
        self._deepest = depth + _DEEP

    def spend(self, value: Any, kind: type[Any], depth: int) -> None:
        """A value is looked at that is in so many others."""
        self.left -= 1 + (len(value) // _LENGTH if id(kind) in _SIZED.ids else 0)
        if self.is_trying and depth > self._deepest:
            self.left = -1

    def has_tried(self) -> bool:
        """Whether it was small."""
        is_over = self.left < 0
        self.is_trying, self.left = False, _MUCH
        if is_over:
            self.orders, said = self._before
            del self._said[said:]
        return not is_over

    def reference_to(self, value: object, path: Path, *, is_provider: bool) -> Reference | None:
        """What refers to a value, if that is known to be large."""
        if not self._large or (place := self._large.get((id(value), is_provider))) is None:
            return None
        known = self._said[place]
        if isinstance(known, Large) and is_nearer(path, known.path):
            self._said[place] = known._replace(path=path)
        if self.is_trying:
            self.left = -1
        return inner_mark(place)

    def refer_to(self, large: Large) -> Reference:
        """What refers to a value from now on."""
        self._large[id(large.value), large.is_provider] = len(self._said)
        self._said.append(large)
        return inner_mark(len(self._said) - 1)

    def refer_to_text(self, text: str) -> Reference:
        """What refers to what was said."""
        self._said.append(text)
        return inner_mark(len(self._said) - 1)

    def said(self) -> Iterator[Large | str]:
        """What is referred to, also what is added meanwhile, in the order of the references."""
        yield from self._said
