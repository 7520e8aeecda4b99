"""What values become when they are stored: what JSON can hold, and always the same for the same value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any, TypeAlias, cast

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 50
_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
_SIMPLE = (str, bool, int)
_BYTES: tuple[type, ...] = (bytes, bytearray, memoryview)


def plain(value: Any, depth: int = 0) -> Plain:
    """A value as JSON can hold it; what it cannot hold is replaced by its ``repr``, without addresses."""
    if value is None or type(value) in _SIMPLE:
        return cast("Plain", value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else repr(float(value))
    return _structured(value, depth) if depth < _DEEPEST else _described(value)


def _structured(value: Any, depth: int) -> Plain:
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {str(key): plain(item, depth + 1) for key, item in items}
    if isinstance(value, Sequence) and not isinstance(value, _BYTES):
        return [plain(item, depth + 1) for item in cast("Sequence[object]", value)]
    if isinstance(value, AbstractSet):
        return sorted((plain(item, depth + 1) for item in cast("AbstractSet[object]", value)), key=repr)
    given: Any = cast("object", value)
    if is_dataclass(given) and not isinstance(given, type):
        return {field.name: plain(getattr(given, field.name), depth + 1) for field in fields(given)}
    return _described(given)


def _described(value: object) -> str:
    try:
        return _ADDRESS.sub("", repr(value))
    except Exception as exc:  # a repr may be broken
        return f"<{type(value).__name__}: its repr failed with {type(exc).__name__}>"


def digest(values: Mapping[str, Any]) -> str:
    """A fingerprint of a row's values."""
    return digest_of_plain(plain(values))


def digest_of_plain(values: Plain) -> str:
    """A fingerprint of values that are plain already."""
    text = _canonical(values)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
