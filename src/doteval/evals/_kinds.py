"""Classes by which it is that they are: what their metaclass says of whether two are equal, or hashes, is not asked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

HeldT = TypeVar("HeldT")
_MOST_KNOWN = 512


class Kinds:
    """Some classes, among which one is or is not.

    Args:
        kinds: Those.
    """

    __slots__ = ("_kinds", "ids")

    def __init__(self, kinds: tuple[Any, ...]) -> None:
        self._kinds = kinds
        self.ids = frozenset(map(id, kinds))
        """Those of them, for whoever asks often."""

    def __contains__(self, kind: object) -> bool:
        """Whether a class is among them."""
        return id(kind) in self.ids

    def are_of_all(self, values: Iterable[object]) -> bool:
        """Whether each of some values is of one of them."""
        return self.ids.issuperset(map(id, map(type, values)))

    def __iter__(self) -> Iterator[Any]:
        """Them, in their order."""
        return iter(self._kinds)


class ByKind(MutableMapping[Any, HeldT]):
    """What is known by class.

    Args:
        held: What is known at first.
    """

    def __init__(self, held: Mapping[Any, HeldT] | None = None) -> None:
        self._held: dict[int, tuple[Any, HeldT]] = {}
        self.update(held or {})

    def __getitem__(self, kind: Any) -> HeldT:
        """What is known of a class."""
        return self._held[id(kind)][1]

    def __setitem__(self, kind: Any, value: HeldT) -> None:
        """Something is known of a class."""
        self._held[id(kind)] = kind, value

    def __delitem__(self, kind: Any) -> None:
        """Nothing is known of a class any more."""
        del self._held[id(kind)]

    def __contains__(self, kind: object) -> bool:
        """Whether something is known of a class."""
        return id(kind) in self._held

    def __iter__(self) -> Iterator[Any]:
        """The classes, in the order in which they were met."""
        return (kind for kind, _ in [*self._held.values()])

    def __len__(self) -> int:
        """How many there are."""
        return len(self._held)

    def clear(self) -> None:
        """Nothing is known of any."""
        self._held.clear()


def known_by_kind(found: Callable[[Any], HeldT]) -> Callable[[Any], HeldT]:
    """A function of classes that is called once for each, as long as there are not too many."""
    known: ByKind[HeldT] = ByKind()

    @functools.wraps(found)
    def look(kind: Any) -> HeldT:
        try:
            return known[kind]
        except KeyError:  # or another thread has just forgotten all
            held = found(kind)
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[kind] = held
            return held

    return look
