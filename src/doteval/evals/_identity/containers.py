"""Methods with the names of those that change containers: whether they are read of containers, or of objects."""

from __future__ import annotations

import builtins
import functools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from types import FunctionType, NoneType
from typing import Any

from .._kinds import ByKind, Kinds
from .code import Code
from .found import defaults_of, is_librarys, variable_of
from .looks import class_of
from .state import MISSING, State, behind
from .use import Use
from .uses import ATTRIBUTE, EVERYTHING, WRITING, Steps

_INTO = {("get",), ("setdefault",)}
_CONTAINERS = Kinds((list, dict, set, deque, defaultdict, Counter, OrderedDict))


class Unclear:
    """Methods with such names that are read of what may be an object with methods of its own.

    Args:
        state: What is written.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._held: dict[str, ByKind[None]] = {}
        """The classes of what objects hold, by attribute."""
        self._left: list[tuple[Callable[[], bool], str, Use]] = []
        """The methods, each with what tells whether it is read of a container."""

    def hold(self, attribute: str, value: object) -> None:
        """An object, or a class, has an attribute."""
        self._held.setdefault(attribute, ByKind())[class_of(value)] = None

    def note(self, function: FunctionType, code: Code, use: Use) -> None:
        """A function can be run."""
        for name, way, method in code.changing:
            is_containers: Callable[[], bool] = bool
            if name:
                is_containers = functools.partial(self._leads_to_container, function, name, way)
            elif len(way) == 1 and way[0][0] == ATTRIBUTE:
                is_containers = functools.partial(self._has_containers, way[0][1])
            self._left.append((is_containers, method, use))

        defaults = defaults_of(function)
        for name, method in code.given_changing:
            is_container = class_of(defaults.get(name)) in _CONTAINERS
            self._left.append((functools.partial(bool, is_container), method, use))

    def note_made(self, function: FunctionType, name: str, path: tuple[str, ...], method: str, use: Use) -> bool:
        """Whether a method is read of what a container's own method returns, which is looked at later."""
        found = variable_of(function, name)
        value: object = getattr(builtins, name, None) if found is None else found[1]
        if path == ("copy",) and method in WRITING and class_of(value) in _CONTAINERS:
            return True
        if path not in _INTO or method not in WRITING or class_of(value) not in _CONTAINERS:
            return False
        is_containers = functools.partial(self._leads_to_container, function, name, (EVERYTHING,))
        self._left.append((is_containers, method, use))
        return True

    def settle(self) -> list[tuple[str, Use]]:
        """Those that are read of objects; call it when everything else is known."""
        found = [(method, use) for is_containers, method, use in self._left if not is_containers()]
        self._left.clear()
        return found

    def _has_containers(self, attribute: str) -> bool:
        """Whether all objects that have such an attribute hold containers in it."""
        return all(kind in _CONTAINERS for kind in self._held.get(attribute, (NoneType,)))

    def _leads_to_container(self, function: FunctionType, name: str, way: Steps) -> bool:
        """Whether a way leads to a container, or into one that the run fills."""
        found = variable_of(function, name)
        value: Any = MISSING if found is None else found[1]
        for step in way:
            if class_of(value) in _CONTAINERS and step[0] != ATTRIBUTE:
                written = self._state.keys_in(value)
                return self._state.hides_content(value) or (bool(written) if step == EVERYTHING else step[1] in written)
            value = behind(value, step)
        return value is not MISSING and value is not None and is_librarys(value)
