"""What is found in functions, classes and values without describing them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any, cast

from .library import is_library_file, is_library_module
from .looks import ATOMS, attribute_of, class_of, held_by
from .uses import Steps

PLAIN = frozenset({list, dict, tuple, set, frozenset})
"""Containers of which there may be many, and large ones."""


def holds_no_code(value: Any, depth: int = 5) -> bool:
    """Whether a container holds nothing but plain values, as most data do."""
    for item in (*value, *value.values()) if class_of(value) is dict else value:
        kind = class_of(item)
        if kind not in ATOMS and not (kind in PLAIN and depth and holds_no_code(item, depth - 1)):
            return False
    return True


def variable_of(function: FunctionType, name: str) -> tuple[Any, Any] | None:
    """What holds a free or a global variable, and what that is now; `None` where there is none."""
    free = function.__code__.co_freevars
    if name in free:
        cell = (function.__closure__ or ())[free.index(name)]
        return cell, held_by(cell)
    scope = function.__globals__
    return (scope, scope[name]) if name in scope else None


def defaults_of(function: FunctionType) -> dict[str, object]:
    """What the parameters of a function hold that is not given any."""
    given, code = function.__defaults__ or (), function.__code__
    names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    return {**dict(zip(names, given, strict=True)), **(function.__kwdefaults__ or {})}


def is_librarys(value: object) -> bool:
    """Whether a value is of a class, or is a class, whose methods are somebody else's."""
    kind = cast("type[Any]", value) if isinstance(value, type) else class_of(value)
    return is_library_module(kind.__module__) and not isinstance(value, (FunctionType, functools.partial))


def ways_of(found: Mapping[type[Any], set[Steps]], kind: type[Any]) -> set[Steps]:
    """What the methods of a class write, those of its bases included."""
    return {way for each in kind.__mro__ for way in found.get(each, ())}


def functions_of(value: Any, depth: int = 3) -> Iterator[tuple[FunctionType, bool]]:
    """The functions of the user's that are behind a method, or a property; each with whether it sets something."""
    if isinstance(value, property):
        for each in (value.fget, value.fset, value.fdel):
            yield from ((function, each is not value.fget) for function, _ in functions_of(each))
    elif isinstance(value, FunctionType):
        if not is_library_file(value.__code__.co_filename):
            yield value, False
        for cell in value.__closure__ or () if depth else ():
            held = held_by(cell)
            if isinstance(held, FunctionType):
                yield from functions_of(held, depth - 1)
    elif isinstance(value, (staticmethod, classmethod)):
        yield from functions_of(cast("Any", value).__func__, depth)
    elif isinstance(value, (functools.cached_property, functools.partialmethod)):
        yield from functions_of(attribute_of(cast("object", value), "func"), depth)
    elif depth and not isinstance(value, type) and is_library_module(class_of(value).__module__):
        yield from functions_of(attribute_of(value, "__wrapped__"), depth - 1)
