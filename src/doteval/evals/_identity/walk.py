"""Fingerprints of values, and of all that they refer to: functions, classes, what these read, and so on.

What is the user's is looked into, what belongs to an installed package is known by its name. A value that says what it
is, in its ``repr``, is that. Of anything else, such as a client or a lock, only its class is known and the attributes
by which the field's libraries say what they ask.

What the code itself writes, such as a counter or a cache, is state of the run and no part of it.
"""

from __future__ import annotations

import builtins
import functools
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias, cast

from .._written import BEGINS, BOUND_ANEW, OF_GLOBALS, OF_ROWS, PLAIN_DATA, UNDEFINED, UNSEEN
from .annotations import scopes_of_class
from .beginnings import Place, beginning_of
from .code import Code, Doing, does_within, named_in_query, names_read_at_once, read
from .credentials import is_credential
from .decorated import NOT_GIVEN
from .found import PLAIN, behind_modules, imported_by
from .library import is_library, is_library_class, is_library_file
from .looks import (
    ENUMS_OWN,
    PYTHONS_OWN,
    class_of,
    digest_of,
    held_by,
    is_class,
    is_function,
    is_generated,
    is_made_by_attrs,
    is_module,
    shown_as,
    type_name,
)
from .members import arguments_of, docstring_of, fields_of, registered_with, schema_of, types_of
from .names import in_order
from .parts import VALUE, Parts
from .places import Written
from .reach import Reach
from .rows import found_in_rows
from .told import callable_in, handed_over, scopes_of, tells_of, unknown_to

Bound: TypeAlias = dict[tuple[int, str], object]
"""What variables were bound to, by the ``id`` of what holds them and their names."""
_MADE_BY_FUNCTION = "<locals>"
_KNOWN_OTHERWISE = ("__attrs_attrs__", "__attrs_own_setattr__", "__attrs_props__", "__dataclass", "__pydantic")
"""How attributes of classes begin that are known by their fields."""
_SHORT = 6
"""How much of a fingerprint tells functions of the same name from each other."""


