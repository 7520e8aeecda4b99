"""What single values, functions and classes look like to whoever walks over them."""

from __future__ import annotations

import functools
import inspect
import re
from contextvars import ContextVar
from hashlib import blake2b
from types import CellType, FunctionType
from typing import Any

from ... import ModelRequest
from .code import read
from .library import is_library_module

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
TELLING = ("base_url", "model", "model_name", "model_id", "name", "spec", "temperature", "_fingerprint", "__name__")
"""What clients, models and data sets of the field call what their answers depend on."""
MADE_OF = {
    "jinja2": (
        *("loader", "loaders", "mapping", "globals", "filters", "tests", "policies", "undefined"),
        *("autoescape", "trim_blocks", "lstrip_blocks", "keep_trailing_newline"),
    )
}
"""What objects of a library are made of besides: an environment of templates, of all that it renders with."""
ATOMS = (bool, int, float, complex, str, bytes, type(None), type(...))
PYTHONS_OWN = frozenset(
    {
        *("__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__class_getitem__"),
        *("__classcell__", "__dict__", "__doc__", "__firstlineno__", "__hash__", "__match_args__", "__module__"),
        *("__orig_bases__", "__parameters__", "__qualname__", "__slotnames__", "__slots__", "__static_attributes__"),
        *("__weakref__", "_abc_impl"),
    }
)
"""What Python puts into a class."""
INITIALISERS = ("__init__", "__new__", "__post_init__", "__setstate__", "model_post_init")
PARAMETER = re.compile(r"params\.[^.]*")
MAY_BE_SHOWN = frozenset({"base_url", "provider", "spec", "temperature", "seed", "max_model_len"})
SHOWN = 200
"""How many characters of a setting are shown at most."""
LARGEST_SHOWN = 10**18


def attributes_of(value: object) -> dict[str, Any]:
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots: Any = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and name not in ("__dict__", "__weakref__"):
                found[name] = getattr(value, name)
    return found


def state_of(kind: type[Any]) -> frozenset[str]:
    """The attributes that an object's own methods write after it was made."""
    found: set[str] = set()
    for each in kind.__mro__:
        if is_library_module(each.__module__):
            continue
        for name, value in vars(each).items():
            function = getattr(value, "__func__", value)
            if isinstance(function, FunctionType) and name not in INITIALISERS:
                found |= read(function.__code__).own_attributes
            elif isinstance(value, functools.cached_property):
                found.add(name)
    return frozenset(found)


def described_to_others(function: FunctionType) -> tuple[str, str]:
    """What a function says of itself to whoever is given it, as a model is that may call it."""
    try:
        signature = ADDRESS.sub("", str(inspect.signature(function)))
    except (TypeError, ValueError):
        signature = ""
    return function.__doc__ or "", signature


def is_generated(name: str, function: FunctionType) -> bool:
    """Whether a method was made by ``dataclass`` and the like, of fields that are known."""
    inner: Any = inspect.unwrap(function)
    file: str = getattr(getattr(inner, "__code__", None), "co_filename", "")
    return name.startswith("__") and file.startswith("<")


def shown_as(name: str, value: object) -> str | None:
    """A setting as people read it; `None` where it is long, holds a secret, or may for all that is known of it."""
    own = {name.rpartition(".")[2]: value}
    if name not in MAY_BE_SHOWN and not PARAMETER.fullmatch(name):
        return None
    if isinstance(value, (str, int, float)) and ModelRequest("", params=own).open_params != own:
        return None
    if isinstance(value, str):
        return value if len(value) <= SHOWN else None
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST_SHOWN):
        return str(value)
    return None


def table_of(value: Any) -> tuple[tuple[str, ...], Any] | None:
    """What kind of a table, array or tensor a value is, and what it holds; `None` where it is none."""
    kind = class_of(value)
    if kind.__module__.partition(".")[0] in ("pandas", "polars"):
        for method in ("to_csv", "write_csv"):
            if hasattr(kind, method):
                return (type_name(kind),), str(getattr(value, method)())
    if not hasattr(kind, "dtype"):
        return None
    shape = str(getattr(value, "shape", ""))
    if getattr(value.dtype, "hasobject", False):  # its bytes are addresses
        return (type_name(kind), shape), value.tolist()
    if hasattr(kind, "tobytes"):  # arrays and their scalars
        return (type_name(kind), str(value.dtype), shape), digest_of_bytes(value.tobytes())
    return ((type_name(kind), str(value.dtype)), value.tolist()) if hasattr(kind, "tolist") else None


def attribute_of(value: object, name: str) -> Any:
    """An attribute, where there is one; asking may raise whatever it likes."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None


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


def type_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def qualified(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"


def digest_of_bytes(data: bytes) -> str:
    return blake2b(data, digest_size=12).hexdigest()


def digest_of(described: object) -> str:
    return digest_of_bytes(repr(described).encode("utf-8", "backslashreplace"))
