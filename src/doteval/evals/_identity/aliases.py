"""Types that are made of others: ``list[Item]``, ``Item | None``, ``Annotated[Item, ...]``, and what is named so."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, ForwardRef, NewType, TypeVar, get_args, get_origin

from .looks import attribute_of, class_of

_HOMES = frozenset({"types", "typing", "typing_extensions"})


def is_alias(value: object) -> bool:
    """Whether a value is such a type."""
    kind = class_of(value)
    if kind is types.GenericAlias or kind is types.UnionType:
        return True
    if kind.__module__ not in _HOMES or isinstance(value, type):
        return False
    is_named = isinstance(value, (NewType, TypeVar, ForwardRef)) or kind.__name__ == "TypeAliasType"
    return is_named or get_origin(value) is not None


def parts_of_alias(value: Any) -> Iterator[Any]:
    """What it is made of."""
    kind = class_of(value)
    if isinstance(value, NewType):
        yield from (value.__name__, value.__supertype__)
    elif isinstance(value, ForwardRef):
        yield value.__forward_arg__
    elif isinstance(value, TypeVar):
        yield from (value.__name__, value.__bound__, *value.__constraints__, attribute_of(value, "__default__"))
    elif kind.__name__ == "TypeAliasType":
        yield from (value.__name__, value.__value__)
    else:
        origin = get_origin(value)
        yield typing.Union if origin is types.UnionType else origin
        yield from get_args(value)
