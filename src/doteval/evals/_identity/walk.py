"""Fingerprints of values, and of all that they refer to: functions, classes, what these read, and so on.

What is the user's is looked into, what belongs to an installed package is known by its name. A value that says what it
is, in its ``repr``, is that. Of anything else, such as a client or a lock, only its class is known and the attributes
by which the field's libraries say what they ask.

What the code itself writes, such as a counter or a cache, is state of the run and no part of it.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
import sys
import types
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from importlib import import_module
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, cast

from .code import Code, read
from .library import is_library_file, is_library_module

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_HAS_USER = re.compile(r"://[^/\s]*@")
_CREDENTIAL = re.compile(
    r"(api_?key|access_?key|secret(_key)?|passw(or)?d|(access|auth)_?token|authorization)$", re.IGNORECASE
)
_TELLING = ("base_url", "model", "model_name", "model_id", "name", "spec", "temperature", "_fingerprint")
"""What clients, models and data sets of the field call what their answers depend on."""
_ATOMS = (bool, int, float, complex, str, bytes, type(None), type(...))
_INITIALISERS = ("__init__", "__new__", "__post_init__", "__setstate__", "model_post_init")
_NOT_THE_USERS = frozenset(
    {
        *("__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__class_getitem__"),
        *("__classcell__", "__dict__", "__doc__", "__firstlineno__", "__hash__", "__match_args__", "__module__"),
        *("__orig_bases__", "__parameters__", "__qualname__", "__slots__", "__static_attributes__", "__weakref__"),
        "_abc_impl",
    }
)
"""What Python puts into a class."""
_DEEPEST = 100
_SHOWN = 200
"""How many characters of a setting are shown at most."""
_LARGEST_SHOWN = 10**18


class Walk:
    """Looks at values, and finds what they refer to."""

    def __init__(self) -> None:
        self._names: dict[tuple[object, ...], str] = {}
        self._taken: Counter[str] = Counter()
        self._kept: list[object] = []
        """What has a name, so that nothing else gets its ``id`` meanwhile."""
        self._left: list[tuple[str, Callable[[], object]]] = []
        self.parts: dict[str, str] = {}
        """The fingerprints, by what they are of; of what may be shown, the thing itself behind an equals sign."""

    def add(self, name: str, value: object) -> None:
        """Look at a value that is known by a name, and at all that it refers to."""
        self.parts[self._free(name)] = _digest(self._of(value, ()))
        self._finish()

    def add_function(self, name: str, function: object) -> None:
        """Look at a function that is known by a name."""
        if isinstance(function, FunctionType) and not is_library_file(function.__code__.co_filename):
            self._named((id(function),), function, name, lambda: self._function(function))
            self._finish()
        else:
            self.add(name, function)

    def add_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        """Look at settings that may be shown, each by itself."""
        for key, value in settings.items():
            label = f"{name}'s {key}"
            if value is None or _is_credential(key, value):
                continue
            if isinstance(value, Mapping):
                inner = cast("Mapping[object, Any]", value)
                self.add_settings(name, {f"{key}.{each}": inner[each] for each in inner})
            else:
                shown = _shown(value)
                if shown is None:
                    self.add(label, value)
                else:
                    self.parts[self._free(label)] = f"={shown}"

    def _finish(self) -> None:
        while self._left:
            name, describe = self._left.pop()
            self.parts[name] = _digest(describe())

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
        kind = _class_of(value)
        if kind in _ATOMS:
            return kind.__name__, hex(value) if kind is int else repr(value)
        if id(value) in above or len(above) == _DEEPEST:
            return "again", _type_name(kind)
        above = (*above, id(value))
        identity = getattr(kind, "__doteval_identity__", None)
        if identity is not None:
            try:
                found: Mapping[str, Any] = identity(value)
            except Exception:  # whoever uses it is told
                return "identity", _type_name(kind)
            return "identity", self._mapping({key: each for key, each in found.items() if each is not None}, above)
        for describe in (self._code_of, self._data_of):
            described = describe(value, kind, above)
            if described is not None:
                return described
        return self._object_of(value, kind, above)

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
        wrapped = getattr(value, "__wrapped__", None)
        if callable(value) and callable(wrapped):
            return "wrapped", _type_name(kind), self._of(wrapped, above)
        return None

    def _data_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object | None:
        """What a value is that holds others, or itself; `None` where it is none such."""
        if isinstance(value, Enum):
            return "member", self._class(kind), value.name, self._of(value.value, above)
        if isinstance(value, Mapping):
            return "mapping", self._mapping(cast("Mapping[object, object]", value), above)
        if isinstance(value, str):
            return "str", str.__repr__(value)
        if isinstance(value, (bytearray, memoryview)):
            return kind.__name__, _bytes(bytes(cast("bytearray", value)))
        if hasattr(kind, "dtype") and hasattr(kind, "tobytes"):  # arrays and their scalars
            return _type_name(kind), str(value.dtype), str(getattr(value, "shape", "")), _bytes(value.tobytes())
        if hasattr(kind, "dtype") and hasattr(kind, "tolist"):  # tensors
            return _type_name(kind), str(value.dtype), self._of(value.tolist(), above)
        if kind.__module__.partition(".")[0] in ("pandas", "polars"):
            for method in ("to_csv", "write_csv"):
                if hasattr(kind, method):
                    return _type_name(kind), _bytes(str(getattr(value, method)()).encode("utf-8", "backslashreplace"))
        if isinstance(value, Sequence):
            return "sequence", *(self._of(item, above) for item in cast("Sequence[object]", value))
        if isinstance(value, AbstractSet):
            return "set", *sorted((self._of(item, above) for item in cast("AbstractSet[object]", value)), key=repr)
        if is_dataclass(value):
            names = [field.name for field in fields(value)]
            return self._object(value, {name: getattr(value, name, None) for name in names}, above)
        return None

    def _object_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object:
        """What any other object is."""
        if hasattr(value, "__next__") or hasattr(value, "__anext__") or isinstance(value, logging.Logger):
            return "state", _type_name(kind)
        if not is_library_module(kind.__module__):
            return self._object(value, _attributes_of(value), above)
        dump = getattr(kind, "model_dump", None)
        if dump is not None:
            return _type_name(kind), self._of(dump(value), above)
        described = _described(value)
        if described is not None:
            return _type_name(kind), described
        telling = {name: getattr(value, name, None) for name in _TELLING}
        plain = {name: told for name, told in telling.items() if isinstance(told, _ATOMS) and told is not None}
        urls = {name: str(told) for name, told in telling.items() if type(told).__name__ == "URL"}
        return "opaque", _type_name(kind), self._mapping({**plain, **urls}, above)

    def _mapping(self, values: Mapping[Any, Any], above: tuple[int, ...]) -> tuple[object, ...]:
        return tuple(
            sorted(
                (
                    (self._of(key, above), self._of(value, above))
                    for key, value in values.items()
                    if not _is_credential(key, value)
                ),
                key=repr,
            )
        )

    def _object(self, value: object, attributes: Mapping[str, Any], above: tuple[int, ...]) -> tuple[object, ...]:
        kind = _class_of(value)
        state = _state_of(cast("Hashable", kind))
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
                return "function", self._named((id(value),), value, name, lambda: self._function(value))
            wrapped = getattr(value, "__wrapped__", None)
            if wrapped is not None:
                return "wrapped", _qualified(value), self._of(wrapped, above)
            if value.__closure__:  # made by a library of what the user has given
                return "made", _qualified(value), *(self._of(_cell(cell), above) for cell in value.__closure__)
        return "library", _qualified(value)

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
            if name in cells:
                yield self._reference(name, _cell(cells[name]), path, cells[name])
            elif name in function.__globals__:  # else it is a builtin, or not there yet
                yield self._reference(name, function.__globals__[name], path, function.__globals__)
        for level, module, names in code.imports:
            package = function.__globals__.get("__package__") or ""
            yield from self._imported("." * level + module, package, names)

    def _reference(self, name: str, value: object, path: tuple[str, ...], owner: object) -> object:
        while isinstance(value, ModuleType) and path and not is_library_module(value.__name__):
            owner, (name, *rest) = value, path
            value, path = getattr(value, name, None), tuple(rest)
        if _is_credential(name, value):
            return name
        if isinstance(value, (FunctionType, ModuleType, type)):
            return name, self._of(value, ())
        return self._named((name, id(owner)), owner, f"the value '{name}'", lambda: self._of(value, ()))

    def _imported(self, name: str, package: str, names: tuple[str, ...]) -> Iterator[object]:
        """What a function imports where it is called: of the user's modules, what it takes from them."""
        if not name.startswith(".") and is_library_module(name):
            return
        try:
            module = import_module(name, package)
        except Exception:  # whoever calls the function is told
            return
        for each in names:
            value = getattr(module, each, None) or sys.modules.get(f"{module.__name__}.{each}")
            yield self._reference(each, value, (), module)

    def _class(self, kind: type[Any]) -> object:
        if is_library_module(kind.__module__):
            return "library", _type_name(kind)
        name = f"the class '{kind.__qualname__}'"
        return "class", self._named((id(kind),), kind, name, lambda: self._members(kind))

    def _members(self, kind: type[Any]) -> object:
        found: list[object] = [tuple(self._class(base) for base in kind.__bases__)]
        schema = getattr(kind, "model_json_schema", None)
        if schema is not None:
            try:
                found.append(self._of(schema(), ()))
            except Exception:  # it is not ready, and says so where it is used
                found.append("no schema")
        for name, value in sorted(vars(kind).items()):
            if name in _NOT_THE_USERS or name.startswith(("__pydantic", "__dataclass")):
                continue
            if name == "__annotations__":
                found.append((name, _ADDRESS.sub("", repr(value))))
                continue
            if isinstance(value, FunctionType):
                if not _is_generated(name, value):
                    found.append((name, self._function(value)))
            elif not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                found.append((name, self._of(value, ())))
        return tuple(found)


