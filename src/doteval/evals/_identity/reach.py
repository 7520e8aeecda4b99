"""Which code can be run, and what that writes.

A function can be run that such code reads, or that a value holds; a method where its name is among the attributes that
such code reads, wherever the object comes from. What makes an object writes nothing of another one.
"""

from __future__ import annotations

import builtins
import functools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter, methodcaller
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .._kinds import ByKind, Kinds
from .._tabular import objects_in_table
from .aliases import is_alias
from .annotations import scopes_of_class
from .code import MAKES_CLASSES, read
from .containers import Unclear
from .found import (
    PLAIN,
    behind_modules,
    defaults_of,
    functions_of,
    holds_no_code,
    imported_by,
    is_librarys,
    variable_of,
    ways_of,
)
from .library import is_library, is_library_class
from .looks import ATOMS, INITIALISERS, attribute_of, class_of, is_class, is_function, is_module
from .members import arguments_of, types_of
from .methods import Method, Methods
from .registries import Reads, entered_and_not_read
from .state import State
from .told import Told, handed_over, tells_of
from .use import Use
from .uses import ATTRIBUTE, EVERYTHING, KEY, Steps
from .values import Values

_NO_CALLERS = frozenset({"abc", "builtins", "collections", "collections.abc", "enum", "typing", "typing_extensions"})
"""Modules whose classes call no methods of those that are made of them, but when they are told to."""
_BY_TEXT = Kinds((attrgetter, methodcaller))
_ABOVE = (0, 0)
"""That a value is held by others."""


