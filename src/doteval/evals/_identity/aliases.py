"""Types that are made of others: ``list[Item]``, ``Item | None``."""

from __future__ import annotations

import ast
import types
import typing
from collections.abc import Iterator
from dataclasses import InitVar
from typing import Annotated, Any, ForwardRef, NewType, TypeVar, get_args, get_origin

from .looks import attribute_of, class_of

_HOMES = frozenset({"types", "typing", "typing_extensions"})


def is_alias(value: object) -> bool:
    """Whether a value is such a type."""
    kind = class_of(value)
    if kind is types.GenericAlias or kind is types.UnionType or kind is InitVar:
        return True
    if kind.__module__ not in _HOMES or isinstance(value, type):
        return False
    is_named = isinstance(value, (NewType, TypeVar, ForwardRef)) or kind.__name__ == "TypeAliasType"
    return is_named or get_origin(value) is not None


def parts_of_alias(value: Any) -> Iterator[Any]:
    """What it is made of."""
    yield from (part for part, _ in all_parts_of_alias(value))


def all_parts_of_alias(value: Any) -> Iterator[tuple[Any, bool]]:
    """The same, each with whether it is a type, in which texts stand for types."""
    kind = class_of(value)
    if isinstance(value, NewType):
        yield from ((value.__name__, False), (value.__supertype__, True))
    elif isinstance(value, ForwardRef):
        yield value.__forward_arg__, True
    elif isinstance(value, TypeVar):
        yield value.__name__, False
        types_of_it = (value.__bound__, *value.__constraints__, attribute_of(value, "__default__"))
        yield from ((each, each is not None) for each in types_of_it)
    elif kind.__name__ == "TypeAliasType":
        yield from ((value.__name__, False), (value.__value__, True))
    elif kind is InitVar:
        yield from ((InitVar, False), (value.type, True))
    else:
        origin = get_origin(value)
        yield typing.Union if origin is types.UnionType else origin, False
        first = 0 if is_literal(origin) else 1 if is_annotated(origin) else len(get_args(value))
        yield from ((each, place < first) for place, each in enumerate(get_args(value)))


def is_literal(origin: object) -> bool:
    """Whether what is given to this to make a type are values."""
    return attribute_of(origin, "_name") == "Literal" and class_of(origin).__module__ in _HOMES


def is_annotated(origin: object) -> bool:
    """The same of all but the first one."""
    return origin is Annotated


def path_of(node: ast.AST) -> tuple[tuple[str, ...], ast.AST]:
    """The attributes that are read in an expression, behind the name of which they are, and of what they are."""
    path: list[str] = []
    while isinstance(node, ast.Attribute):
        path.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        path.append(node.id)
    return (*reversed(path),), node