def _attributes_of(value: object) -> dict[str, Any]:
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots: Any = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and name not in ("__dict__", "__weakref__"):
                found[name] = getattr(value, name)
    return found


@functools.lru_cache(maxsize=1024)
def _state_of(kind: Any) -> frozenset[str]:
    """The attributes that an object's own methods write after it was made."""
    found: set[str] = set()
    own: type[Any] = kind
    for each in own.__mro__:
        if is_library_module(each.__module__):
            continue
        for name, value in vars(each).items():
            function = getattr(value, "__func__", value)
            if isinstance(function, FunctionType) and name not in _INITIALISERS:
                found |= read(function.__code__).writes_attributes
    return frozenset(found)


def _is_generated(name: str, function: FunctionType) -> bool:
    """Whether a method was made by ``dataclass`` and the like, of fields that are known."""
    inner: Any = inspect.unwrap(function)
    file: str = getattr(getattr(inner, "__code__", None), "co_filename", "")
    return name.startswith("__") and file.startswith("<")


def _shown(value: object) -> str | None:
    """A setting as people read it; `None` where it is long, or holds a password."""
    if isinstance(value, str):
        return value if len(value) <= _SHOWN and not _HAS_USER.search(value) else None
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST_SHOWN):
        return str(value)
    return None


def _is_credential(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, (str, bytes)) and _CREDENTIAL.search(name) is not None


def _class_of(value: object) -> type[Any]:
    return type(value)


def _cell(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _described(value: object) -> str | None:
    """What a value says that it is; nothing where it says only that it is there."""
    try:
        text = repr(value)
    except Exception:  # it says nothing
        return None
    return None if text.startswith("<") or _ADDRESS.search(text) else text


def _type_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _qualified(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"


def _bytes(data: bytes) -> str:
    return blake2b(data, digest_size=12).hexdigest()


def _digest(described: object) -> str:
    return _bytes(repr(described).encode("utf-8", "backslashreplace"))