class Walk(Parts):
    """Looks at values, and finds what they refer to.

    Args:
        follows_classes: Whether the code of a value's class counts.
        project: The directory of the user's project, where there is one.
        bound: What variables were bound to when it was looked first, by their scopes and names.
    """

    def __init__(self, *, follows_classes: bool = True, project: str | None = None, bound: Bound | None = None) -> None:
        super().__init__(project, follows_classes=follows_classes)
        self._bound: Bound = {} if bound is None else bound
        self._bound_anew: set[str] = set()
        self._reach = Reach(self.state)
        self._roots: list[tuple[str, Callable[[], object]]] = []
        self._of_rows: list[Callable[[], object]] = []
        self._maker_of_rows: FunctionType | None = None
        self._made_in: dict[str, dict[tuple[int, str], Place]] = {}
        """Where variables, functions and classes are made, or known from, by their parts."""
        self._begins: dict[str, dict[tuple[int, str], Place]] = {}
        """The same of those in which code writes."""
        self._handed: set[str] = set()
        """Those that code hands over, to what may write into what they hold."""

    @property
    def parts(self) -> dict[str, str]:
        """The fingerprints, by what they are of; of what may be shown, the thing itself behind an equals sign."""
        if self._roots:
            if self._follows_classes:
                self._reach.finish()
                if self.state.is_empty:  # else more is state than was known to it
                    self.kept_known = self._reach.kept_known
            for root in self._roots:
                self._left.append(root)
                self._finish()
            self._roots.clear()
            if self._maker_of_rows is not None:
                self._look_at_maker_of_rows(self._maker_of_rows)
            self._label = OF_ROWS
            for look in self._of_rows:
                look()
                self._finish()
            self._finish_aside()
            self._finish_beginnings()
            self._finish_orders()
            for name in [each for each, variable in self._plain.items() if variable not in self._handed]:
                self._parts[name] = f"{PLAIN_DATA}{self._parts[name]}"
            self._plain.clear()
            for name in self._bound_anew if not self._reach.told.binds_anything else ():
                if name in self._described:
                    described = self._described[name]
                    self._described[name] = described._replace(before=f"{BOUND_ANEW}{described.before}")
                elif name in self._parts:
                    self._parts[name] = f"{BOUND_ANEW}{self._parts[name]}"
            self._bound_anew.clear()
        return self._all_names.settled(self._parts, self._described)

    def _set_aside(self, place: str, name: object, value: object, owner: object) -> None:
        if self._label in self._made_in:
            self._begins[self._label] = self._made_in[self._label]
        super()._set_aside(place, name, value, owner)

    def _finish_beginnings(self) -> None:
        """How what is written begins counts as it stands in the source text, whatever has become of it since."""
        for label, places in self._begins.items():
            self._label = label
            if self._follows_classes and (found := beginning_of(places.values())) is not None:
                self._parts[self._free(f"how {label.removeprefix(OF_ROWS)}{BEGINS}")] = found
        self._begins.clear()

    def reads(self, attributes: Collection[str]) -> bool:
        """Whether code that can be run for what was added so far reads any of these attributes, of whatever."""
        return self._reach.reads(attributes)

    def digest(self, value: object) -> str:
        """A fingerprint of a value, with all that it refers to."""
        self.add("it", value)
        return digest_of(sorted(self.parts.items()))

    def show(self, name: str, text: str) -> None:
        """Something counts that may be shown."""
        self._parts[self._free(name)] = f"={text}"

    def add(self, name: str, value: object) -> None:
        """Look at a value that is known by a name, and at all that it refers to."""
        key = name.rstrip("'").rpartition("'")[2]
        self._all_names.of(value)
        self._reach.add(value)
        self._roots.append((self._free(name), lambda: self._held(key, value, ())))

    def add_function(self, name: str, function: object, *, makes: bool = False) -> None:
        """Look at a function that is known by a name.

        Args:
            name: Its name.
            function: The function.
            makes: Whether it makes a value that is looked at as well.
        """
        if not is_function(function) or is_library_file(function.__code__.co_filename):
            self.add(name, function)
            return
        self._all_names.of(function)
        self._reach.add_function(function, makes=makes)
        key = (id(function),)
        if key not in self._names:
            self._names[key] = self._free(name)
            self._alive.append(function)
            self._roots.append((self._names[key], lambda: self._function(function)))

    def add_function_of_rows(self, name: str, function: object) -> None:
        """Look at the function that makes the rows: lists that it only makes rows of count as these."""
        if not is_function(function) or is_library_file(function.__code__.co_filename):
            self.add(name, function)
            return
        self._reach.add_function(function)
        self._names[id(function),] = self._free(name)
        self._alive.append(function)
        self._maker_of_rows = function

    def _look_at_maker_of_rows(self, function: FunctionType) -> None:
        known = {*self._names.values()}
        self._left.append((self._names[id(function),], lambda: self._function(function)))
        self._finish()
        code = read(function.__code__)
        if code.writes or code.changes or code.stored or code.given:
            return  # what it is told may get elsewhere
        for name in names_read_at_once(function.__code__):
            label = self._names.get((name, id(function.__globals__)), "")
            if self._plain.get(label) and label not in known:  # it holds others, and nothing else reads it
                del self._parts[label], self._plain[label]

    def add_rows(self, dataset: object) -> None:
        """Look at the classes of what rows are, and hold, and at what functions in them read, and say of themselves.

        What these do and hold themselves is what the rows are known by.
        """
        found = found_in_rows(dataset)
        for kind in found.classes:
            self._reach.add(kind)
        self._reach.add_methods(found.methods)
        alike: dict[tuple[CodeType, int, str | None], FunctionType] = {}
        for function in found.functions:
            self._reach.add_function(function)
            alike.setdefault((function.__code__, id(function.__globals__), function.__doc__), function)
        self._of_rows += [functools.partial(self._class, kind) for kind in found.classes]
        self._of_rows += [functools.partial(self._read_in_rows, function) for function in alike.values()]
        self._of_rows += [functools.partial(self._told_in_rows, tool) for tool in found.tools]

    def _told_in_rows(self, tool: Any) -> None:
        if is_class(tool):
            self._class_told(tool)
        else:
            label = f"what '{tool.__qualname__}' says of itself"
            self._named(("told", id(tool)), tool, label, lambda: self._described_to_others(tool))

    def _read_in_rows(self, function: FunctionType) -> None:
        code = read(function.__code__)
        free, its_own = function.__code__.co_freevars, code.writes.union(name for name, _ in code.changes)
        reads = tuple(each for each in code.reads if each[0] not in free or each[0] in its_own)
        label = f"what '{function.__qualname__}' says of itself or reads ({code.does[:_SHORT]})"
        references = functools.partial(self._references, function, replace(code, reads=reads))
        described = functools.partial(self._described_to_others, function)
        self._named(("read", id(function)), function, label, lambda: (described(), *references()))

    def add_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        """Look at the settings of a model, which may be shown, each by itself."""
        value: Any
        for key, value in settings.items():
            label = f"{name}'s {key}"
            if value is None or is_credential(key, value):
                continue
            kind = class_of(value)
            if issubclass(kind, Mapping):
                self.add_settings(name, {f"{key}.{each}": value[each] for each in value})
                if kind is dict:  # else there may be more in it
                    continue
            shown = shown_as(key, value)
            if shown is None:
                self._reach.add(value)
                self._roots.append((self._free(label), functools.partial(self._setting, key, value)))
            else:
                self.show(label, shown)

    def _setting(self, key: str, value: object) -> object:
        with self._of_a_provider():
            return self._held(key, value, ())

    # ---------------------------------------------------------------- code

    def _function_of_users(self, function: FunctionType) -> object:
        name = f"the function '{function.__qualname__}'"
        if not function.__module__ and self._label:  # as what is made of texts may be called the same
            name = f"{name} of {self._label}"
        return self._named((id(function),), function, name, lambda: self._function(function))

    def _function(self, function: FunctionType) -> object:
        code = read(function.__code__)
        if _MADE_BY_FUNCTION not in function.__qualname__:
            self._begins_in(self._label, (function.__globals__, function.__qualname__.partition(".")[0]))
        attributes = {
            name: value
            for name, value in self._kept(function, vars(function)).items()
            if not name.startswith(NOT_GIVEN)
        }
        others = (
            self._of(function.__defaults__, ()),
            self._of(function.__kwdefaults__, ()),
            self._mapping(attributes, ()),
            self._described_to_others(function) if self._reach.told.reads_docs else (),
            *self._references(function, code),
        )
        return Doing(does_within(function), (code.does, *others))

    def _references(self, function: FunctionType, code: Code) -> Iterator[object]:
        """What code reads under names; what is the user's gets parts of its own."""
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        for name, path in code.reads:
            value: object
            owner: object
            if name in cells:
                value, owner = held_by(cells[name]), cells[name]
            elif name in function.__globals__:  # else it is a builtin, or not there yet
                value, owner = function.__globals__[name], function.__globals__
            else:
                self._undefined(function, name)
                continue
            found = self._reference(name, value, path, owner)
            if found is not None:
                yield found
            for named in named_in_query(value) if code.queries and isinstance(value, str) else ():
                if named in function.__globals__:
                    yield self._reference(named, function.__globals__[named], (), function.__globals__)
        self._handed.update((name, *path)[-1] for name, path in code.handed)
        for each in handed_over(function, code, self.state):
            yield from self._told_by(each)
        for imported in code.imports:
            for holder, name, value in imported_by(function, *imported):
                yield self._of(value, ()) if holder is sys.modules else self._reference(name, value, (), holder)
        for scope, *_ in scopes_of(function, code):
            yield self._scope(function.__module__, scope)
        called = unknown_to(code)
        if called is not None and called not in self._warned:
            self._warned.add(called)
            text = f"{function.__qualname__} gives '{called}' a name that is known only when it runs"
            self._parts[f"{text}: what it reads there is not noticed where it changes"] = UNSEEN

    def _undefined(self, function: FunctionType, name: str) -> None:
        """A builtin, or what is not there yet, which is noted, as it may be there for the next run."""
        scope = function.__globals__
        if not hasattr(builtins, name) and not self.state.hides_variable(scope, name):
            self._named(("undefined", name, id(scope)), scope, f"{UNDEFINED}'{name}'", lambda: UNDEFINED)

    def _reference(self, name: str, value: object, path: tuple[str, ...], owner: object) -> object | None:
        """What is read under a name; `None` where that is state of the run."""
        known_from = owner, name
        owner, name, value, path = behind_modules(owner, name, value, path)
        if self.state.leaves_out(owner, name):
            return None
        if self.state.hides_variable(owner, name):
            self._variable_aside(owner, name, value, known_from)
            return None
        if is_function(value) or is_module(value) or is_class(value):
            described = self._of(value, ())
            if (id(value),) in self._names:
                self._begins_in(self._names[id(value),], (owner, name), known_from)
            return name, described, *map(self._class, self._reach.told.subclasses_at(value, path))
        held = self._named((name, id(owner)), owner, f"{VALUE}'{name}'", lambda: self._held(name, value, ()))
        self._begins_in(held, (owner, name), known_from)
        is_read = class_of(owner) is dict and not held.startswith(OF_GLOBALS)
        if is_read and self._bound.setdefault((id(owner), name), value) is not value:
            self._bound_anew.add(held)
        return (held, *in_order([*map(self._class_told, callable_in(value))])) if class_of(value) in PLAIN else held

    def _variable_aside(self, owner: object, name: str, value: object, known_from: tuple[object, str]) -> None:
        key = ("aside", name, id(owner))
        if key not in self._names:
            self._names[key] = self._free(f"{VALUE}'{name}'", owner)
            self._alive.append(owner)
            self._aside[self._names[key], "as a whole"] = {id(owner): Written(owner, (), name, value)}
        self._begins[self._names[key]] = self._begins_in(self._names[key], (owner, name), known_from)

    def _begins_in(self, label: str, *places: tuple[object, str]) -> dict[tuple[int, str], Place]:
        found = self._made_in.setdefault(label, {})
        for owner, name in places:
            if class_of(owner) is dict:  # and not the variable of a function
                found[id(owner), name] = cast("Mapping[str, Any]", owner), name
        return found

    def _module(self, module: ModuleType) -> object:
        if is_library(module) or not self._follows_classes:
            return ()
        return self._scope(vars(module).get("__name__"), vars(module)), self._reach.told.source_of(module)

    def _scope(self, name: object, scope: Mapping[str, Any]) -> object:
        return self._named((id(scope),), scope, f"what is read of the module '{name}'", lambda: [*self._read_of(scope)])

    def _read_of(self, scope: Mapping[str, Any]) -> Iterator[object]:
        for name in self._reach.told.read_of(scope):
            yield self._reference(name, scope.get(name), (), scope)
            if self._reach.told.is_told(name):
                yield from self._told_by(scope.get(name))
        before, self._label = self._label, OF_GLOBALS
        for name in self._reach.told.given_of(scope):
            self._reference(name, scope.get(name), (), scope)
        self._label = before

    def _told_by(self, value: object) -> Iterator[object]:
        """What a value says of itself to whoever is given it."""
        told = [
            self._class_told(each) if is_class(each) else self._described_to_others(each) for each in tells_of(value)
        ]
        yield from in_order(told)

    def _described_to_others(self, function: FunctionType, above: tuple[int, ...] = ()) -> object:
        return super()._described_to_others(function, above), self._reach.told.source_of(function)

    def _class(self, kind: type[Any]) -> object:
        if is_library_class(kind):
            return "library", type_name(kind), *(self._of(each, ()) for each in arguments_of(kind))
        if not self._follows_classes:  # it may move to another module
            return "class", kind.__qualname__, *(self._of(each, ()) for each in arguments_of(kind))
        name = self._named((id(kind),), kind, f"the class '{kind.__qualname__}'", lambda: self._members(kind))
        if _MADE_BY_FUNCTION not in kind.__qualname__:
            self._begins_in(name, (scopes_of_class(kind)[-1], kind.__qualname__.partition(".")[0]))
        return "class", name

    def _class_told(self, kind: type[Any]) -> object:
        if is_library_class(kind) or not self._follows_classes or issubclass(kind, BaseException):
            return ()
        name = f"what the class '{kind.__qualname__}' says of itself"
        return self._named(("told", id(kind)), kind, name, lambda: self._told_of_members(kind))

    def _told_of_members(self, kind: type[Any]) -> object:
        members = sorted(vars(kind).items())
        methods = [
            (name, self._described_to_others(each))
            for name, each in members
            if is_function(each) and (name == "__init__" or not is_generated(name, each, kind))
        ]
        return (
            docstring_of(kind),
            self._reach.told.source_of(kind),
            methods,
            *(self._class_told(base) for base in kind.__bases__),
        )

    def _members(self, kind: type[Any]) -> object:
        found: list[object] = [tuple(self._class(base) for base in kind.__bases__), self._class(class_of(kind))]
        found += [self._class(each) for each in self._reach.told.subclasses_of(kind)]
        if self._reach.told.reads_docs:
            found.append(docstring_of(kind))
        if self._reach.told.reads_order:
            found.append([name for name in vars(kind) if not name.startswith("__")])
        found.append(self._of(schema_of(kind), ()))  # it finds what its annotations name, so it comes first
        found += [self._of(each, ()) for each in fields_of(kind)]
        found.append(self._sorted(self._of(each, ()) for each in registered_with(kind)))
        found += [(name, self._annotation(each, scopes_of_class(kind), ())) for name, each in types_of(kind)]
        found += [self._of(each, ()) for each in arguments_of(kind)]
        written, computed = self.state.attributes_in(kind), self.state.computed_in(class_of(kind))
        does: list[tuple[str, str]] = []
        for name, value in sorted(vars(kind).items()):
            if name in PYTHONS_OWN or name in computed or name.startswith(_KNOWN_OTHERWISE):
                continue
            if self.state.leaves_out(kind, name):
                continue
            if name in written:
                self._set_aside(f"attribute {name!r}", name, value, kind)
            elif (
                (name in ENUMS_OWN and issubclass(kind, Enum))
                or (name == "__new__" and is_generated(name, value, kind))
                or (is_function(value) and is_made_by_attrs(value))
            ):
                pass
            elif is_function(value) and not is_library_file(value.__code__.co_filename):
                if not is_generated(name, value, kind):
                    does.append((name, does_within(value)))
                    found.append((name, self._function(value)))
                if self._reach.told.is_told(name):
                    found.append((name, self._described_to_others(value)))
            elif not issubclass(class_of(value), (types.MemberDescriptorType, types.GetSetDescriptorType)):
                found.append((name, self._part(name, value, ())))
        return Doing(digest_of(does), tuple(found))
