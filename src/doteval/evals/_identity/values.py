"""What values are, as nested tuples of plain values, and what they are looked into for."""

from __future__ import annotations

import functools
import logging
import re
import types
from argparse import Namespace
from array import array
from collections import ChainMap, UserString
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from enum import Enum
from itertools import islice
from pathlib import PurePath
from types import FunctionType, MethodType
from typing import Any, TypeVar, cast

from .._kinds import Kinds
from .._tabular import held_by_table
from .aliases import is_alias, parts_of_alias
from .callables import Callables
from .checkout import Project
from .credentials import hides_itself, is_credential, without_environment
from .kept import is_state, without_measured
from .library import is_library_class, is_library_module
from .looks import (
    ATOMS,
    attribute_of,
    attributes_of,
    class_of,
    described_as,
    digest_of,
    digest_of_bytes,
    is_module,
    own_text_of,
    present_in,
    type_name,
)
from .names import in_order
from .places import IN_NO_ORDER, Path, Step
from .state import State
from .ways import Large, Ways

ItemT = TypeVar("ItemT")

_FAR = 50
"""How much of the way to a value that is said once is known; what is further away may be as far as there are values."""
_MOST = 2_000_000
"""How many values that hold others are looked at at most; there may be no end of them."""
FEW = 100
"""How many items of what is written are looked at each by itself."""
_LONG = 10_000
"""How many items are kept as they are, before they become a fingerprint."""
_LONGEST_NAME = 40
_MOST_WITHIN = 1000
"""How many items of containers are looked at that code makes when it is asked for them, and that are in others such."""
MADE_HERE = ("what it holds", "its keys")
"""Where containers are set aside that are made here, and so are no one's to be taken apart."""
BY_ITEM = "by item"
"""What is said instead of all that a container, or an object, holds, where each of it is looked at by itself."""
_LISTS = Kinds((list, tuple))
_SETS_AND_LISTS = Kinds((list, tuple, set, frozenset))
_NAMESPACES = Kinds((types.SimpleNamespace, Namespace))
_FACTORIES = Kinds((bool, dict, float, int, list, set, str, tuple))


