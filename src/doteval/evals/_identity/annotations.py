"""What the texts in annotations stand for, as if they stood there without quotes: they are read, and not run."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, ForwardRef, TypeAlias

from .aliases import is_alias, is_annotated, is_literal, path_of
from .library import is_library_class, is_library_module
from .looks import INITIALISERS, OF_VALUES, attribute_of, class_of, is_class, is_function, is_generated, is_module

Scopes: TypeAlias = tuple[Mapping[str, Any], ...]
"""What holds the names of an annotation, the nearest first: only types in a class, and anything in a module."""
_UNION: Any = typing.Union  # unlike an operator, it takes texts
_OF_SUBCLASSES = ("__init_subclass__", "__pydantic_init_subclass__")
_OF_TYPES = frozenset({"annotated_types", "pydantic", "typing_extensions"})
_Find: TypeAlias = Callable[[tuple[str, ...]], Any]


class UnknownError(Exception):
    """Nobody knows what something stands for, or it would have to be run."""


def text_of(annotation: object) -> str | None:
    """The text of an annotation that is one."""
    text = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
    return str(text) if isinstance(text, str) else None


def type_of(text: str, find: _Find) -> Any:
    """What a text stands for; the text where nobody knows.

    Args:
        text: The text.
        find: Gives what is behind a name and the attributes that are read of it, or raises `UnknownError`.
    """
    try:
        node = _parsed(text)
        found = _type(node, find)
    except Exception:  # it is none, or what makes it of others says so
        return text
    is_made = isinstance(node, ast.Subscript | ast.BinOp | ast.Call)
    is_type = is_made or found is None or is_class(found) or is_alias(found)
    return found if is_type or ast.unparse(node) == text else text  # what is no type may be read as it stands there


def scopes_of_class(kind: type[Any]) -> Scopes:
    """What names in a class's annotations may stand for."""
    return vars(kind), getattr(sys.modules.get(kind.__module__), "__dict__", {})


def scopes_of_text(annotation: object, scopes: Scopes) -> Scopes:
    """The same of a text; a ``TypedDict`` has those of its bases, which may be of other modules.

    Args:
        annotation: The text.
        scopes: What those of whatever has it may stand for.
    """
    name = annotation.__forward_module__ if isinstance(annotation, ForwardRef) else None
    module = sys.modules.get(name) if isinstance(name, str) else name
    return (vars(module),) if is_module(module) and vars(module) is not scopes[-1] else scopes


def scopes_of_function(function: FunctionType) -> Scopes:
    """The same of a function, or of the one that it says it is."""
    try:
        inner: Any = inspect.unwrap(function)
    except ValueError:  # it wraps itself
        inner = function
    scope = inner.__globals__ if is_function(inner) else function.__globals__
    owner = variable_at(scope, tuple(function.__qualname__.split(".")[:-1]))
    return (vars(owner[2]), scope) if owner is not None and is_class(owner[2]) else (scope,)


def variable_in(scopes: Scopes, path: tuple[str, ...]) -> tuple[Mapping[str, Any], str, Any] | None:
    """What holds what lies at the end of a way through modules and classes, its name there, and what it is.

    It is `None` where there is nothing.
    """
    *of_classes, of_module = scopes
    for scope in of_classes:
        if is_class(scope.get(path[0])) or is_alias(scope.get(path[0])):
            return variable_at(scope, path)
    return variable_at(of_module, path) or variable_at(vars(builtins), path)


def nearest_in(scopes: Scopes, path: tuple[str, ...]) -> tuple[Mapping[str, Any], str, Any] | None:
    """The same of the value on that way whose attributes are read, where what is behind these is out of sight."""
    found = (variable_in(scopes, path[:end]) for end in range(len(path), 0, -1))
    return next((each for each in found if each is not None), None)


def variable_at(scope: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Mapping[str, Any], str, Any] | None:
    """The same of one scope."""
    if not path or path[0] not in scope:
        return None
    owner, (name, *rest) = scope, path
    value: Any = owner[name]
    for each in rest:
        if not is_module(value) and not is_class(value):
            return None
        owner, name, value = vars(value), each, attribute_of(value, each)
    return None if value is None or is_module(value) else (owner, name, value)


def names_in(text: str) -> Iterator[tuple[str, ...]]:
    """The names that are read in a text, each with the attributes that are read of it."""
    try:
        yield from dict.fromkeys(_names_at(_parsed(text)))
    except UnknownError:
        return


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UnknownError from None


