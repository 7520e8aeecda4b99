"""What values are, as nested tuples of plain values, and what they are looked into for."""

from __future__ import annotations

import functools
import logging
import os
import re
import types
from abc import abstractmethod
from argparse import Namespace
from array import array
from collections import ChainMap, UserString
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from enum import Enum
from inspect import Parameter
from itertools import islice
from pathlib import PurePath
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeVar, cast

from .._tabular import held_by_table
from .aliases import is_alias, parts_of_alias
from .credentials import hides_itself, is_credential, without_environment
from .decorated import given_to
from .kept import is_state, without_measured
from .library import is_library_class, is_library_file, is_library_module
from .looks import (
    ADDRESS,
    ATOMS,
    attribute_of,
    attributes_of,
    class_of,
    described_as,
    digest_of,
    digest_of_bytes,
    in_order,
    is_function,
    is_module,
    maker_of,
    own_text_of,
    parameters_of,
    present_in,
    qualified,
    type_name,
)
from .objects import Objects
from .state import State
from .ways import Ways

ItemT = TypeVar("ItemT")

_DEEPEST = 100
_MOST = 2_000_000
"""How many values that hold others are looked at at most; there may be no end of them."""
FEW = 100
"""How many items of what is written are looked at each by itself."""
_LONG = 10_000
"""How many items are kept as they are, before they become a fingerprint."""
_LONGEST_NAME = 40
_MOST_MADE = 4
_MOST_WITHIN = 1000
"""How many items of containers are looked at that code makes when it is asked for them, and that are in others such."""
MADE_HERE = ("what it holds", "its keys")
"""Where containers are set aside that are made here, and so are no one's to be taken apart."""
BY_ITEM = "by item"
"""What is said instead of all that a container, or an object, holds, where each of it is looked at by itself."""
_LISTS = (list, tuple)
_FACTORIES = (bool, dict, float, int, list, set, str, tuple)


