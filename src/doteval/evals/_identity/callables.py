"""What can be called is, and what it says of itself to whoever is given it."""

from __future__ import annotations

import functools
import types
from abc import abstractmethod
from collections.abc import Mapping
from inspect import Parameter
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast

from .aliases import named_in
from .decorated import given_to
from .library import is_library_file
from .looks import ADDRESS, attribute_of, class_of, is_function, is_module, maker_of, parameters_of, qualified
from .objects import Objects
from .state import State

_MOST_MADE = 4


class Callables(Objects):
    """Says what can be called.

    Args:
        state: What the code writes, which does not count.
        most: How many values that hold others are looked at at most.
    """

    def __init__(self, state: State, most: int) -> None:
        super().__init__(state, most)
        self._made_within = 0
        """How many of what libraries have made are looked at, each within another one."""

    def _callable(self, value: Any, above: tuple[int, ...]) -> object:
        if isinstance(value, functools.partial):
            given: Any = cast("object", value)
            return (
                "partial",
                self._of(given.func, above),
                self._of(given.args, above),
                self._mapping(given.keywords, above),
                *self._own(given, class_of(given), above),
            )
        if isinstance(value, (MethodType, types.BuiltinMethodType)) and value.__self__ is not None:
            owner: object = value.__self__
            if not is_module(owner):
                return self._method(value, owner, above)
        if is_function(value):
            if not is_library_file(value.__code__.co_filename):
                told = self._described_to_others(value, above) if len(above) > 1 else ()
                return "function", self._function_of_users(value), told
            wrapped = attribute_of(value, "__wrapped__")
            if wrapped is not None or value.__closure__:  # made by a library of what the user has given
                return self._made(value, maker_of(value), wrapped, above)
        return "library", qualified(value)

    def _made(self, value: Any, name: str, wrapped: object, above: tuple[int, ...]) -> object:
        """What a library has made of what the user has given it."""
        if self._made_within == _MOST_MADE:
            return "library", name
        self._made_within += 1
        try:
            given = [
                (
                    each,
                    self._may_be_written(f"{each!r} of {name}", each, held, value, above)
                    if may_change
                    else self._part(each, held, above),
                )
                for each, held, may_change in given_to(value)
            ]
        finally:
            self._made_within -= 1
        return "made", name, self._of(wrapped, above), *given

    def _method(self, value: Any, owner: object, above: tuple[int, ...]) -> object:
        return "method", value.__name__, self._of(owner, above), self._of(getattr(value, "__func__", None), above)

    def _described_to_others(self, function: FunctionType, above: tuple[int, ...] = ()) -> object:
        """What a function says of itself to whoever is given it, as a model is that may call it."""
        return ADDRESS.sub("", function.__doc__ or ""), *(
            (
                name,
                kind,
                () if default is Parameter.empty else self._of(default, above),
                self._annotation(annotation, function.__globals__, above),
            )
            for name, kind, default, annotation in parameters_of(function)
        )

    def _annotation(self, annotation: object, scope: Mapping[str, Any], above: tuple[int, ...]) -> object:
        """What an annotation is, and what is named by texts in it."""
        if annotation is Parameter.empty:
            return ()
        told = annotation if isinstance(annotation, str) else self._of(annotation, above)
        named = [
            self._of(value, above)
            for owner, name, value in named_in(annotation, scope)
            if not self.state.hides_variable(owner, name)
        ]
        return (told, *named) if named else told

    @abstractmethod
    def _part(self, name: object, value: object, above: tuple[int, ...]) -> object:
        """What a value is that something holds under a name."""

    @abstractmethod
    def _class_told(self, kind: type[Any]) -> object:
        """What a class says of itself to whoever is given it."""

    @abstractmethod
    def _module(self, module: ModuleType) -> object:
        """What is read of a module that is handed over."""

    @abstractmethod
    def _function_of_users(self, function: FunctionType) -> object:
        """What a function of the user's is."""