def _type(node: ast.expr, find: _Find) -> Any:
    match node:
        case ast.Name() | ast.Attribute():
            try:
                return _value(node, find)
            except UnknownError:  # as a text it may be a part of another one
                return ast.unparse(node)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _UNION[_type(left, find), _type(right, find)]
        case ast.List(elts=parts):
            return [_type(each, find) for each in parts]
        case ast.Subscript(value=made, slice=given):
            origin = _type(made, find)
            if not _is_made_by_library(origin):
                raise UnknownError
            parts = given.elts if isinstance(given, ast.Tuple) else [given]
            first = 0 if is_literal(origin) else 1 if is_annotated(origin) else len(parts)
            found = [(_type if place < first else _value)(each, find) for place, each in enumerate(parts)]
            return origin[(*found,) if isinstance(given, ast.Tuple) else found[0]]
        case _:
            return _value(node, find)


def _value(node: ast.expr, find: _Find) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            path, inner = path_of(node)
            if isinstance(inner, ast.Name):
                return find(path)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=parts):
            return [_value(each, find) for each in parts]
        case ast.Tuple(elts=parts):
            return tuple(_value(each, find) for each in parts)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_value(key, find): _value(each, find) for key, each in zip(keys, values, strict=True) if key}
        case ast.Call(func=func, args=args, keywords=keywords):
            made = _value(func, find)
            named = {each.arg: _value(each.value, find) for each in keywords if each.arg is not None}
            if _only_keeps(made) and len(named) == len(keywords):
                return made(*(_value(each, find) for each in args), **named)
        case _:
            pass
    raise UnknownError


def _is_made_by_library(origin: Any) -> bool:
    """Whether no code of the user's makes a type of this one and of others."""
    kinds = [*origin.__mro__] if is_class(origin) else []
    names = ("__class_getitem__", *(_OF_SUBCLASSES if attribute_of(origin, "__pydantic_decorators__") else ()))
    of_class = any(name in vars(each) for each in kinds if not is_library_class(each) for name in names)
    return not of_class and all(
        is_library_class(each) or "__getitem__" not in vars(each) for each in class_of(origin).__mro__
    )


def _only_keeps(made: Any) -> bool:
    """Whether what is called makes something of what it is given, and does nothing else: a setting of a field, say."""
    module = attribute_of(made, "__module__")
    if not is_class(made) or is_library_class(made):
        is_of_python = isinstance(module, str) and module.partition(".")[0] in sys.stdlib_module_names
        is_known = is_class(made) and module in {"builtins", *OF_VALUES}
        return is_known or (is_library_module(module) and not is_of_python and _is_setting(made))
    own = [(each, name) for each in made.__mro__ if not is_library_class(each) for name in INITIALISERS]
    does = [(vars(each)[name], name, each) for each, name in own if name in vars(each)]
    return (
        is_library_class(class_of(made))
        and not _asks_others(made)
        and all(is_generated(name, attribute_of(each, "__func__") or each, kind) for each, name, kind in does)
    )


def _is_setting(made: Any) -> bool:
    """Whether what is called of a library makes something: a class, or what is named like one, or a type."""
    home = str(attribute_of(made, "__module__")).partition(".")[0]
    return is_class(made) or home in _OF_TYPES or str(attribute_of(made, "__name__") or "")[:1].isupper()


def _asks_others(kind: type[Any]) -> bool:
    """Whether an object of a class is checked when it is made, or some of it is made by what may do anything."""
    fields: Mapping[str, Any] = attribute_of(kind, "__dataclass_fields__") or {}
    factories = [each.default_factory for each in fields.values() if each.default_factory is not dataclasses.MISSING]
    of_attrs: Any = attribute_of(kind, "__attrs_attrs__") or ()
    factories += [attribute_of(each.default, "factory") for each in of_attrs]
    return (
        attribute_of(kind, "__pydantic_decorators__") is not None
        or any(each.converter is not None or each.validator is not None for each in of_attrs)
        or not all(each is None or (is_class(each) and is_library_class(each)) for each in factories)
    )


def _names_at(node: ast.AST, *, is_type: bool = True) -> Iterator[tuple[str, ...]]:
    match node:
        case ast.Name() | ast.Attribute():
            path, inner = path_of(node)
            if isinstance(inner, ast.Name):
                yield path
            else:
                yield from _names_at(inner)
        case ast.Constant(value=str() as text) if is_type:
            yield from names_in(text)
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