class Reach(Values):
    """Finds what can be run from roots, and puts what it writes into the state."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._found = Methods()
        self._functions: dict[int, Use] = {}
        self._code: deque[Callable[[], None]] = deque()
        self._values: deque[Callable[[], object]] = deque()
        self._seen: dict[int, Use] = {}
        self._alive: list[object] = []
        self._objects: ByKind[list[object]] = ByKind()
        self._of_objects: ByKind[set[Steps]] = ByKind()
        self._of_classes: ByKind[set[Steps]] = ByKind()
        self._of_makers: list[tuple[object, str, Callable[[], object]]] = []
        """What makers write: it counts where the evaluation reads it."""
        self._read: set[tuple[int, str]] = set()
        self._unclear = Unclear(state)
        self._finding = self._find_in_modules, self._find_subclasses, self._find_documented, self._find_unclear
        self._use = Use.RUN
        self.told = Told()
        self._run: list[CodeType] = []
        """The code that is run for the evaluation, or for new objects."""
        self._known: set[tuple[int, str]] = set()
        self._documented: set[int] = set()
        self._alive_documented = 0

    # ---------------------------------------------------------------- roots

    def add(self, value: object) -> None:
        """A value that the evaluation is given."""
        self._of(value, ())

    def add_methods(self, names: Collection[str]) -> None:
        """Methods of such names may be called that are handed over."""
        self._found.read(Use.RUN, names)

    def add_function(self, function: FunctionType, *, makes: bool = False) -> None:
        """A function that is called, or one that makes a value, which is looked at afterwards."""
        if not makes:
            self._found.read(Use.RUN, [function.__name__])  # it may be a method of something else that is given
        self._call(function, Use.MAKE if makes else Use.RUN)

    def finish(self) -> None:
        """Find everything."""
        while True:
            if self._code:
                self._code.popleft()()
            elif not self._find_methods():
                if self._values:
                    self._values.popleft()()
                elif not any(find() for find in self._finding):
                    break
        for kind, objects in self._objects.items():
            for way in ways_of(self._of_objects, kind):
                for value in (*objects, *([kind] if len(way) > 1 else [])):
                    self.state.mark(value, way)
            for way in ways_of(self._of_classes, kind):
                self.state.mark(kind, way)
                for each in kind.__mro__ if len(way) == 1 else ():
                    self.state.hide(each, way[0])
        for owner, name, write in self._of_makers:
            if (id(owner), name) not in self._read:
                write()
        attributes = self._found.read_for(Use.RUN) | self._found.read_for(Use.INIT)
        reads = Reads(frozenset(attributes), frozenset(self._read), tuple(self._run))
        self.state.leave_out(entered_and_not_read(self._found.with_uses(), self._objects, reads))

    def reads(self, attributes: Collection[str]) -> bool:
        """Whether code that can be run reads any of these of anything; all of it is found first."""
        self.finish()
        return self._found.reads(attributes)

    # ---------------------------------------------------------------- functions

    def _call(self, function: FunctionType, use: Use) -> None:
        known = self._functions.get(id(function))
        if known is None or use < known:
            self._functions[id(function)] = use
            self._alive.append(function)
            self._code.append(functools.partial(self._follow, function, use, use))

    def _follow(self, function: FunctionType, use: Use, own: Use, kind: type[Any] | None = None) -> None:
        """Look at the code of a function.

        Args:
            function: The function.
            use: What it is run for.
            own: What the methods are run for that it calls on its first argument.
            kind: The class whose method it is.
        """
        code = read(function.__code__)
        self._run += [function.__code__] if use < Use.MAKE else []
        self._found.read(use, code.attributes)
        self.told.note(function, code, is_method=kind is not None)
        if kind is None:
            self._found.read(own, code.own_attributes)
        else:
            self._found.read_of_own(own, kind, code.own_attributes)
        self._found.store(use, code.stored)
        for name in code.writes:
            found = variable_of(function, name)
            if found is not None:
                self._written(found[0], name, use, functools.partial(self.state.hide_variable, found[0], name))
        for name, way in code.changes:
            found = variable_of(function, name)
            if found is not None:
                self._written(found[0], name, use, functools.partial(self._mark, found[1], way, use))
        defaults = defaults_of(function)
        for name, way in code.given:
            if name in defaults:
                self._written(function, name, use, functools.partial(self._mark, defaults[name], way, use))
        self._unclear.note(function, code, use)
        for name, path, attribute in code.made:
            self._read_of_made(function, name, path, attribute, use)
        for name, path in code.reads:
            self._read_variable(function, name, path, use)
        for value in (function.__defaults__, function.__kwdefaults__, vars(function)):
            self._with(use, value)
        for imported in code.imports:
            for _, _, value in imported_by(function, *imported):
                self._with(use, value)
        for value in handed_over(function, code, self.state):
            self._told_by(value)
            if is_class(value) and MAKES_CLASSES in code.attributes:
                self._found.derive(use, value)

    def _with(self, use: Use, value: object) -> None:
        before, self._use = self._use, use
        self._of(value, ())
        self._use = before

    def _document(self, function: FunctionType) -> bool:
        """Whether a function tells others of its annotations, and was not known to."""
        if id(function) in self._documented:
            return False
        self._documented.add(id(function))
        self._described_to_others(function)
        return True

    def _told_by(self, value: object) -> bool:
        """Whether a value, which others are given, tells them of what was not known to tell of itself."""
        before = len(self._documented)
        for each in tells_of(value):
            if is_class(each):
                self._class_told(each)
            else:
                self._document(each)
        return len(self._documented) > before

    def _find_documented(self) -> bool:
        """Whether there are more such functions: all that can be run, where anything reads what they say."""
        if not self.told.reads_docs:
            return False
        known, self._alive_documented = self._alive_documented, len(self._alive)
        return sum(self._document(each) for each in self._alive[known:] if is_function(each)) > 0

    def _find_in_modules(self) -> bool:
        """Whether more is read of modules that are handed over."""
        found = [(each, name) for each in self.told.scopes for name in self.told.read_of(each)]
        new = [(each, name) for each, name in found if (id(each), name) not in self._known]
        for scope, name in new:
            self._known.add((id(scope), name))
            self._read_in(scope, name, scope.get(name), (), Use.RUN)
        told = [self._told_by(scope.get(name)) for scope, name in found if self.told.is_told(name)]
        return bool(new) or any(told)

    def _find_subclasses(self) -> bool:
        """Whether there are more classes among those that code asks other classes for."""
        found = [each for kind in [*self._objects] for each in self.told.subclasses_of(kind)]
        new = [each for each in found if each not in self._objects]
        for each in new:
            self._class_for(each, Use.RUN)
        return bool(new)

    def _written(self, owner: object, name: str, use: Use, write: Callable[[], object]) -> None:
        if use is Use.MAKE:
            self._of_makers.append((owner, name, write))
        else:
            write()

    def _mark(self, value: object, way: Steps, use: Use) -> None:
        """Something is written that a way leads to; if it is an object of the user's, by a method of its own."""
        owner = self.state.mark(value, way)
        if way[-1] == EVERYTHING or way[-1][0] == KEY:
            self._found.read(use, ("__setitem__", "__delitem__") if not is_librarys(owner) else ())

    def _read_variable(self, function: FunctionType, name: str, path: tuple[str, ...], use: Use) -> None:
        found = variable_of(function, name)
        if found is None:
            return
        self._read_in(found[0], name, found[1], path, use)

    def _read_in(self, owner: Any, name: str, value: Any, path: tuple[str, ...], use: Use) -> None:
        """What is read of a scope, or of a module."""
        owner, name, value, path = behind_modules(owner, name, value, path)
        if is_module(value) and path:
            self.told.read(path[:1])
        if use is not Use.MAKE:
            self._read.add((id(owner), name))
        for each in self.told.subclasses_at(value, path):
            self._class_for(each, use)
        is_hidden = self.state.hides_variable(owner, name)
        if path and (is_hidden or value is None or not is_librarys(value)):
            self._found.read(use, path[:1])
        if is_function(value):
            self._with(use, value)
        elif is_class(value):
            makes = name != "__class__" and (not path or issubclass(class_of(vars(value).get(path[0])), classmethod))
            self._class_for(value, use if makes else None)
        elif class_of(value) not in ATOMS:
            self._values.append(functools.partial(self._read_value, owner, name, value, use))

    def _read_value(self, owner: object, name: str, value: object, use: Use) -> None:
        if not self.state.hides_variable(owner, name):
            self._with(use, value)

    def _read_of_made(self, function: FunctionType, name: str, path: tuple[str, ...], attribute: str, use: Use) -> None:
        """An attribute is read of what a call has returned: where that is a new object, its methods make it."""
        if self._unclear.note_made(function, name, path, attribute, use):
            return
        found = variable_of(function, name)
        maker: object = getattr(builtins, name, None) if found is None else found[1]
        for each in path:
            maker = attribute_of(maker, each) if is_module(maker) or is_class(maker) else None
        if not is_class(maker):
            self._found.read(use, [attribute])
        elif not is_library_class(maker):
            self._found.read(max(use, Use.INIT), [attribute])

    def _find_unclear(self) -> bool:
        """Whether there are methods with names of those that change containers, read of objects of the user's."""
        found = self._unclear.settle()
        for method, use in found:
            self._found.read(use, [method])
        return bool(found)

    # ---------------------------------------------------------------- classes

    def _class_for(self, kind: type[Any], use: Use | None) -> None:
        """A class is found, of which objects are made, or not."""
        if is_library_class(kind):
            self._with(Use.RUN, arguments_of(kind))
            return
        if use is not None:
            self._found.make(use, kind)
        if kind in self._objects:
            return
        self._objects[kind] = []
        self._alive.append(kind)
        for base in (*kind.__bases__, class_of(kind)):
            self._class_for(base, None)
        self._objects.setdefault(class_of(kind), []).append(kind)
        self._found.add_class(kind)
        bases = [each for each in kind.__mro__[1:] if is_library_class(each)]
        callers = [each for each in bases if each.__module__ not in _NO_CALLERS]
        for name, value in [*vars(kind).items()]:  # a model of pydantic may complete itself when it is looked at
            members = [*functions_of(value)]
            overrides = any(name in vars(each) for each in callers)
            is_of_class = issubclass(class_of(value), classmethod) or name == "__new__"
            for function, is_setter in members:
                self._found.add(Method(kind, name, function, is_setter, is_of_class, overrides))
            if not members and name != "__dict__":
                self._unclear.hold(name, value)
                self._with(Use.RUN, value)
        for _, annotation in types_of(kind):
            self._annotation(annotation, scopes_of_class(kind), ())

    def _find_methods(self) -> bool:
        """Whether there are methods that can be run, and were not known to be."""
        found = self._found.take()
        for method, use in found:
            is_first = method.name in INITIALISERS
            uses = {Use.RUN: (Use.RUN, Use.INIT if is_first else Use.RUN), Use.INIT: (Use.RUN, Use.INIT)}
            run_for = uses.get(use, (use, use))
            self._code.append(functools.partial(self._follow, method.function, *run_for, method.kind))
            for way in read(method.function.__code__).own:
                if use is Use.RUN and (not is_first or method.name == "__new__"):
                    self._own_way(method, way)
                elif use is not Use.MAKE and len(way) > 1:  # what the class holds, and a new object does not
                    self._of_classes.setdefault(method.kind, set()).add(way)
        return bool(found)

    def _own_way(self, method: Method, way: Steps) -> None:
        """A method writes something of its object, or of its class."""
        first, *rest = way
        if method.is_of_class:
            self._of_classes.setdefault(method.kind, set()).add(way)
        elif first == (ATTRIBUTE, "__class__") and rest:
            self._of_classes.setdefault(method.kind, set()).add(tuple(rest))
        elif first == (ATTRIBUTE, "__dict__") and len(rest) == 1 and rest[0][0] == KEY:
            self.state.hide_own(method.kind, rest[0][1])
        elif not rest and first[0] == ATTRIBUTE:
            self.state.hide_own(method.kind, first[1])
        else:
            self._of_objects.setdefault(method.kind, set()).add(way)

    # ---------------------------------------------------------------- values

    def _of(self, value: Any, above: tuple[int, ...]) -> object:
        """Look at a value later, as code says which of it counts."""
        kind = class_of(value)
        if id(kind) in ATOMS.ids or (id(kind) in PLAIN.ids and holds_no_code(value)):
            return None
        known = self._seen.get(id(value))
        if known is not None and known <= self._use:
            return None
        self.left_to_see -= 1
        if self.left_to_see < 0:
            return None
        self._seen[id(value)] = self._use
        self._alive.append(value)
        if is_function(value):
            return self._look(value, kind, _ABOVE)
        self._values.append(functools.partial(self._look_for, self._use, self.level, value, kind))
        return None

    def _look_for(self, use: Use, level: int, value: object, kind: type[Any]) -> None:
        self._use, self.level = use, level
        self._look(value, kind, _ABOVE)
        self._use, self.level = Use.RUN, 0

    def _kept(self, value: object, attributes: Mapping[str, Any]) -> dict[str, Any]:
        self._objects.setdefault(class_of(value), []).append(value)
        for name, held in attributes.items():
            self._unclear.hold(name, held)
        return super()._kept(value, attributes)

    def _set_aside(self, place: str, name: object, value: object, owner: object) -> None:
        """What is written is not known yet, so nothing is told from it."""

    def _may_be_written(self, place: str, name: str, value: object, owner: object, above: tuple[int, ...]) -> object:
        return self._of(value, above)

    def _listed(self, items: Iterable[object], above: tuple[int, ...]) -> tuple[object, ...]:
        for item in items:
            self._of(item, above)
        return ()

    def _sorted(self, described: Iterable[object]) -> tuple[object, ...]:
        for _ in described:
            pass
        return ()

    def _held(self, name: object, value: object, above: tuple[int, ...]) -> object:
        return self._of(value, above)

    def _table(self, value: object, kind: type[Any]) -> tuple[Any, ...] | None:
        return objects_in_table(value, kind)

    def _text(self, value: object) -> str | None:
        return super()._text(value) if getattr(value, "__dict__", None) else None

    def _method(self, value: Any, owner: object, above: tuple[int, ...]) -> object:
        self._found.read(self._use, [value.__name__])
        return super()._method(value, owner, above)

    def _function_of_users(self, function: FunctionType) -> object:
        self._call(function, self._use)
        return None

    def _class(self, kind: type[Any]) -> object:
        self._class_for(kind, None)
        return None

    def _class_told(self, kind: type[Any]) -> object:
        for base in kind.__mro__ if not is_library_class(kind) else ():
            for each in () if is_library_class(base) else vars(base).values():
                if is_function(each):
                    self._document(each)
        return None

    def _module(self, module: ModuleType) -> object:
        if not is_library(module):
            self.told.hand_over(vars(module))
        return None

    def _code_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object | None:
        if is_class(value) and not is_alias(value):
            self._class_for(value, self._use)
            return self._class_told(value), ()
        if kind in _BY_TEXT:
            texts = value.__reduce__()[1]
            names = texts[:1] if kind is methodcaller else [name for text in texts for name in text.split(".")]
            self._found.read(self._use, names)
            self.told.read(names)
            return ()
        return super()._code_of(value, kind, above)
