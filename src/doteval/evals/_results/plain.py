"""What values become when they are stored: what JSON can hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias, cast

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 50
_MOST = 200_000
"""How many values that hold others are looked into at most."""
_AGAIN = 3
"""How often one that refers to itself in the end is looked into, where others lead to it by many ways."""
_LARGEST = 10**4000  # Python refuses to write an integer of more than 4300 digits in decimal
_MISSING = ("NAType", "NaTType")
"""The values of pandas that say that there is none."""
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


def storable(text: str) -> str:
    """A text that can be encoded: half a character, as a model may be cut off in, becomes its escape."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def says_nothing(value: object) -> bool:
    """Whether a value, as it is kept, says that there is none: an empty cell of a table, and what stands for NaN."""
    return value is None or (isinstance(value, str) and (value == "nan" or not value.strip()))


def text_of(value: object) -> str:
    """What a value says of itself, as a text that can be encoded; it may fail at that."""
    try:
        return storable(str(value))
    except Exception:
        return f"<a {type(value).__name__}>"


class _Plain:
    """Makes one value plain; knows what it has looked into, as values that refer to each other have no end of ways."""

    __slots__ = ("_cuts", "_left", "_opens_models", "_times")

    def __init__(self, *, opens_models: bool = False) -> None:
        self._opens_models = opens_models
        self._left = _MOST
        self._cuts = 0
        self._times: dict[int, int] = {}

    def of(self, value: Any, above: tuple[int, ...]) -> Plain:
        """A value, and those that hold it, by their ``id``."""
        kind = cast("type[object]", type(value))
        if kind is str:
            return value if value.isascii() else storable(value)
        if value is None or kind is bool:
            return cast("Plain", value)
        if isinstance(value, str):
            return storable(str(value))
        if isinstance(value, int):
            return int(value) if -_LARGEST < value < _LARGEST else hex(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else repr(float(value))
        if id(value) in above:
            self._cuts += 1
            return f"<the {kind.__name__} that holds it>"
        if self._times and self._times.get(id(value)) == _AGAIN:
            return f"<the {kind.__name__} that is there {_AGAIN} times>"
        if self._left == 0:
            return f"<a {kind.__name__}: there is too much>"
        if len(above) == _DEEPEST:  # its ``repr`` might have no end either
            self._cuts += 1
            return f"<a {kind.__name__}: too deep>"
        self._left -= 1
        before = self._cuts
        try:
            return self._structured(value, (*above, id(value)))
        except Exception:  # what it holds cannot be read
            return _described(value)
        finally:
            if self._cuts > before:
                self._times[id(value)] = self._times.get(id(value), 0) + 1

    def _structured(self, value: Any, above: tuple[int, ...]) -> Plain:
        if self._opens_models and callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
            return self.of(dump(exclude_unset=True, warnings=False), above)
        if isinstance(value, Mapping):
            items = [*cast("Mapping[object, object]", value).items()]
            names = names_of([key for key, _ in items])
            return {name: self.of(item, above) for name, (_, item) in zip(names, items, strict=True)}
        if isinstance(value, Sequence) and not isinstance(value, _BYTES):
            return [self.of(item, above) for item in cast("Sequence[object]", value)]
        if isinstance(value, AbstractSet):
            return sorted((self.of(item, above) for item in cast("AbstractSet[object]", value)), key=repr)
        given: Any = cast("object", value)
        if type(given).__name__ in _MISSING and type(given).__module__.startswith("pandas."):
            return None
        if is_dataclass(given) and not isinstance(given, type):
            return {field.name: self.of(getattr(given, field.name), above) for field in fields(given)}
        tolist = getattr(given, "tolist", None)  # what arrays and their scalars have, of all libraries
        if callable(tolist) and not isinstance(given, (type, *_BYTES)):
            listed = tolist()
            if listed is None or isinstance(listed, (bool, int, float, str, list)):
                return self.of(listed, above)
        return _described(given)


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