class Values(Callables):
    """Says what values are.

    Args:
        state: What the code writes, which does not count.
        project: The directory of the user's project; of paths within it counts only where in it they are, as it may be
            in another place tomorrow.
    """

    def __init__(self, state: State, project: str | None = None) -> None:
        super().__init__(state, _MOST)
        self._project = Project(project)
        self._is_guarded = False
        """Whether what is looked at now holds a credential."""
        self._ways = Ways()
        self._path: Path = ()
        """The way to what is looked at now from what has a name."""
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
        if id(kind) in ATOMS.ids:
            if (kind is str or kind is bytes) and len(around := self._project.around(value)) > 1:
                return kind.__name__, repr(around)
            return kind.__name__, hex(value) if kind is int else repr(value)
        self.left_to_see -= 1
        ways = self._ways
        known = ways.reference_to(value, self._path, is_provider=self._is_provider)
        if known is not None:
            return "held", known
        if self.left_to_see < 0:
            return "again", type_name(kind)
        is_tried = bool(above) and not ways.is_trying
        if is_tried:
            ways.try_it(len(above))
        ways.spend(value, kind, len(above))
        if ways.left >= 0:
            described = self._look(value, kind, (*above, id(value)))
            if not is_tried or ways.has_tried():
                return described
        elif not is_tried or ways.has_tried():
            return ()
        return "held", ways.refer_to(Large(value, self._path[:_FAR], self.level, self._is_provider))

    def _large(self, large: Large) -> object:
        """What a value is that others refer to."""
        self._path, self.level, before = large.path, large.level, self._is_provider
        self._is_provider = large.is_provider
        described = self._look(large.value, class_of(large.value), (0, id(large.value)))
        self.level, self._is_provider = 0, before
        return described

    def _look(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object:
        path = self._path
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
            self._path = path
            return "deep", type_name(kind)
        except Exception:  # whoever uses it is told
            self._path = path
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
        if kind in _NAMESPACES:
            return "namespace", self._mapping(self._kept(value, attributes_of(value)), above)
        if isinstance(value, Mapping):
            if any(each is dict for each in kind.__mro__):
                self._note_order(given)
            factory: Any = attribute_of(given, "default_factory")
            held = self._mapping(cast("Mapping[object, object]", value), above, fresh=factory)
            maps = self._of(attribute_of(given, "maps"), above) if isinstance(value, ChainMap) else ()
            return "mapping", held, maps, self._of(factory, above), *self._besides(given, kind, above)
        if isinstance(value, (PurePath, UserString)):
            return type_name(kind), self._of(str(value), above), *self._own(value, kind, above)
        text = own_text_of(value, kind)
        if text is not None:
            around = self._project.around(value) if isinstance(value, (str, bytes)) else ()
            return "text", text if len(around) < 2 else around, *self._own(value, kind, above)
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
            return "sequence", kind.__name__, attribute_of(given, "maxlen"), *items, *self._besides(given, kind, above)
        if isinstance(value, AbstractSet):
            held = self._sorted(self._of(item, above) for item in self._items(cast("AbstractSet[object]", value)))
            return "set", *held, *self._besides(given, kind, above)
        if is_dataclass(value):
            names = {field.name: getattr(value, field.name, None) for field in fields(value)}
            more = {} if is_library_class(kind) else attributes_of(value)
            return self._object(value, {**more, **names}, above)
        return None

    def _shortly(self, described: object) -> str:
        """A fingerprint of what is said, which stands in what is said of others."""
        return digest_of(described)

    def _items(self, values: Sequence[Any] | AbstractSet[Any]) -> Iterator[Any]:
        """What a container holds, as long as it is not too much; of one that is the user's, as many as it says."""
        if self.state.hides_content(values):
            self._set_content_aside(values)
            return
        written = self.state.keys_in(values) if isinstance(values, Sequence) else frozenset[object]()
        places = {place % len(values) for place in written if isinstance(place, int) and len(values)}
        is_plain = class_of(values) in _SETS_AND_LISTS
        path, ways = self._path, self._ways
        for place, item in enumerate(values if is_plain else self._given_by(values, values)):
            if self.left_to_see < 0 or ways.left < 0:
                return
            if place in places:
                self._set_aside(f"item {place}", None, item, values)
            elif class_of(item) in ATOMS:
                yield item
            else:
                self._path = (*path, Step(f"item {place}") if isinstance(values, Sequence) else IN_NO_ORDER)
                yield item
                self._path = path

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
            self._set_aside(MADE_HERE[0], None, held, values)
            return
        self._set_aside(MADE_HERE[0], None, BY_ITEM, values)
        if is_mapping:
            self._set_aside(MADE_HERE[1], None, dict.fromkeys(held), values)
            for key, item in held.items():
                self._set_aside(f"key {self._called(key)}", key, item, values)
        else:
            self._set_aside("its length", None, len(held), values)
            for place, item in enumerate(held):
                self._set_aside(f"item {place}", None, item, values)

    def _called(self, key: object) -> str:
        """A key that may be shown, as names may; of any other, a fingerprint."""
        is_shown = isinstance(key, str) and key.isidentifier() and len(key) < _LONGEST_NAME
        return repr(key) if is_shown else digest_of(self._as_met(self._of(key, ())))

    def _listed(self, items: Iterable[object], above: tuple[int, ...]) -> tuple[object, ...]:
        return self._shortened(self._of(item, above) for item in items)

    def _sorted(self, described: Iterable[object]) -> tuple[object, ...]:
        return self._shortened(in_order([*described]))

    def _shortened(self, described: Iterable[object]) -> tuple[object, ...]:
        """Descriptions of items; of many, a fingerprint, as they would take much memory."""
        left, chunks = iter(described), list[str]()
        while True:
            chunk = tuple(islice(left, _LONG))
            if not chunks and len(chunk) < _LONG:
                return chunk
            if not chunk:
                return "long", *chunks
            chunks.append(self._shortly(chunk))

    def _mapping(self, values: Mapping[Any, Any], above: tuple[int, ...], *, fresh: Any = None) -> tuple[object, ...]:
        asked: list[Any] = []
        described = self._sorted(
            (self._of(key, above), self._part(key, value, above))
            for key, value in self._entries(values)
            if not (fresh in _FACTORIES and _is_fresh(key, value, fresh, asked))
        )
        if asked:
            self._set_aside("keys with fresh values", None, set(asked), values)
        return described

    def _note_order(self, values: Mapping[Any, Any]) -> None:
        """The keys of a mapping stand in some order."""

    def _entries(self, values: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
        """The keys and values of a mapping, without those that are written."""
        if self.state.hides_content(values):
            self._set_content_aside(values)
            return
        written = self.state.keys_in(values)
        is_plain, ways = class_of(values) is dict, self._ways
        for key, value in values.items() if is_plain else self._given_by(values.items(), values):
            if self.left_to_see < 0 or ways.left < 0:
                return
            if written and key in written:
                self._set_aside(f"key {self._called(key)}", key, value, values)
                continue
            if not self._is_provider or not is_credential(key, value):
                yield key, value

    def _part(self, name: object, value: object, above: tuple[int, ...]) -> object:
        """What a value is that something holds under a name."""
        if class_of(value) in ATOMS:
            return self._held(name, value, above)
        before, self._path = self._path, (*self._path, name)
        described = self._held(name, value, above)
        self._path = before
        return described

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


def _is_fresh(key: object, value: object, fresh: Any, asked: list[Any]) -> bool:
    """Whether a value is what is made of nothing; its key is noted then."""
    is_fresh = class_of(value) is fresh and not value
    if is_fresh:
        asked.append(key)
    return is_fresh
