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
_MOST = 200_000
"""How many values that hold others are looked into at most."""
_AGAIN = 3
"""How often one that refers to itself in the end is looked into, where others lead to it by many ways."""
_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
_LARGEST = 10**4000  # Python refuses to write an integer of more than 4300 digits in decimal
_KIND = "\ud800"
"""A key that nothing has which can be kept."""
_BYTES: tuple[type, ...] = (bytes, bytearray, memoryview)


def plain(value: Any) -> Plain:
    """A value as JSON and a file can hold it; what they cannot hold is replaced by its ``repr``, without addresses.

    What refers to itself is cut where it comes again, and what many others of its circle refer to, after a few times.
    In a text, half a character (a lone surrogate) is escaped.
    """
    kind = cast("type[object]", type(value))
    if kind is str:  # as most are
        return value if value.isascii() else storable(value)
    if value is None or kind is bool:
        return cast("Plain", value)
    return _Plain().of(value, ())


def plain_with_models(value: Any) -> Plain:
    """The same, and of what pydantic has made, as the messages of SDKs are, the fields that were set."""
    return _Plain(opens_models=True).of(value, ())


def exact(value: Any) -> Plain:
    """The same, but that what is not kept as it is says what it was: it is like no other value, and cannot be kept.

    So a tuple is no list here, NaN is not the text ``nan``, and the key ``1`` is not ``"1"``.
    """
    return _Plain(is_exact=True).of(value, ())


def plain_and_whole(value: Any) -> tuple[Plain, bool]:
    """The same, and whether all of the value is in it: not of an object that says only that it is there."""
    made = _Plain()
    found = made.of(value, ())
    return found, made.is_whole


def storable(text: str) -> str:
    """A text that can be encoded: half a character, as a model may be cut off in, becomes its escape."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def text_of(value: object) -> str:
    """What a value says of itself, as a text that can be encoded; it may fail at that."""
    try:
        return storable(str(value))
    except Exception:
        return f"<a {type(value).__name__}>"


class _Plain:
    """Makes one value plain; knows what it has looked into, as values that refer to each other have no end of ways."""

    __slots__ = ("_cuts", "_is_exact", "_left", "_opens_models", "_times", "is_whole")

    def __init__(self, *, opens_models: bool = False, is_exact: bool = False) -> None:
        self._opens_models = opens_models
        self._is_exact = is_exact
        self.is_whole = True
        self._left = _MOST
        self._cuts = 0
        self._times: dict[int, int] = {}

    def of(self, value: Any, above: tuple[int, ...]) -> Plain:
        """A value, and those that hold it, by their ``id``."""
        kind = cast("type[object]", type(value))
        if kind is str:
            return value if value.isascii() or self._is_exact else storable(value)
        if value is None or kind is bool:
            return cast("Plain", value)
        if isinstance(value, (str, int, float)):
            self.is_whole = self.is_whole and not getattr(value, "__dict__", None)
            return self._text_or_number(value)
        if id(value) in above:
            self._cuts += 1
            return f"<the {kind.__name__} that holds it>"
        if self._times and self._times.get(id(value)) == _AGAIN:
            return f"<the {kind.__name__} that is there {_AGAIN} times>"
        if self._left == 0:
            self.is_whole = False
            return f"<a {kind.__name__}: there is too much>"
        if len(above) == _DEEPEST:  # its ``repr`` might have no end either
            self._cuts += 1
            self.is_whole = False
            return f"<a {kind.__name__}: too deep>"
        self._left -= 1
        before = self._cuts
        try:
            return self._structured(value, (*above, id(value)))
        except Exception:  # what it holds cannot be read
            return self._opaque(value)
        finally:
            if self._cuts > before:
                self._times[id(value)] = self._times.get(id(value), 0) + 1

    def _text_or_number(self, value: str | float) -> Plain:
        if isinstance(value, str):
            return str(value) if self._is_exact else storable(str(value))
        if isinstance(value, int):
            return int(value) if -_LARGEST < value < _LARGEST else self._instead("int", hex(value))
        return float(value) if math.isfinite(value) else self._instead("float", repr(float(value)))

    def _instead(self, kind: str, found: Plain) -> Plain:
        """What stands for a value of a kind that cannot be kept."""
        return {_KIND: [kind, found]} if self._is_exact else found

    def _structured(self, value: Any, above: tuple[int, ...]) -> Plain:
        if self._opens_models and callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
            return self.of(dump(exclude_unset=True, warnings=False), above)
        name = cast("type[object]", type(value)).__name__
        if isinstance(value, (Mapping, Sequence, AbstractSet)):
            self._look_at_attributes(cast("object", value))
        if isinstance(value, Mapping):
            items = [*cast("Mapping[object, object]", value).items()]
            if self._is_exact and any(type(key) is not str for key, _ in items):
                pairs: list[Plain] = [[self.of(key, above), self.of(item, above)] for key, item in items]
                return self._instead("mapping", sorted(pairs, key=repr))
            names = [str(key) for key, _ in items] if self._is_exact else names_of([key for key, _ in items])
            return {name: self.of(item, above) for name, (_, item) in zip(names, items, strict=True)}
        if isinstance(value, Sequence) and not isinstance(value, _BYTES):
            listed: list[Plain] = [self.of(item, above) for item in cast("Sequence[object]", value)]
            return listed if name == "list" else self._instead(name, listed)
        if isinstance(value, AbstractSet):
            held = sorted((self.of(item, above) for item in cast("AbstractSet[object]", value)), key=repr)
            return self._instead(name, held)
        given: Any = cast("object", value)
        if is_dataclass(given) and not isinstance(given, type):
            found: Plain = {field.name: self.of(getattr(given, field.name), above) for field in fields(given)}
            return self._instead(name, found)
        tolist = getattr(given, "tolist", None)  # what arrays and their scalars have, of all libraries
        if callable(tolist) and not isinstance(given, (type, *_BYTES)):
            told = tolist()
            if isinstance(told, list):
                return self._instead(name, self.of(told, above))
            if isinstance(told, (bool, int, float, str)):
                return self.of(told, above)
        return self._opaque(given)

    def _look_at_attributes(self, value: object) -> None:
        """What a container has besides what it holds is not kept."""
        self.is_whole = self.is_whole and not getattr(value, "__dict__", None)

    def _opaque(self, value: object) -> Plain:
        """What a value says of itself; that is all of it only where it is no mere sign that it is there."""
        self.is_whole = False
        return self._instead("", _described(value))


def names_of(keys: Sequence[object]) -> list[str]:
    """What keys are called: different ones differently, and a text that can be kept as it is."""
    names = [_name(key) for key in keys]
    if len(set(names)) == len(names):
        return names
    taken = {name for key, name in zip(keys, names, strict=True) if key == name}
    for place, key in enumerate(keys):
        if key == names[place]:
            continue
        name, number = names[place], 1
        while name in taken:
            name = f"{names[place]} ({type(key).__name__}{f' {number}' if number > 1 else ''})"
            number += 1
        taken.add(name)
        names[place] = name
    return names


def _name(key: object) -> str:
    if isinstance(key, int) and not -_LARGEST < key < _LARGEST:
        return hex(key)
    return storable(str(key))


def _described(value: object) -> str:
    try:
        return storable(_ADDRESS.sub("", repr(value)))
    except Exception as exc:  # a repr may be broken
        return f"<{type(value).__name__}: its repr failed with {type(exc).__name__}>"


def digest(values: object) -> str:
    """A fingerprint of values."""
    return digest_of_plain(exact(values))


def digest_of_plain(values: Plain) -> str:
    """A fingerprint of values that are plain already."""
    text = _canonical(values)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
