"""Copies of what a row holds, so that what one attempt puts into it is not there in the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableSequence, MutableSet
from copy import deepcopy
from enum import Enum
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeAlias, cast

from .._digests import reduced
from .._kinds import Kinds, known_by_kind

_ATOMS = Kinds((str, int, float, bool, bytes, complex, type(None)))
_CONTAINERS = (list, dict, tuple, set, Mapping, MutableSequence, MutableSet, SimpleNamespace)
_How: TypeAlias = tuple[Callable[..., Any], Iterable[Any], Any, Iterable[Any] | None, Iterable[tuple[Any, Any]] | None]


class Copies:
    """Copies for one attempt: what a row holds in two places is one thing in its copy, too.

    Containers are copied, whatever their classes. All else is what it is, data classes among it: whether one is another
    may be asked by ``is``, and what it has may end with it.
    """

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._kept: list[object] = []
        """What there are copies of, as nothing else may get its number."""

    def of(self, value: Any) -> Any:
        """A copy; of what is nested deeper than functions may call each other, there is none."""
        try:
            return self._of(value)
        except RecursionError:
            self._made.clear()  # of what was begun, a part is missing
            return value

    def _of(self, value: Any) -> Any:
        kind: Any = type(cast("object", value))
        if kind in _ATOMS:
            return value
        if id(value) in self._made:
            return self._made[id(value)]
        if kind is list:
            if _ATOMS.are_of_all(value):
                return self._noted(value, value.copy())
            copy = self._noted(value, [])
            copy.extend(map(self._of, value))
            return copy
        if kind is dict:
            if _ATOMS.are_of_all(value.values()):
                return self._noted(value, value.copy())
            copy = self._noted(value, {})
            for key, item in value.items():
                copy[key] = self._of(item)
            return copy
        if kind is tuple:
            items = tuple(map(self._of, value))
            # One that holds itself, in a list, has a copy by now.
            return self._made.get(id(value)) or self._noted(value, items)
        return self._of_other(value, kind) if _is_copied(kind) else value

    def _noted(self, value: object, copy: Any) -> Any:
        self._made[id(value)] = copy
        self._kept.append(value)
        return copy

    def _of_other(self, value: Any, kind: Any) -> Any:
        try:
            if kind is set:
                return self._noted(value, set(value))
            if kind is MappingProxyType:
                return self._noted(value, MappingProxyType(self._of(dict(value))))
            if hasattr(kind, "__deepcopy__"):
                return deepcopy(value, self._made)
            return self._made_again(value, reduced(value, kind))
        except RecursionError:
            raise
        except Exception:  # it cannot be copied
            return self._noted(value, value)

    def _made_again(self, value: Any, how: Any) -> Any:
        """A copy that is made as pickle would make it."""
        if isinstance(how, str):  # the name of something there is one of
            return self._noted(value, value)
        function, args, state, items, pairs = cast("_How", (*how, None, None, None)[:5])
        copy: Any = self._noted(value, function(*map(self._of, args)))
        if state is not None:
            _set_state(copy, self._of(state))
        for item in items or ():
            copy.append(self._of(item))
        for key, item in pairs or ():
            copy[key] = self._of(item)
        return copy


def _set_state(copy: Any, state: Any) -> None:
    if hasattr(copy, "__setstate__"):
        copy.__setstate__(state)
        return
    is_both = isinstance(state, tuple)
    held, slots = cast("tuple[dict[str, Any] | None, dict[str, Any]]", state if is_both else (state, {}))
    if held is not None:
        cast("dict[str, Any]", vars(copy)).update(held)
    for name, each in slots.items():
        setattr(copy, name, each)


@known_by_kind
def _is_copied(kind: type[Any]) -> bool:
    """Whether it is a container; one that does something when it ends is its maker's alone."""
    ends: object = getattr(kind, "__del__", None)
    try:
        return issubclass(kind, _CONTAINERS) and not issubclass(kind, Enum) and ends is None
    except Exception:  # its metaclass does not let it be looked up
        return False
