"""Finds paths and texts in what the user says that results depend on, however deep they are in it."""

from __future__ import annotations

import inspect
import os
from array import array
from collections import UserString
from collections.abc import Iterable, Iterator, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import chain
from types import FunctionType, MemberDescriptorType, ModuleType, SimpleNamespace
from typing import Any, cast

from .._identity.library import is_library_class
from .._kinds import Kinds

_FLAT = (str, UserString, bytes, bytearray, memoryview, range, array, int, float, complex, type(None), os.PathLike)
"""What holds nothing else."""
_PLAIN = Kinds((list, dict, tuple, set, frozenset))
"""Containers that have nothing else."""
_FIELDS = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__", "model_fields")
_END = object()


def paths_in(value: object) -> Iterator[tuple[os.PathLike[Any], str]]:
    """The paths in a value; and where what is in their files does not count, the class of what holds them.

    Args:
        value: The value.

    Raises:
        ValueError: In it is an iterator, of which nobody can see what it gives.
    """
    for each, owner in _all_in(value, objects=True):
        if isinstance(each, os.PathLike):
            yield each, owner
        elif isinstance(each, Iterator) and not owner:
            name = type(cast("object", each)).__name__
            raise ValueError(
                f"depends_on has an iterator ({name}), and nobody sees what it gives without taking it away: name a "
                "list of that"
            )


def texts_in(value: object) -> Iterator[str]:
    """The texts in a value, without the keys of mappings."""
    return (each for each, _ in _all_in(value, objects=False) if isinstance(each, str))


def _all_in(value: object, *, objects: bool) -> Iterator[tuple[object, str]]:
    """A value, and all that is in it; with the class of the object of which it is an attribute, where that is no field.

    Args:
        value: The value.
        objects: Whether what is in objects is in it, and keys of mappings.
    """
    seen: dict[int, object] = {}
    """What was looked into, by its number, which nothing else may get meanwhile."""
    open_: list[tuple[Iterator[object], str]] = [(iter((value,)), "")]
    while open_:
        items, owner = open_[-1]
        each = next(items, _END)
        if each is _END:
            open_.pop()
            continue
        yield each, owner
        if isinstance(each, _FLAT) or id(each) in seen:
            continue
        seen[id(each)] = each
        held = _held_by(each, keys=objects)
        if held is not None:
            open_.append((iter(held), owner))
        if objects and type(each) not in _PLAIN:
            fields, others = _fields_of(each)
            open_ += [(iter(others), owner or type(each).__qualname__), (iter(fields), owner)]


def _held_by(value: object, *, keys: bool) -> Iterable[object] | None:
    """What a container holds; `None` where it is none."""
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value)
        return chain(items.keys(), items.values()) if keys else items.values()
    if isinstance(value, Sequence) and _is_like_text(cast("Sequence[object]", value)):
        return None
    return cast("Iterable[object]", value) if isinstance(value, (Sequence, AbstractSet, MappingView)) else None


def _is_like_text(value: Sequence[object]) -> bool:
    """Whether its items are of its own kind, and theirs, without end, as those of a text are."""
    kind: type[Any] = type(value)
    if kind in _PLAIN or is_library_class(kind) or not len(value):
        return False
    first = value[0]
    return type(first) is kind and len(cast("Sequence[object]", first)) == 1


def _fields_of(value: Any) -> tuple[list[object], list[object]]:
    """What is in the fields of a data class, or of one of attrs or pydantic, and in all other attributes of an object.

    Of what somebody else has made these are its own affair.
    """
    kind: type[Any] = type(cast("object", value))
    if isinstance(value, SimpleNamespace) or f"{kind.__module__}.{kind.__qualname__}" == "argparse.Namespace":
        return [*vars(value).values()], []
    if kind is partial:
        return [], [*value.args, *value.keywords.values()]
    found: dict[str, object] = {}
    for which in _FIELDS:
        fields = inspect.getattr_static(kind, which, None)
        if isinstance(fields, (dict, tuple)):
            names = [each if isinstance(each, str) else each.name for each in cast("Iterable[Any]", fields)]
            found |= {name: getattr(value, name, None) for name in names}
    if found:
        found["__pydantic_extra__"] = getattr(value, "__pydantic_extra__", None)
    is_own = not isinstance(value, (type, FunctionType, ModuleType)) and not hasattr(kind, "__doteval_identity__")
    others = _attributes_of(value, kind) if is_own and not is_library_class(kind) else {}
    return [*found.values()], [each for name, each in others.items() if name not in found]


def _attributes_of(value: object, kind: type[Any]) -> dict[str, object]:
    found: dict[str, object] = dict(getattr(value, "__dict__", {}))
    for each in kind.__mro__:
        for name, member in vars(each).items():
            if isinstance(member, MemberDescriptorType):
                found[name] = getattr(value, member.__name__, None)
    return found
