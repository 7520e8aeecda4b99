"""What single values, functions and classes look like to whoever walks over them."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum
from hashlib import blake2b
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, TypeGuard, cast

from ... import ModelRequest
from .._digests import origin_of
from .._kinds import Kinds, known_by_kind
from .library import is_library_class

_AS_TEXTS: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    _AS_TEXTS["annotation_format"] = Format.FORWARDREF
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
TELLING = ("base_url", "model", "model_name", "model_id", "name", "spec", "temperature", "_fingerprint", "__name__")
"""What clients, models and data sets of the field call what their answers depend on."""
MADE_OF = {
    "concurrent": ("_initargs",),
    "logging": ("formatter", "filters", "level"),
    "zipfile": ("fp",),
    "pydantic": ("_type", "_config"),
    "jinja2": (
        *("loader", "loaders", "mapping", "globals", "filters", "tests", "policies", "undefined"),
        *("autoescape", "trim_blocks", "lstrip_blocks", "keep_trailing_newline"),
    ),
}
"""What objects of a library are made of besides: an environment of templates of all that it renders with, an adapter of
its type, a handler of how it writes."""
ATOMS = Kinds((bool, int, float, complex, str, bytes, type(None), type(...)))
PYTHONS_OWN = frozenset(
    {
        *("__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__classcell__"),
        *("__dict__", "__doc__", "__firstlineno__", "__module__"),
        *("__annotations__", "__orig_bases__", "__parameters__", "__qualname__", "__slotnames__", "__slots__"),
        *("__static_attributes__", "__weakref__", "_abc_impl"),
    }
)
"""What Python puts into a class."""
ENUMS_OWN = frozenset(
    {
        *("_all_bits_", "_flag_mask_", "_hashable_values_", "_inverted_", "_member_map_", "_member_type_"),
        *("_singles_mask_", "_sort_order_", "_unhashable_values_", "_unhashable_values_map_", "_use_args_"),
        *("_value2member_map_", "_value_repr_"),
    }
)
"""What Python puts into a class of members; some of it grows as they are used."""
_TOLD: dict[type[Any], Callable[[Any], str]] = {
    str: str.__repr__,
    int: hex,
    float: float.hex,
    complex: complex.__repr__,
    bytes: bytes.__repr__,
    range: repr,
}
OF_VALUES = frozenset(
    {"_pydatetime", "datetime", "decimal", "fractions", "ipaddress", "pathlib", "pathlib._local", "uuid"}
)
"""Modules whose classes are values that say what they are."""
INITIALISERS = ("__init__", "__new__", "__post_init__", "__setstate__", "model_post_init")
PARAMETER = re.compile(r"params\.[^.]*")
MAY_BE_SHOWN = frozenset({"base_url", "provider", "spec", "temperature", "seed", "max_model_len"})
SHOWN = 200
"""How many characters of a setting are shown at most."""
_LOOKED_AT = 100
_NOBODYS = "_an_attribute_that_nobody_has"
LARGEST_SHOWN = 10**18


def attributes_of(value: object) -> dict[str, Any]:
    found = dict(attribute_of(value, "__dict__") or {})
    for kind in type(value).__mro__:
        slots: Any = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in ("__dict__", "__weakref__"):
                continue
            stored = _as_stored(name, kind)
            held = attribute_of(value, stored)
            if held is not None or (stored not in found and _has(value, stored)):
                found[stored] = held
    return found


def _as_stored(name: str, kind: type[Any]) -> str:
    """What an attribute of a class is called, of one that is private what Python makes of it."""
    owner = kind.__name__.lstrip("_")
    return f"_{owner}{name}" if owner and name.startswith("__") and not name.endswith("__") else name


def _has(value: object, name: str) -> bool:
    try:
        return hasattr(value, name)
    except Exception:  # asking may raise whatever it likes
        return False


def has_more(value: object) -> bool:
    """Whether there is more in what is a number, or a text, than that."""
    return class_of(value) not in ATOMS and not isinstance(value, Enum) and bool(attributes_of(value))


def own_text_of(value: Any, kind: type[Any]) -> str | None:
    """What a number, a text, or the like is, whatever its class makes it say; `None` where it is none such."""
    for base, told in _TOLD.items():
        if isinstance(value, base):
            return f"{type_name(kind if is_library_class(kind) else base)} {told(value)}"
    if is_library_class(kind):
        return None
    bases: list[Any] = [each for each in kind.__mro__ if each.__module__ in OF_VALUES]
    return f"{type_name(bases[0])} {bases[0].__repr__(value)}" if bases else None


def parameters_of(function: FunctionType) -> list[tuple[str, str, object, object]]:
    """The parameters of a function, each with its kind, default and annotation; in the end what it returns."""
    try:
        signature = inspect.signature(function, **_AS_TEXTS)
    except Exception:  # its annotations cannot be found
        return []
    found = [(each.name, each.kind.name, each.default, each.annotation) for each in signature.parameters.values()]
    return [*found, ("return", "", inspect.Parameter.empty, signature.return_annotation)]


def is_generated(name: str, function: FunctionType, kind: type[Any]) -> bool:
    """Whether a method was made for a class by ``dataclass``, attrs or ``NamedTuple``, of fields that are known."""
    inner: Any = inspect.unwrap(function)
    code: CodeType | None = getattr(inner, "__code__", None)
    if code is None:
        return False
    if name == "__new__" and "_fields" in vars(kind) and issubclass(kind, tuple):
        return code.co_name == "<lambda>"
    if is_function(function) and is_made_by_attrs(function):
        return True
    return code.co_qualname.startswith("__create_fn__.") or code.co_filename.startswith("<attrs generated ")


def is_made_by_attrs(function: FunctionType) -> bool:
    """Whether a method is one that attrs has, or that it has made of its own code."""
    return function.__globals__.get("__name__") == "attr._make"


def shown_as(name: str, value: object) -> str | None:
    """A setting as people read it; `None` where it is long, holds a secret, or may for all that is known of it."""
    own = {name.rpartition(".")[2]: value}
    if name not in MAY_BE_SHOWN and not PARAMETER.fullmatch(name):
        return None
    if has_more(value):
        return None
    if isinstance(value, (str, int, float)) and ModelRequest("", params=own).open_params != own:
        return None
    if isinstance(value, str):
        return value if len(value) <= SHOWN else None
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST_SHOWN):
        return str(value)
    return None


def attribute_of(value: object, name: str) -> Any:
    """An attribute, where there is one; asking may raise whatever it likes, also what skips a test.

    Of an object that has whatever it is asked for, as a deferred expression does, only what is really there.
    """
    try:
        if _makes_attributes(type(value)):
            plain: Any = type if isinstance(value, type) else object
            try:
                return plain.__getattribute__(value, name)
            except AttributeError:
                if _has(value, _NOBODYS):
                    return None
        return getattr(value, name, None)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None


@known_by_kind
def _makes_attributes(kind: Any) -> bool:
    """Whether objects of a class have attributes that are made when they are asked for."""
    ways = ("__getattr__", "__getattribute__")
    bases = cast("tuple[type[Any], ...]", kind.__mro__)
    return any(isinstance(vars(each).get(name), FunctionType) for each in bases for name in ways)


def telling_of(value: object) -> dict[str, Any]:
    """What an object of a library has that says what it is: a prompt template's text, say, or a client's address."""
    found: dict[str, Any] = {}
    for name in TELLING:
        told = attribute_of(value, name)
        if told is not None and (type(told) in ATOMS or type(told).__name__ == "URL"):
            found[name] = told if type(told) in ATOMS else str(told).rstrip("/")
    more = MADE_OF.get(type(value).__module__.partition(".")[0], ())
    for name, told in attributes_of(value).items():
        if name in more or (not name.startswith("_") and isinstance(told, (str, FunctionType))):
            found.setdefault(name, told)
    return found


def class_of(value: object) -> type[Any]:
    return type(value)


def is_function(value: object) -> TypeGuard[FunctionType]:
    """Whether a value is one; what only says so, as a proxy does, is not."""
    return type(value) is FunctionType


def is_module(value: object) -> TypeGuard[ModuleType]:
    """The same of modules."""
    return issubclass(type(value), ModuleType)


def is_class(value: object) -> TypeGuard[type[Any]]:
    """The same of classes."""
    return issubclass(type(value), type)


def held_by(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def present_in(variable: ContextVar[Any]) -> object:
    """What a context variable holds here; `None` where that is nothing."""
    try:
        return variable.get()
    except LookupError:
        return None


def described_as(value: object) -> str | None:
    """What a value says that it is; nothing where it says only that it is there."""
    try:
        text = repr(value)
    except Exception:  # it says nothing
        return None
    return None if text.startswith("<") or ADDRESS.search(text) else text


def is_made_of_attributes(value: Any, text: str) -> bool:
    """Whether what an object says that it is are its attributes, or has a set in it, which is in no order there."""
    held: object = getattr(value, "__dict__", None)
    if not isinstance(held, dict) or not held:
        return False
    attributes = cast("dict[str, object]", held)
    return all(f"{name}=" in text for name in attributes) or any(map(_holds_a_set, attributes.values()))


def _holds_a_set(value: Any, depth: int = 4) -> bool:
    if depth == 0 or type(value) in ATOMS:
        return False
    if isinstance(value, (set, frozenset)):
        return len(cast("set[object]", value)) > 1
    if isinstance(value, (list, tuple)):
        return any(_holds_a_set(each, depth - 1) for each in cast("list[object]", value)[:_LOOKED_AT])
    inner: object = cast("object", value) if isinstance(value, dict) else getattr(value, "__dict__", None)
    held = [*cast("dict[object, object]", inner).values()] if isinstance(inner, dict) else []
    return any(_holds_a_set(each, depth - 1) for each in held[:_LOOKED_AT])


def type_name(kind: type[Any]) -> str:
    return f"{origin_of(kind).__module__}.{kind.__qualname__}"


def maker_of(function: FunctionType) -> str:
    """The function of a library that has made another one, whatever that says of itself, as with `functools.wraps`."""
    return f"{function.__globals__.get('__name__')}.{function.__code__.co_qualname}"


def qualified(value: Any) -> str:
    return f"{attribute_of(value, '__module__') or ''}.{attribute_of(value, '__qualname__') or type(value).__name__}"


def digest_of_bytes(data: bytes) -> str:
    return blake2b(data, digest_size=12).hexdigest()


def digest_of(described: object) -> str:
    return digest_of_bytes(repr(described).encode("utf-8", "backslashreplace"))


_NAMES_OF_ATOMS = frozenset(kind.__name__ for kind in ATOMS)


def is_plain_data(described: Any) -> bool:
    """Whether what is said of a value is that of texts and numbers, and of lists and the like of such."""
    match described:
        case (str() as kind, str()) if kind in _NAMES_OF_ATOMS:
            return True
        case ("sequence", "list" | "tuple", *items) | ("set", *items):
            return all(map(is_plain_data, items))
        case ("held", str()):  # which is said elsewhere
            return True
        case ("mapping", _):
            pairs = cast("tuple[tuple[object, ...], ...]", described[1])
            return all(len(pair) == 2 and all(map(is_plain_data, pair)) for pair in pairs)
        case _:
            return False


def holds_others(described: Any) -> bool:
    """Whether what is said of plain data is that of a list or the like."""
    return described[0] not in _NAMES_OF_ATOMS
