"""What is read of what is handed over: what functions and classes say of themselves, and what modules hold."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from types import FunctionType
from typing import Any

from .code import AS_KEYWORDS, Code
from .found import PLAIN, functions_of, imported_by, is_callable, variable_of
from .library import is_library_class
from .looks import attribute_of, class_of, is_class, is_module, type_name
from .ops import ANY
from .state import State, behind
from .uses import ATTRIBUTE, ITSELF, MODULES

_OF_MODULES = frozenset({"getattr", "vars"})
_OF_ITSELF = "globals"
_ELSEWHERE = frozenset({"__import__", "import_module", MODULES})
_MEMBERS = frozenset({"getmembers", "getmembers_static"})
"""By what code looks at all that a module holds."""
_SOURCES = frozenset({"getsource", "getsourcelines"})
_BINDS = frozenset(
    {
        *("__dict__", "__setattr__", "delattr", "eval", "exec", "globals", "patch", "reload", "run_module", "run_path"),
        *("setattr", "setitem", "vars"),
    }
)
_ORDER = frozenset({"__dict__", "vars"})
_SUBCLASSES = "__subclasses__"
_ALL = ("", "")
_FEW = 100
"""How many items of a container are looked at for tools among them."""


class Told:
    """What code reads which can be run."""

    def __init__(self) -> None:
        self.reads_docs = False
        """Whether it reads what functions and classes say of themselves, whichever they are."""
        self.reads_order = False
        """Whether it reads in which order members stand in a class."""
        self.binds_anything = False
        """Whether it may bind variables whose names do not stand in it as such."""
        self._reads_source = False
        self._reads_subclasses = False
        self._names: set[str] = set()
        """The attributes that it reads of what may be a module."""
        self._attributes: set[str] = set()
        self._put_together: set[tuple[str, str]] = set()
        """How the names begin, and end, that it reads of what may be a module, and that are known when it runs."""
        self._of_scopes: dict[int, set[tuple[str, str]]] = {}
        """The same of single ones."""
        self._scopes: dict[int, Mapping[str, Any]] = {}
        self._given: set[int] = set()
        """Those that are given to calls, each name by itself."""

    def note(self, function: FunctionType, code: Code, *, is_method: bool) -> None:
        """A function can be run.

        Args:
            function: The function.
            code: Its code.
            is_method: Whether its first argument is an object of the user's.
        """
        of_made = [attribute for *_, attribute in code.made]
        self.reads_docs |= code.reads_docs
        self._attributes |= code.told
        self.read((*code.attributes, *of_made, *(() if is_method else code.own_attributes)))
        self._names.update(code.own_attributes)
        asked = {*code.attributes, *code.own_attributes, *of_made}
        asked.update(each for name, path in code.reads for each in (name, *path))
        self.binds_anything |= not _BINDS.isdisjoint(asked)
        self._reads_source |= not _SOURCES.isdisjoint(asked)
        self._reads_subclasses |= _SUBCLASSES in asked
        self.reads_order |= not _ORDER.isdisjoint(asked)
        self._put_together |= {(begin, end) for called, begin, end in code.unknown if called in _OF_MODULES}
        self._put_together |= {_ALL} if not _MEMBERS.isdisjoint(asked) else set()
        for scope, *ends in scopes_of(function, code):
            self.hand_over(scope, *ends)
        if any(called == AS_KEYWORDS for called, *_ in code.unknown):
            self._given.add(id(function.__globals__))

    def read(self, names: Collection[str]) -> None:
        """Attributes are read of what may be a module."""
        self._names.update(names)
        self._put_together |= {_ALL} if "__dict__" in names else set()

    def hand_over(self, scope: Mapping[str, Any], *ends: tuple[str, str]) -> None:
        """A module of the user's is a value, of which anybody may read.

        Args:
            scope: What it holds.
            ends: How names begin, and end, that are read of this one.
        """
        self._scopes[id(scope)] = scope
        self._of_scopes.setdefault(id(scope), set()).update(ends)

    @property
    def scopes(self) -> list[Mapping[str, Any]]:
        """What those hold that are handed over."""
        return [*self._scopes.values()]

    def is_told(self, method: str) -> bool:
        """Whether what a method of that name says of itself is told to others."""
        return not self.reads_docs and not {method, ANY}.isdisjoint(self._attributes)  # there, all are

    def read_of(self, scope: Mapping[str, Any]) -> list[str]:
        """What is read of a module; where a name is known only when the code runs, all that it may be."""
        ends = self._put_together | self._of_scopes.get(id(scope), set())
        texts = [name for name in [*scope] if class_of(name) is str]
        return sorted(name for name in texts if name in self._names or _is_among(name, ends))

    def given_of(self, scope: Mapping[str, Any]) -> list[str]:
        """What may be read of a module besides, as all of it is given to a call; but nothing that we have made."""
        if id(scope) not in self._given:
            return []
        held = [(name, class_of(value)) for name, value in [*scope.items()] if class_of(name) is str]
        there = {name for name, kind in held if name[:1] != "_" and not kind.__module__.startswith("doteval.")}
        return sorted(there.difference(self.read_of(scope)))

    def subclasses_of(self, kind: type[Any]) -> list[type[Any]]:
        """The classes of the user's that are made of another one of theirs, where code asks for such."""
        return _made_of(kind) if self._reads_subclasses and not is_library_class(kind) else []

    def subclasses_at(self, value: Any, path: tuple[str, ...]) -> list[type[Any]]:
        """The same of the class of a library that code asks, which is behind a value."""
        if path[-1:] != (_SUBCLASSES,):
            return []
        for each in path[:-1]:
            value = attribute_of(value, each) if is_module(value) or is_class(value) else None
        return _made_of(value) if is_class(value) else []

    def source_of(self, value: Any) -> str:
        """The source text of what is handed over, where code asks for it; nothing where there is none."""
        try:
            return inspect.getsource(value) if self._reads_source else ""
        except Exception:  # whoever asks for it is told
            return ""