class Values(Objects):
    """Says what values are.

    Args:
        state: What the code writes, which does not count.
        project: The directory of the user's project; of paths within it counts only where in it they are, as it may be
            in another place tomorrow.
    """

    def __init__(self, state: State, project: str | None = None) -> None:
        super().__init__(state, _MOST)
        self._project = project
        self._is_guarded = False
        """Whether what is looked at now holds a credential."""
        self._ways = Ways()
        self._made_within = 0
        """How many of what libraries have made are looked at, each within another one."""
        self.level = 0
        """How many containers that make their items hold what is looked at now."""
        self._left_within = _MOST_WITHIN
        self._is_provider = False
        """Whether it is what a provider says of itself, whose credentials say only who asks."""

    @contextmanager
    def _of_a_provider(self) -> Generator[None]:
        before, self._is_provider = self._is_provider, True
        try:
            yield
        finally:
            self._is_provider = before

    def _of(self, value: Any, above: tuple[int, ...]) -> object:
        kind = class_of(value)
        if kind in ATOMS:
            if kind is str and self._project is not None and _is_within(value, self._project):
                return "in the project", value[len(self._project) :]
            return kind.__name__, hex(value) if kind is int else repr(value)
        self.left_to_see -= 1
        if id(value) in above or self.left_to_see < 0 or self._ways.are_enough_to(value):
            return "again", type_name(kind)
        if len(above) >= _DEEPEST:
            return self._deeper(value)
        return self._look(value, kind, (*above, id(value)))

    def _look(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object:
        try:
            if kind is dict:
                self._note_order(value)
                return "mapping", self._mapping(value, above)
            if kind in _LISTS:
                return "sequence", kind.__name__, *self._listed(self._items(value), above)
            if hides_itself(value):
                return type_name(kind), self._held("secret", value, above)
            for describe in (self._special, self._told_of, self._code_of, self._data_of):
                described = describe(value, kind, above)
                if described is not None:
                    return described
            return self._object_of(value, kind, above)
        except RecursionError:
            return "deep", type_name(kind)
        except Exception:  # whoever uses it is told
            return self._unreadable(value, kind, above)

    def _unreadable(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object:
        """What a value is that cannot be read as what it claims to be: what else it is."""
        try:
            return "unreadable", type_name(kind), *self._own(value, kind, above)
        except Exception:
            return "unreadable", type_name(kind)

    def _told_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object | None:
        """What a value says itself that answers depend on; `None` where it does not."""
        if is_state(kind):
            return "state", type_name(kind), *self._of_logger(value, kind, above)
        identity = attribute_of(kind, "__doteval_identity__")
        if identity is None or isinstance(value, type):
            return None
        found: Mapping[str, Any] = identity(value)
        given = {key: each for key, each in found.items() if each is not None}
        module = identity.__module__
        is_provider = is_library_module(module) and not module.startswith("doteval.evals.")
        with self._of_a_provider() if is_provider else nullcontext():
            return "identity", self._mapping(given, above)

    def _of_logger(self, value: object, kind: type[Any], above: tuple[int, ...]) -> tuple[object, ...]:
        """What one of a class of the user's is besides what all are."""
        if is_library_class(kind):
            return ()
        held = {name: each for name, each in attributes_of(value).items() if name not in vars(logging.root)}
        return self._object(value, held, above)

    def _code_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object | None:
        """What a value is that does something; `None` where it is none such."""
        if is_alias(value):
            return "alias", *self._listed(parts_of_alias(value), above)
        if isinstance(value, type):
            told = self._class_told(cast("type[Any]", value)) if len(above) > 1 else ()
            return self._class(cast("type[Any]", value)), told
        if issubclass(kind, (FunctionType, functools.partial, MethodType, types.BuiltinFunctionType)):
            return self._callable(value, above)
        if isinstance(value, (staticmethod, classmethod)):
            return kind.__name__, self._of(cast("Any", value).__func__, above)
        if isinstance(value, property):
            return "property", *(self._of(each, above) for each in (value.fget, value.fset, value.fdel))
        if isinstance(value, functools.cached_property):
            return "property", self._of(cast("Any", value).func, above)
        if is_module(value):
            return "module", vars(value).get("__name__"), self._module(value)
        if isinstance(value, functools.partialmethod):
            method: Any = cast("object", value)
            given = self._of(method.args, above), self._mapping(method.keywords, above)
            return "partialmethod", self._of(method.func, above), *given
        if is_library_class(kind) and callable(value):
            wrapped = attribute_of(value, "__wrapped__")
            if callable(wrapped):
                return self._made(value, type_name(kind), wrapped, above)
        return None

    def _data_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object | None:
        """What a value is that holds others, or itself; `None` where it is none such."""
        given: Any = value
        if isinstance(value, Enum):
            return "member", self._class(kind), given.name, self._of(given.value, above)
        if kind is re.Pattern:
            return "pattern", self._of(attribute_of(given, "pattern"), above), attribute_of(given, "flags")
        if kind in (types.SimpleNamespace, Namespace):
            return "namespace", self._mapping(self._kept(value, attributes_of(value)), above)
        if isinstance(value, Mapping):
            if dict in kind.__mro__:
                self._note_order(given)
            factory: Any = attribute_of(given, "default_factory")
            held = self._mapping(cast("Mapping[object, object]", value), above, fresh=factory)
            maps = self._of(attribute_of(given, "maps"), above) if isinstance(value, ChainMap) else ()
            return "mapping", held, maps, self._of(factory, above), *self._own(given, kind, above)
        if isinstance(value, (PurePath, UserString)):
            return type_name(kind), self._of(str(value), above), *self._own(value, kind, above)
        text = own_text_of(value, kind)
        if text is not None:
            return "text", text, *self._own(value, kind, above)
        if isinstance(value, (bytearray, memoryview, array)):
            form = attribute_of(given, "typecode") or attribute_of(given, "format")
            return kind.__name__, form, digest_of_bytes(bytes(cast("bytearray", value)))
        if kind is ContextVar:
            return "variable", given.name, self._of(present_in(given), above)
        table = self._table(value, kind)
        if table is not None:
            return "table", type_name(kind), self._of(table, above)
        if isinstance(value, Sequence):
            items = self._listed(self._items(cast("Sequence[object]", value)), above)
            return "sequence", kind.__name__, attribute_of(given, "maxlen"), *items, *self._own(given, kind, above)
        if isinstance(value, AbstractSet):
            held = self._sorted(self._of(item, above) for item in self._items(cast("AbstractSet[object]", value)))
            return "set", *held, *self._own(given, kind, above)
        if is_dataclass(value):
            names = {field.name: getattr(value, field.name, None) for field in fields(value)}
            more = {} if is_library_class(kind) else attributes_of(value)
            return self._object(value, {**more, **names}, above)
        return None

    def _deeper(self, value: object) -> object:
        """What a value is that lies too deep to be looked at here."""
        return "again", type_name(class_of(value))

    def _items(self, values: Sequence[Any] | AbstractSet[Any]) -> Iterator[Any]:
        """What a container holds, as long as it is not too much; of one that is the user's, as many as it says."""
        if self.state.hides_content(values):
            self._set_content_aside(values)
            return
        written = self.state.keys_in(values) if isinstance(values, Sequence) else frozenset[object]()
        places = {place % len(values) for place in written if isinstance(place, int) and len(values)}
        is_plain = class_of(values) in (list, tuple, set, frozenset)
        for place, item in enumerate(values if is_plain else self._given_by(values, values)):
            if self.left_to_see < 0:
                return
            if place not in places:
                yield item
            else:
                self._set_aside(f"item {place}", None, item)

    def _given_by(self, items: Iterable[ItemT], holder: Sized) -> Iterator[ItemT]:
        """What a container gives that is not Python's own; it may make that when it is asked, and have no end."""
        self.level += 1
        try:
            for item in islice(items, len(holder)):
                self.left_to_see -= 1
                self._left_within -= self.level > 1
                if self._left_within < 0:
                    return
                yield item
        finally:
            self.level -= 1

    def _set_content_aside(self, values: Any) -> None:
        """All that a container holds; each by itself where that is little, as some of it may be no state."""
        kind, first = class_of(values), islice(values, len(values))
        is_mapping, is_set = issubclass(kind, Mapping), issubclass(kind, AbstractSet)
        held: Any = {key: values[key] for key in first} if is_mapping else frozenset(first) if is_set else [*first]
        if is_set or len(held) > FEW:
            self._set_aside(MADE_HERE[0], None, held)
            return
        self._set_aside(MADE_HERE[0], None, BY_ITEM)
        if is_mapping:
            self._set_aside(MADE_HERE[1], None, dict.fromkeys(held))
            for key, item in held.items():
                self._set_aside(f"key {self._called(key)}", key, item)
        else:
            self._set_aside("its length", None, len(held))
            for place, item in enumerate(held):
                self._set_aside(f"item {place}", None, item)

    def _called(self, key: object) -> str:
        """A key that may be shown, as names may; of any other, a fingerprint."""
        is_shown = isinstance(key, str) and key.isidentifier() and len(key) < _LONGEST_NAME
        return repr(key) if is_shown else digest_of(self._of(key, ()))

    def _listed(self, items: Iterable[object], above: tuple[int, ...]) -> tuple[object, ...]:
        return _shortened(self._of(item, above) for item in items)

    def _sorted(self, described: Iterable[object]) -> tuple[object, ...]:
        return _shortened(in_order([*described]))

    def _mapping(self, values: Mapping[Any, Any], above: tuple[int, ...], *, fresh: Any = None) -> tuple[object, ...]:
        asked: list[Any] = []
        described = self._sorted(
            (self._of(key, above), self._held(key, value, above))
            for key, value in self._entries(values)
            if not (fresh in _FACTORIES and _is_fresh(key, value, fresh, asked))
        )
        if asked:
            self._set_aside("keys with fresh values", None, set(asked))
        return described

    def _note_order(self, values: Mapping[Any, Any]) -> None:
        """The keys of a mapping stand in some order."""

    def _entries(self, values: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
        """The keys and values of a mapping, without those that are written."""
        if self.state.hides_content(values):
            self._set_content_aside(values)
            return
        written = self.state.keys_in(values)
        is_plain = class_of(values) is dict
        for key, value in values.items() if is_plain else self._given_by(values.items(), values):
            if self.left_to_see < 0:
                return
            if written and key in written:
                self._set_aside(f"key {self._called(key)}", key, value)
                continue
            if not self._is_provider or not is_credential(key, value):
                yield key, value

    def _held(self, name: object, value: object, above: tuple[int, ...]) -> object:
        """What a value is that has a name."""
        if not is_credential(name, value):
            return self._of(value, above)
        self._is_guarded = True
        return self._of(without_environment(value), above)

    def _table(self, value: object, kind: type[Any]) -> tuple[Any, ...] | None:
        return held_by_table(without_measured(value, kind), kind)

    def _text(self, value: object) -> str | None:
        return described_as(value)

    # ---------------------------------------------------------------- code

    def _callable(self, value: Any, above: tuple[int, ...]) -> object:
        if isinstance(value, functools.partial):
            given: Any = cast("object", value)
            return (
                "partial",
                self._of(given.func, above),
                self._of(given.args, above),
                self._mapping(given.keywords, above),
                *self._own(given, class_of(given), above),
            )
        if isinstance(value, (MethodType, types.BuiltinMethodType)) and value.__self__ is not None:
            owner: object = value.__self__
            if not is_module(owner):
                return self._method(value, owner, above)
        if is_function(value):
            if not is_library_file(value.__code__.co_filename):
                told = self._described_to_others(value, above) if len(above) > 1 else ()
                return "function", self._function_of_users(value), told
            wrapped = attribute_of(value, "__wrapped__")
            if wrapped is not None or value.__closure__:  # made by a library of what the user has given
                return self._made(value, maker_of(value), wrapped, above)
        return "library", qualified(value)

    def _made(self, value: Any, name: str, wrapped: object, above: tuple[int, ...]) -> object:
        """What a library has made of what the user has given it."""
        if self._made_within == _MOST_MADE:
            return "library", name
        self._made_within += 1
        try:
            given = [
                (
                    each,
                    self._may_be_written(f"{each!r} of {name}", each, held, above)
                    if may_change
                    else self._held(each, held, above),
                )
                for each, held, may_change in given_to(value)
            ]
        finally:
            self._made_within -= 1
        return "made", name, self._of(wrapped, above), *given

    @abstractmethod
    def _may_be_written(self, place: str, name: str, value: object, above: tuple[int, ...]) -> object:
        """Something that a library may write, or not."""

    def _method(self, value: Any, owner: object, above: tuple[int, ...]) -> object:
        return "method", value.__name__, self._of(owner, above), self._of(getattr(value, "__func__", None), above)

    def _described_to_others(self, function: FunctionType, above: tuple[int, ...] = ()) -> object:
        """What a function says of itself to whoever is given it, as a model is that may call it."""
        return ADDRESS.sub("", function.__doc__ or ""), *(
            (
                name,
                kind,
                () if default is Parameter.empty else self._of(default, above),
                self._annotation(annotation, function.__globals__, above),
            )
            for name, kind, default, annotation in parameters_of(function)
        )

    def _annotation(self, annotation: object, scope: Mapping[str, Any], above: tuple[int, ...]) -> object:
        """What an annotation is; of a text, also the classes that it names."""
        if annotation is Parameter.empty:
            return ()
        if not isinstance(annotation, str):
            return self._of(annotation, above)
        try:
            names = compile(annotation, "<annotation>", "eval").co_names
        except (SyntaxError, ValueError):
            return annotation
        named = [scope[name] for name in names if name in scope]
        return annotation, *(self._of(each, above) for each in named if isinstance(each, type) or is_alias(each))

    @abstractmethod
    def _class_told(self, kind: type[Any]) -> object:
        """What a class says of itself to whoever is given it."""

    @abstractmethod
    def _module(self, module: ModuleType) -> object:
        """What is read of a module that is handed over."""

    @abstractmethod
    def _function_of_users(self, function: FunctionType) -> object:
        """What a function of the user's is."""


def _is_fresh(key: object, value: object, fresh: Any, asked: list[Any]) -> bool:
    """Whether a value is what is made of nothing; its key is noted then."""
    is_fresh = class_of(value) is fresh and not value
    if is_fresh:
        asked.append(key)
    return is_fresh


def _is_within(text: str, directory: str) -> bool:
    """Whether a text is the path of a directory, or of what lies in it."""
    return text.startswith(directory) and text[len(directory) :][:1] in ("", os.sep)


def _shortened(described: Iterable[object]) -> tuple[object, ...]:
    """Descriptions of items; of many, a fingerprint, as they would take much memory."""
    left, chunks = iter(described), list[str]()
    while True:
        chunk = tuple(islice(left, _LONG))
        if not chunks and len(chunk) < _LONG:
            return chunk
        if not chunk:
            return "long", *chunks
        chunks.append(digest_of(chunk))
