"""Where something is within what has a name: the keys, attributes and items that lead to it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from .looks import ATOMS, class_of, digest_of, is_class, is_function, type_name

Path: TypeAlias = "tuple[object, ...]"
"""The keys of mappings, the names of attributes, and steps that say themselves what they are."""
_LONGEST_NAME = 40
_ONE_OF_MANY = "one of them"
"""What is in no order that lasts."""


class Step(str):
    """A step that is called as it stands."""

    __slots__ = ()


IN_NO_ORDER = Step(_ONE_OF_MANY)


class Written(NamedTuple):
    """What the code seems to write of one owner.

    Args:
        owner: What it is a part of, which stays alive.
        path: The way to the owner.
        name: What it is called there.
        value: What it is.
    """

    owner: object
    path: Path
    name: object
    value: object


def is_nearer(one: Path, other: Path) -> bool:
    """Whether a way is the one by which something is called that several lead to, in whatever order these are gone."""
    return len(one) < len(other) or (len(one) == len(other) and shown(one) < shown(other))


def shown(path: Path) -> str:
    """A way in words, each step after a comma."""
    return "".join(f", {_called(step)}" for step in path)


def by_place(written: Iterable[Written], most: int) -> list[tuple[str, Path, list[Written]]]:
    """What is written by where it is, each with that in words; all at one place where there are more of these.

    Args:
        written: What is written.
        most: How many places there may be.
    """
    held = [*written]
    found: dict[str, list[Written]] = {}
    for each in held:
        found.setdefault(shown(each.path), []).append(each)
    if len(found) > most:
        return [("", (), held)]
    return [(text, alike[0].path, alike) for text, alike in sorted(found.items())]


def _called(step: object) -> str:
    return str(step) if class_of(step) is Step else called(step)


def called(key: Any) -> str:
    """A key that may be shown, as names may; of any other, a fingerprint, where it has one that lasts."""
    kind = class_of(key)
    if issubclass(kind, Enum):
        return f"{kind.__qualname__}.{key.name}"
    if kind is str and key.isidentifier() and len(key) < _LONGEST_NAME:
        return repr(key)
    if is_class(key) or is_function(key):
        return key.__qualname__
    if kind in ATOMS or (kind is tuple and all(class_of(each) in ATOMS for each in key)):
        return digest_of((type_name(kind), key))
    return _ONE_OF_MANY