def _made_of(kind: type[Any]) -> list[type[Any]]:
    """The classes of the user's that are made of one; of two that are called the same, the one that is still there."""
    found: dict[str, list[type[Any]]] = {}
    for each in type.__subclasses__(kind):
        if not is_library_class(each):
            found.setdefault(type_name(each), []).append(each)
    there = {name: [each for each in alike if _is_there(each)] for name, alike in found.items()}
    return [each for name in sorted(found) for each in there[name] or found[name]]


def _is_there(kind: type[Any]) -> bool:
    held: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        held = attribute_of(held, name)
    return held is kind


def _is_among(name: str, ends: Iterable[tuple[str, str]]) -> bool:
    """Whether a name may be one that is put together."""
    is_pythons = name.startswith("__")
    return any(name.startswith(begin) and name.endswith(end) and not (is_pythons and not begin) for begin, end in ends)


def scopes_of(function: FunctionType, code: Code) -> Iterator[Any]:
    """The module that a function is in, where it asks for that; with how the names begin, and end, that it asks for."""
    ends = [(begin, end) for called, begin, end in code.unknown if called == _OF_ITSELF]
    is_given = any(called == AS_KEYWORDS for called, *_ in code.unknown)
    if ends or is_given or any(module == ITSELF for _, module, _ in code.imports):
        yield function.__globals__, *sorted(ends)


def handed_over(function: FunctionType, code: Code, state: State) -> Iterator[Any]:
    """What code hands over which it reads under a name or imports, or finds on a way from there."""
    for name, path in sorted(code.handed):
        found = variable_of(function, name)
        if found is not None and not state.hides_variable(found[0], name):
            yield from _at_the_end(found[1], path, state)
    for level, module, taken, path in sorted(code.handed_imports):
        for _, name, value in imported_by(function, level, module, (taken,) if taken else ()):
            if taken or "." not in name:
                yield from _at_the_end(value, path, state)


def _at_the_end(value: Any, path: tuple[str, ...], state: State) -> Iterator[Any]:
    for each in path:
        if each in state.attributes_in(value) or each in state.computed_in(class_of(value)):
            return
        value = behind(value, (ATTRIBUTE, each))
    yield value


def callable_in(value: Any, depth: int = 3) -> Iterator[type[Any]]:
    """The classes of the user's of what can be called in a container, as it may be a tool."""
    kind = class_of(value)
    if kind in PLAIN:
        for each in islice(value.values() if kind is dict else value, _FEW) if depth else ():
            yield from callable_in(each, depth - 1)
    elif not is_class(value) and not is_library_class(kind) and is_callable(kind):
        yield kind


def tells_of(value: Any, depth: int = 3) -> Iterator[Any]:
    """The functions and classes of the user's that say something of themselves to whoever is given a value."""
    kind = class_of(value)
    if is_class(value):
        yield value
    elif kind in PLAIN:
        for each in islice(value.values() if kind is dict else value, _FEW) if depth else ():
            yield from tells_of(each, depth - 1)
    elif not issubclass(kind, (property, functools.cached_property)):
        yield from (each for each, _ in functions_of(value))
        if not is_library_class(kind):
            yield kind


def unknown_to(code: Code) -> str | None:
    """What code asks for a module whose name nobody knows before it runs; `None` where there is nothing such."""
    return min((called for called, *_ in code.unknown if called in _ELSEWHERE), default=None)
