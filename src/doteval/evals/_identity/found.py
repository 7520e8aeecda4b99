"""What is found in functions, classes and values without describing them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from .._kinds import Kinds
from .library import is_library, is_library_class, is_library_file, users_module
from .looks import ATOMS, attribute_of, class_of, held_by, is_class, is_function, is_module
from .uses import ITSELF, Steps

PLAIN = Kinds((list, dict, tuple, set, frozenset))
"""Containers of which there may be many, and large ones."""


def holds_no_code(value: Any, depth: int = 5, seen: set[int] | None = None) -> bool:
    """Whether a container holds nothing but plain values, as most data do."""
    seen = set() if seen is None else seen  # many may share one
    for item in (*value, *value.values()) if class_of(value) is dict else value:
        kind = class_of(item)
        if id(kind) in ATOMS.ids or id(item) in seen:
            continue
        if id(kind) not in PLAIN.ids or not depth or not holds_no_code(item, depth - 1, seen):
            return False
        seen.add(id(item))
    return True


def variable_of(function: FunctionType, name: str) -> tuple[Any, Any] | None:
    """What holds a free or a global variable, and what that is now; `None` where there is none."""
    free = function.__code__.co_freevars
    if name in free:
        cell = (function.__closure__ or ())[free.index(name)]
        return cell, held_by(cell)
    scope = function.__globals__
    return (scope, scope[name]) if name in scope else None


def behind_modules(owner: Any, name: str, value: Any, path: tuple[str, ...]) -> tuple[Any, str, Any, tuple[str, ...]]:
    """What is read of modules of the user's: what holds it, its name, what it is, and what is read of that."""
    while path and path[0] != "__dict__" and is_module(value) and not is_library(value):
        owner, (name, *rest) = vars(value), path
        value, path = attribute_of(value, name), tuple(rest)
    return owner, name, value, path


def imported_by(
    function: FunctionType, level: int, name: str, taken: Collection[str]
) -> Iterator[tuple[Any, str, Any]]:
    """What a function imports where it is called of the user's: what holds it, its name, and what it is.

    Args:
        function: The function.
        level: How far up, of a relative import.
        name: The module.
        taken: What it takes from there; where that is nothing, it gets the module, and the packages that this is in.
    """
    package = function.__globals__.get("__package__")
    package = package if isinstance(package, str) else ""
    if taken:
        module = users_module("." * level + name, package)
        if module is not None:
            yield from ((vars(module), each, taken_from(module, each)) for each in taken)
        return
    parts = name.split(".")
    absolute = [".".join(parts[: place + 1]) for place in range(len(parts))]
    for each in [name] if name.startswith(".") else absolute:
        module = users_module(each, package) if name != ITSELF else None
        if module is not None:
            yield sys.modules, each, module


def taken_from(module: ModuleType, name: str) -> Any:
    """What is imported from a module, or a package: what it holds, or a module in it that nobody may have imported."""
    held: dict[str, Any] = vars(module)
    found: Any = held[name] if name in held else attribute_of(module, name)
    if found is None and name not in held and "__path__" in held:
        found = users_module(f"{held.get('__name__')}.{name}", "")
    return found


def defaults_of(function: FunctionType) -> dict[str, object]:
    """What the parameters of a function hold that is not given any."""
    given, code = function.__defaults__ or (), function.__code__
    names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    return {**dict(zip(names, given, strict=True)), **(function.__kwdefaults__ or {})}


def is_librarys(value: object) -> bool:
    """Whether a value is of a class, or is a class, whose methods are somebody else's."""
    kind = value if is_class(value) else class_of(value)
    return is_library_class(kind) and not issubclass(class_of(value), (FunctionType, functools.partial))


def is_callable(kind: type[Any]) -> bool:
    """Whether objects of a class can be called, as a tool is. Nothing of anybody's is asked."""
    return any("__call__" in vars(each) for each in kind.__mro__)


def ways_of(found: Mapping[type[Any], set[Steps]], kind: type[Any]) -> set[Steps]:
    """What the methods of a class write, those of its bases included."""
    return {way for each in kind.__mro__ for way in found.get(each, ())}


def functions_of(value: Any, depth: int = 3) -> Iterator[tuple[FunctionType, bool]]:
    """The functions of the user's that are behind a method, or a property; each with whether it sets something."""
    kind = class_of(value)
    if issubclass(kind, property):
        for each in (value.fget, value.fset, value.fdel):
            yield from ((function, each is not value.fget) for function, _ in functions_of(each))
    elif is_function(value):
        if not is_library_file(value.__code__.co_filename):
            yield value, False
        for cell in value.__closure__ or () if depth else ():
            held = held_by(cell)
            if is_function(held):
                yield from functions_of(held, depth - 1)
    elif issubclass(kind, (staticmethod, classmethod)):
        yield from functions_of(value.__func__, depth)
    elif issubclass(kind, (functools.cached_property, functools.partialmethod)):
        yield from functions_of(attribute_of(value, "func"), depth)
    elif depth and not issubclass(kind, type) and is_library_class(kind):
        yield from functions_of(attribute_of(value, "__wrapped__"), depth - 1)
