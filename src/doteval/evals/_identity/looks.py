"""What single values, functions and classes look like to whoever walks over them."""

from __future__ import annotations

import functools
import inspect
import re
from hashlib import blake2b
from types import CellType, FunctionType
from typing import Any

from ... import ModelRequest
from .code import read
from .library import is_library_module

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
CREDENTIAL = re.compile(
    r"(api[-_]?key|access[-_]?key|secret([-_]key)?|passw(or)?d|(access|auth|hf)[-_]?token|authorization|cookie)$",
    re.IGNORECASE,
)
TELLING = ("base_url", "model", "model_name", "model_id", "name", "spec", "temperature", "_fingerprint", "__name__")
"""What clients, models and data sets of the field call what their answers depend on."""
ATOMS = (bool, int, float, complex, str, bytes, type(None), type(...))
INITIALISERS = ("__init__", "__new__", "__post_init__", "__setstate__", "model_post_init")
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
    """A setting as people read it; `None` where it is long, or holds a secret."""
    own = {name.rpartition(".")[2]: value}
    if isinstance(value, (str, int, float)) and ModelRequest("", params=own).open_params != own:
        return None
    if isinstance(value, str):
        return value if len(value) <= SHOWN else None
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST_SHOWN):
        return str(value)
    return None


def is_credential(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, (str, bytes)) and CREDENTIAL.search(name) is not None


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
    for name, told in attributes_of(value).items():
        if not name.startswith("_") and isinstance(told, (str, FunctionType)):
            found.setdefault(name, told)
    return found


def class_of(value: object) -> type[Any]:
    return type(value)


def held_by(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
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
