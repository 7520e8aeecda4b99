"""Fingerprints of values, and of all that they refer to: functions, classes, what these read, and so on.

What is the user's is looked into, what belongs to an installed package is known by its name. A value that says what it
is, in its ``repr``, is that. Of anything else, such as a client or a lock, only its class is known and the attributes
by which the field's libraries say what they ask.

What the code itself writes, such as a counter or a cache, is state of the run and no part of it.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
import types
from collections import Counter
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
)
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from enum import Enum
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeVar, cast

from .code import Code, read
from .credentials import guarded_digest_of, hides_itself, is_credential, without_credentials, without_environment
from .library import is_library_file, is_library_module, users_module
from .looks import (
    ADDRESS,
    ATOMS,
    PYTHONS_OWN,
    attribute_of,
    attributes_of,
    class_of,
    described_as,
    described_to_others,
    digest_of,
    digest_of_bytes,
    held_by,
    is_generated,
    present_in,
    qualified,
    shown_as,
    state_of,
    table_of,
    telling_of,
    type_name,
)

ItemT = TypeVar("ItemT")

_CONTAINERS = (MutableMapping, MutableSequence, MutableSet)
_DEEPEST = 100
_MOST = 2_000_000
"""How many values are looked at at most; there may be no end of them."""


class Walk:
    """Looks at values, and finds what they refer to.

    Args:
        follows_classes: Whether the code of a value's class counts.
    """

    def __init__(self, *, follows_classes: bool = True) -> None:
        self._follows_classes = follows_classes
        self._left_to_see = _MOST
        self._hidden: dict[int, set[str]] = {}
        """The attributes that code writes of what it reads by name, by the ``id`` of the latter."""
        self._names: dict[tuple[object, ...], str] = {}
        self._taken: Counter[str] = Counter()
        self._kept: list[object] = []
        """What has a name, so that nothing else gets its ``id`` meanwhile."""
        self._left: list[tuple[str, Callable[[], object]]] = []
        self._is_guarded = False
        """Whether what is looked at now holds a credential."""
        self._is_provider = False
        """Whether it is what a provider says of itself, whose credentials say only who asks."""
        self.parts: dict[str, str] = {}
        """The fingerprints, by what they are of; of what may be shown, the thing itself behind an equals sign."""

    def digest(self, value: object) -> str:
        """A fingerprint of a value, with all that it refers to."""
        self.add("it", value)
        return digest_of(sorted(self.parts.items()))

    def add(self, name: str, value: object) -> None:
        """Look at a value that is known by a name, and at all that it refers to."""
        key = name.rstrip("'").rpartition("'")[2]
        self._left.append((self._free(name), lambda: self._held(key, value, ())))
        self._finish()

    def add_function(self, name: str, function: object) -> None:
        """Look at a function that is known by a name."""
        if isinstance(function, FunctionType) and not is_library_file(function.__code__.co_filename):
            self._named((id(function),), function, name, lambda: self._function(function))
            self._finish()
        else:
            self.add(name, function)

    def add_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        """Look at the settings of a model, which may be shown, each by itself."""
        with self._of_a_provider():
            for key, value in settings.items():
                label = f"{name}'s {key}"
                if value is None or is_credential(key, value):
                    continue
                if isinstance(value, Mapping):
                    inner = cast("Mapping[object, Any]", value)
                    self.add_settings(name, {f"{key}.{each}": inner[each] for each in inner})
                else:
                    shown = shown_as(key, value)
                    if shown is None:
                        self.add(label, value)
                    else:
                        self.parts[self._free(label)] = f"={shown}"

    @contextmanager
    def _of_a_provider(self) -> Generator[None]:
        before, self._is_provider = self._is_provider, True
        try:
            yield
        finally:
            self._is_provider = before

    def _finish(self) -> None:
        while self._left:
            name, describe = self._left.pop()
            self._is_guarded = False
            described = describe()
            guards = self._is_guarded and self._follows_classes  # a row's values are kept readably as it is
            self.parts[name] = (guarded_digest_of if guards else digest_of)(described)

    def _free(self, name: str) -> str:
        self._taken[name] += 1
        return f"{name} ({self._taken[name]})" if self._taken[name] > 1 else name

    def _named(self, key: tuple[object, ...], owner: object, name: str, describe: Callable[[], object]) -> str:
        """The name of what has a part of its own, which is looked at later.

        Args:
            key: What it is known by, with the ``id`` of `owner` in it.
            owner: Is kept alive.
            name: What to call it, where nothing else is called so.
            describe: Looks at it.
        """
        if key not in self._names:
            self._names[key] = self._free(name)
            self._kept.append(owner)
            self._left.append((self._names[key], describe))
        return self._names[key]

    # ---------------------------------------------------------------- values

    def _of(self, value: Any, above: tuple[int, ...]) -> object:
        """What a value is, as nested tuples of plain values.

        Args:
            value: The value.
            above: The values that hold it, by their ``id``.
        """
        kind = class_of(value)
        if kind in ATOMS:
            return kind.__name__, hex(value) if kind is int else repr(value)
        self._left_to_see -= 1
        if id(value) in above or len(above) == _DEEPEST or self._left_to_see < 0:
            return "again", type_name(kind)
        above = (*above, id(value))
        try:
            if hides_itself(value):
                return type_name(kind), self._held("secret", value, above)
            for describe in (self._told_of, self._code_of, self._data_of):
                described = describe(value, kind, above)
                if described is not None:
                    return described
            return self._object_of(value, kind, above)
        except RecursionError:
            return "deep", type_name(kind)
        except Exception:  # whoever uses it is told
            return "unreadable", type_name(kind)

    def _told_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object | None:
        """What a value says itself that answers depend on; `None` where it does not."""
        identity = getattr(kind, "__doteval_identity__", None)
        if identity is None or isinstance(value, type):
            return None
        found: Mapping[str, Any] = identity(value)
        given = {key: each for key, each in found.items() if each is not None}
        with self._of_a_provider() if is_library_module(identity.__module__) else nullcontext():
            return "identity", self._mapping(given, above)

    def _code_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object | None:
        """What a value is that does something; `None` where it is none such."""
        if isinstance(value, type):
            return self._class(cast("type[Any]", value))
        if isinstance(value, (FunctionType, functools.partial, MethodType, types.BuiltinFunctionType)):
            return self._callable(value, above)
        if isinstance(value, (staticmethod, classmethod)):
            return kind.__name__, self._of(cast("Any", value).__func__, above)
        if isinstance(value, property):
            return "property", *(self._of(each, above) for each in (value.fget, value.fset))
        if isinstance(value, functools.cached_property):
            return "property", self._of(cast("Any", value).func, above)
        if isinstance(value, ModuleType):
            return "module", value.__name__
        if isinstance(value, functools.partialmethod):
            method: Any = cast("object", value)
            given = self._of(method.args, above), self._mapping(method.keywords, above)
            return "partialmethod", self._of(method.func, above), *given
        if is_library_module(kind.__module__) and callable(value):
            wrapped = attribute_of(value, "__wrapped__")
            if callable(wrapped):
                return "wrapped", type_name(kind), self._of(wrapped, above)
        return None

    def _data_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object | None:
        """What a value is that holds others, or itself; `None` where it is none such."""
        given: Any = value
        if isinstance(value, Enum):
            return "member", self._class(kind), given.name, self._of(given.value, above)
        if kind is re.Pattern:
            return "pattern", self._of(attribute_of(given, "pattern"), above), attribute_of(given, "flags")
        if kind is types.SimpleNamespace:
            return "namespace", self._mapping(attributes_of(value), above)
        if isinstance(value, Mapping):
            factory = self._of(attribute_of(given, "default_factory"), above)
            held = self._mapping(cast("Mapping[object, object]", value), above)
            return "mapping", held, factory, *self._own(given, kind, above)
        if isinstance(value, str):
            return "str", str.__repr__(value), *self._own(value, kind, above)
        if isinstance(value, (int, float)):
            return "number", repr(value), *self._own(value, kind, above)
        if isinstance(value, (bytearray, memoryview)):
            return kind.__name__, digest_of_bytes(bytes(cast("bytearray", value)))
        if kind is ContextVar:
            return "variable", given.name, self._of(present_in(given), above)
        table = table_of(value)
        if table is not None:
            return table[0], self._of(table[1], above)
        if isinstance(value, Sequence):
            items = [self._of(item, above) for item in self._some(cast("Sequence[object]", value))]
            return "sequence", kind.__name__, *items, *self._own(given, kind, above)
        if isinstance(value, AbstractSet):
            items = [self._of(item, above) for item in self._some(cast("AbstractSet[object]", value))]
            return "set", *sorted(items, key=repr)
        if is_dataclass(value):
            names = [field.name for field in fields(value)]
            return self._object(value, {name: getattr(value, name, None) for name in names}, above)
        return None

    def _object_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object:
        """What any other object is."""
        if hasattr(value, "__next__") or hasattr(value, "__anext__") or isinstance(value, logging.Logger):
            return "state", type_name(kind)
        if not is_library_module(kind.__module__):
            return self._object(value, attributes_of(value), above)
        dump = getattr(kind, "model_dump", None)
        if dump is not None:
            return type_name(kind), self._of(without_credentials(dump(value)), above)
        told = without_credentials(telling_of(value))
        described = described_as(value)
        if described is not None:
            return type_name(kind), described, self._mapping(told, above)
        return "opaque", type_name(kind), self._mapping(told, above)

    def _own(self, value: object, kind: type[Any], above: tuple[int, ...]) -> tuple[object, ...]:
        """What an object of a class of the user's is besides what it holds: its class, and other attributes."""
        if is_library_module(kind.__module__):
            return ()
        kept = {name: each for name, each in attributes_of(value).items() if name not in state_of(kind)}
        return self._class(kind), self._mapping(kept, above)

    def _some(self, items: Iterable[ItemT]) -> Iterator[ItemT]:
        """Items, as long as there are not too many."""
        for item in items:
            if self._left_to_see < 0:
                return
            self._left_to_see -= 1
            yield item

    def _mapping(self, values: Mapping[Any, Any], above: tuple[int, ...]) -> tuple[object, ...]:
        items = (
            (self._of(key, above), self._held(key, value, above))
            for key, value in self._some(values.items())
            if not (self._is_provider and is_credential(key, value))
        )
        return tuple(sorted(items, key=repr))

    def _held(self, name: object, value: object, above: tuple[int, ...]) -> object:
        """What a value is that has a name."""
        if not is_credential(name, value):
            return self._of(value, above)
        self._is_guarded = True
        return self._of(without_environment(value), above)

    def _object(self, value: object, attributes: Mapping[str, Any], above: tuple[int, ...]) -> tuple[object, ...]:
        kind = class_of(value)
        state = state_of(kind) | self._hidden.get(id(value), set())
        kept = {name: each for name, each in attributes.items() if name not in state}
        return "object", self._class(kind), self._mapping(kept, above)

    # ---------------------------------------------------------------- code

    def _callable(self, value: Any, above: tuple[int, ...]) -> object:
        if isinstance(value, functools.partial):
            given: Any = cast("object", value)
            return (
                "partial",
                self._of(given.func, above),
                self._of(given.args, above),
                self._mapping(given.keywords, above),
            )
        if isinstance(value, (MethodType, types.BuiltinMethodType)) and value.__self__ is not None:
            owner: object = value.__self__
            if not isinstance(owner, ModuleType):
                return (
                    "method",
                    value.__name__,
                    self._of(owner, above),
                    self._of(getattr(value, "__func__", None), above),
                )
        if isinstance(value, FunctionType):
            if not is_library_file(value.__code__.co_filename):
                name = f"the function '{value.__qualname__}'"
                told = described_to_others(value) if len(above) > 1 else ()
                return "function", self._named((id(value),), value, name, lambda: self._function(value)), told
            wrapped = attribute_of(value, "__wrapped__")
            if wrapped is not None:
                registry = self._of(attribute_of(value, "registry"), above)  # of functools.singledispatch
                return "wrapped", qualified(value), self._of(wrapped, above), registry
            if value.__closure__:  # made by a library of what the user has given
                return "made", qualified(value), *(self._of(held_by(cell), above) for cell in value.__closure__)
        return "library", qualified(value)

    def _function(self, function: FunctionType) -> object:
        code = read(function.__code__)
        return (
            self._tokens(code.tokens),
            self._of(function.__defaults__, ()),
            self._of(function.__kwdefaults__, ()),
            *self._references(function, code),
        )

    def _tokens(self, tokens: Iterable[Any]) -> tuple[object, ...]:
        """What code does; constants with their types, as ``1 == True``."""
        return tuple(
            self._tokens(cast("Iterable[Any]", token)) if isinstance(token, tuple) else self._of(token, ())
            for token in tokens
        )

    def _references(self, function: FunctionType, code: Code) -> Iterator[object]:
        """What code reads under names; what is the user's gets parts of its own."""
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        for name, path in code.reads:
            if name in code.writes:
                continue
            value: object
            owner: object
            if name in cells:
                value, owner = held_by(cells[name]), cells[name]
            elif name in function.__globals__:  # else it is a builtin, or not there yet
                value, owner = function.__globals__[name], function.__globals__
            else:
                continue
            if name in code.changes and isinstance(value, _CONTAINERS):
                continue
            written = {attribute for of, attribute in code.writes_attributes if of == name}
            if written:
                self._hidden.setdefault(id(value), set()).update(written)
            yield self._reference(name, value, path, owner)
            if name in code.handed and isinstance(value, FunctionType):
                yield described_to_others(value)
        for level, module, names in code.imports:
            package = function.__globals__.get("__package__") or ""
            yield from self._imported("." * level + module, package, names, code.attributes)

    def _reference(self, name: str, value: object, path: tuple[str, ...], owner: object) -> object:
        while isinstance(value, ModuleType) and path and not is_library_module(value.__name__):
            owner, (name, *rest) = value, path
            value, path = getattr(value, name, None), tuple(rest)
        if isinstance(value, (FunctionType, ModuleType, type)):
            return name, self._of(value, ())
        return self._named((name, id(owner)), owner, f"the value '{name}'", lambda: self._held(name, value, ()))

    def _imported(
        self, name: str, package: str, names: tuple[str, ...], attributes: frozenset[str]
    ) -> Iterator[object]:
        """What a function imports where it is called: of the user's modules, what it takes from them."""
        module = users_module(name, package)
        if module is None:
            return
        found: list[object] = [] if names else [module]
        for each in names:
            value = attribute_of(module, each)
            if value is None:
                value = sys.modules.get(f"{module.__name__}.{each}")
            found.append(value)
            yield self._reference(each, value, (), module)
        for value in found:
            if isinstance(value, ModuleType) and not is_library_module(value.__name__):
                for attribute in sorted(attributes & vars(value).keys()):
                    yield self._reference(attribute, vars(value)[attribute], (), value)

    def _class(self, kind: type[Any]) -> object:
        if is_library_module(kind.__module__) or not self._follows_classes:
            return "library", type_name(kind)
        name = f"the class '{kind.__qualname__}'"
        return "class", self._named((id(kind),), kind, name, lambda: self._members(kind))

    def _members(self, kind: type[Any]) -> object:
        found: list[object] = [tuple(self._class(base) for base in kind.__bases__)]
        schema = getattr(kind, "model_json_schema", None)
        if schema is not None:
            try:
                found.append(self._of(schema(), ()))
                fields_by_name: Mapping[str, Any] = attribute_of(kind, "model_fields") or {}
                found += [self._of(attribute_of(field, "default_factory"), ()) for field in fields_by_name.values()]
            except Exception:  # it is not ready, and says so where it is used
                found.append("no schema")
        for name, value in sorted(vars(kind).items()):
            if name == "__dataclass_fields__":
                found.append([self._of(field.default_factory, ()) for field in value.values()])
            if name in PYTHONS_OWN or name.startswith(("__pydantic", "__dataclass")):
                continue
            if name in self._hidden.get(id(kind), ()) or (issubclass(kind, Enum) and name.startswith("_")):
                continue
            if name == "__annotations__":
                if value:  # an empty one is made when somebody looks
                    found.append((name, ADDRESS.sub("", repr(value))))
                continue
            if isinstance(value, FunctionType):
                if not is_generated(name, value):
                    found.append((name, self._function(value)))
            elif not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                found.append((name, self._of(value, ())))
        return tuple(found)
