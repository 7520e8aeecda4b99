"""Types that are made of others: ``list[Item]``, ``Item | None``, ``"models.Item"``, and what is named so."""

from __future__ import annotations

import ast
import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ForwardRef, Literal, NewType, TypeVar, get_args, get_origin

from .looks import attribute_of, class_of, is_class, is_module

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


def named_in(annotation: object, scope: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, Any]]:
    """What texts in an annotation stand for, wherever in it they are: what holds it, its name there, and what it is.

    Args:
        annotation: The annotation.
        scope: The variables of the module in which it stands.
    """
    left, seen = [annotation], set[object]()
    while left:
        each = left.pop()
        text = each.__forward_arg__ if isinstance(each, ForwardRef) else each
        if isinstance(text, str):
            for path in _names_in(str(text)) if text not in seen else ():
                found = _variable_at(scope, path)
                if found is not None:
                    yield found
                    left.append(found[2])
            seen.add(text)
        elif id(each) not in seen and is_alias(each):
            seen.add(id(each))
            left += _types_in(each)


def _types_in(alias: Any) -> list[Any]:
    origin, parts = get_origin(alias), [*parts_of_alias(alias)]
    if isinstance(alias, (NewType, TypeVar)) or class_of(alias).__name__ == "TypeAliasType":
        return parts[1:]  # its name is none
    if origin is Literal:
        return []
    return parts[1:2] if origin is Annotated else parts


def _variable_at(scope: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Mapping[str, Any], str, Any] | None:
    """What lies at the end of a way through modules and classes; `None` where there is nothing."""
    owner, (name, *rest) = scope, path
    if name not in owner:
        return None
    value: Any = owner[name]
    for each in rest:
        if not is_module(value) and not is_class(value):
            return None
        owner, name, value = vars(value), each, attribute_of(value, each)
    return None if value is None or is_module(value) else (owner, name, value)


@functools.lru_cache(maxsize=4096)
def _names_in(text: str) -> tuple[tuple[str, ...], ...]:
    """The names that are read in a text, each with the attributes that are read of it."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return (*dict.fromkeys(_names_at(tree)),)


def _names_at(node: ast.AST, *, is_type: bool = True) -> Iterator[tuple[str, ...]]:
    match node:
        case ast.Name() | ast.Attribute():
            path, inner = path_of(node)
            if isinstance(inner, ast.Name):
                yield path
            else:
                yield from _names_at(inner)
        case ast.Constant(value=str() as text) if is_type:
            yield from _names_in(text)
        case ast.Subscript(value=made, slice=given):
            yield from _names_at(made)
            name = getattr(made, "attr", getattr(made, "id", ""))
            parts = given.elts if isinstance(given, ast.Tuple) else [given]
            for place, part in enumerate(parts):
                is_text = name == "Literal" or (name == "Annotated" and place > 0)
                yield from _names_at(part, is_type=not is_text)
        case _:
            for each in ast.iter_child_nodes(node):
                yield from _names_at(each, is_type=is_type)


def path_of(node: ast.AST) -> tuple[tuple[str, ...], ast.AST]:
    """The attributes that are read in an expression, behind the name of which they are, and of what they are."""
    path: list[str] = []
    while isinstance(node, ast.Attribute):
        path.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        path.append(node.id)
    return (*reversed(path),), node
