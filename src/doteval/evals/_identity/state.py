"""What the code that can be run writes: it is state of the run, and no result depends on how it began."""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence, MutableSet
from types import CellType
from typing import Any

from .._kinds import ByKind, Kinds
from .library import is_library_class
from .looks import ATOMS, attribute_of, attributes_of, class_of, is_class, is_module
from .uses import ATTRIBUTE, EVERYTHING, KEY, Steps

_CONTAINERS = (MutableMapping, MutableSequence, MutableSet, deque)
_PLAIN, _LISTS = Kinds((dict, list, tuple)), Kinds((list, tuple))
_NOTHING: frozenset[Any] = frozenset()
_MOST = 10_000
"""In how many items of a container it is looked for what is written of one of them."""
MISSING = object()
"""Where there is nothing."""


class State:
    """What is written, each by what it is a part of: a mapping and a key, an object and an attribute, a variable."""

    def __init__(self) -> None:
        self._hidden: dict[int, set[tuple[str, Any]]] = {}
        self._own: ByKind[set[str]] = ByKind()
        self._computed_of: ByKind[frozenset[str]] = ByKind()
        self._kept: list[object] = []
        self._left_out: dict[tuple[int, str], object] = {}

    def hide(self, owner: object, step: tuple[str, Any]) -> None:
        """A part of something is written."""
        self._kept.append(owner)
        self._hidden.setdefault(id(owner), set()).add(step)

    def hide_variable(self, owner: CellType | Mapping[str, Any], name: str) -> None:
        """A free or a global variable is written."""
        self.hide(owner, (ATTRIBUTE, name))

    def hide_own(self, kind: type[Any], name: str) -> None:
        """All objects of a class write an attribute of theirs."""
        self._own.setdefault(kind, set()).add(name)

    def hides_variable(self, owner: object, name: str) -> bool:
        """Whether a variable is written."""
        return (ATTRIBUTE, name) in self._hidden.get(id(owner), _NOTHING)

    def hides_content(self, owner: object) -> bool:
        """Whether all that a container holds may be written."""
        return EVERYTHING in self._hidden.get(id(owner), _NOTHING)

    def leave_out(self, found: Iterable[tuple[object, str]]) -> None:
        """Attributes of classes, and variables, that are nothing: none but these."""
        self._left_out = {(id(owner), name): owner for owner, name in found}

    def leaves_out(self, owner: object, name: str) -> bool:
        """Whether one is nothing."""
        return (id(owner), name) in self._left_out

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written."""
        return not self._hidden and not self._own

    def writes_within(self, owner: object) -> bool:
        """Whether something of what a container holds is written."""
        return id(owner) in self._hidden

    def keys_in(self, owner: object) -> frozenset[object]:
        """The keys of a mapping, or the places of a sequence, that are written."""
        found = self._hidden.get(id(owner))
        return _NOTHING if found is None else frozenset(name for kind, name in found if kind == KEY)

    def attributes_in(self, owner: object) -> frozenset[str]:
        """The attributes of an object, or of a class, that are written."""
        kind = class_of(owner)
        found = {name for sort, name in self._hidden.get(id(owner), _NOTHING) if sort == ATTRIBUTE}
        for each in kind.__mro__:
            found |= self._own.get(each, _NOTHING)
        return frozenset(found)

    def mark(self, owner: object, steps: Steps) -> object:
        """What a way leads to is written; gives back the value that it is written into, as far as there is one."""
        for place, step in enumerate(steps[:-1]):
            if step == EVERYTHING and class_of(owner) in _PLAIN:  # each of them, and no more of the others
                self._mark_items(owner, steps[place + 1 :])
                return owner
            inner = behind(owner, step)
            if inner is MISSING or class_of(inner) in ATOMS:
                return self._mark_part(owner, step)
            owner = inner
        return self._mark_part(owner, steps[-1])

    def _mark_part(self, owner: object, step: tuple[str, Any]) -> object:
        kind, name = step
        if kind == ATTRIBUTE:
            self.hide(vars(owner) if is_module(owner) else owner, step)
        elif _is_container(owner):
            has_key = _is_mapping(owner) or isinstance(name, int)
            self.hide(owner, step if kind == KEY and has_key else EVERYTHING)
        return owner

    def _mark_items(self, owner: Any, steps: Steps) -> None:
        items = owner.values() if class_of(owner) is dict else owner
        for item in [*items][:_MOST]:
            self.mark(item, steps)

    def computed_in(self, kind: type[Any]) -> frozenset[str]:
        """The attributes that objects of a class compute once, of others."""
        if kind not in self._computed_of:
            self._computed_of[kind] = frozenset(
                name
                for each in kind.__mro__
                if not is_library_class(each)
                for name, value in [*vars(each).items()]
                if issubclass(class_of(value), functools.cached_property)
            )
        return self._computed_of[kind]


def _is_mapping(value: object) -> bool:
    return issubclass(class_of(value), Mapping)


def _is_container(value: object) -> bool:
    return issubclass(class_of(value), _CONTAINERS)


def behind(owner: Any, step: tuple[str, Any]) -> object:
    """What a step leads to, without running anything of anybody's."""
    kind, name = step
    if kind == ATTRIBUTE:
        if is_module(owner):
            return vars(owner).get(name, MISSING)
        if name == "__class__":
            return class_of(owner)
        if not is_class(owner):
            held: Mapping[str, Any] = attribute_of(owner, "__dict__") or {}
            found = held[name] if name in held else attributes_of(owner).get(name, MISSING)
            if found is not MISSING:
                return found
        kinds = owner.__mro__ if is_class(owner) else class_of(owner).__mro__
        return next((vars(each)[name] for each in kinds if name in vars(each)), MISSING)
    if class_of(owner) in _LISTS and isinstance(name, int):
        return owner[name] if -len(owner) <= name < len(owner) else MISSING
    is_mapping = issubclass(class_of(owner), dict) and not issubclass(class_of(owner), defaultdict)
    if kind == KEY and is_mapping:  # of the other one, reading writes as well
        return dict[Any, Any].get(owner, name, MISSING)
    return MISSING
