"""What can be called is, and what it says of itself to whoever is given it."""

from __future__ import annotations

import functools
import types
from abc import abstractmethod
from inspect import Parameter
from types import FunctionType, MethodType, ModuleType
from typing import Any, cast

from .aliases import all_parts_of_alias, is_alias
from .annotations import (
    Scopes,
    UnknownError,
    names_in,
    nearest_in,
    scopes_of_function,
    scopes_of_text,
    text_of,
    type_of,
    variable_in,
)
from .decorated import given_to
from .library import is_library_file
from .looks import ADDRESS, attribute_of, class_of, is_class, is_function, is_module, maker_of, parameters_of, qualified
from .objects import Objects
from .state import State

_MOST_MADE = 4
_MANY_TYPES = 1000
"""How many types are looked at in an annotation before each is only once, as there are many ways through some."""


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
        scopes = scopes_of_function(function)
        return ADDRESS.sub("", function.__doc__ or ""), *(
            (
                name,
                kind,
                () if default is Parameter.empty else self._of(default, above),
                self._annotation(annotation, scopes, above),
            )
            for name, kind, default, annotation in parameters_of(function)
        )

    def _annotation(
        self,
        annotation: Any,
        scopes: Scopes,
        above: tuple[int, ...],
        within: tuple[int | str, ...] = (),
        looked: list[tuple[int | str, object]] | None = None,
    ) -> object:
        """What an annotation is, with texts in it as what they stand for, where anybody knows that.

        Args:
            annotation: The annotation.
            scopes: What holds the names that stand in it.
            above: The values that hold it.
            within: The types and texts that hold it, as they may be made of themselves.
            looked: All that was looked at.
        """
        if annotation is Parameter.empty:
            return ()
        text, scopes = text_of(annotation), scopes_of_text(annotation, scopes)
        key = id(annotation) if text is None else text
        looked = [] if looked is None else looked
        if key in within or (len(looked) > _MANY_TYPES and any(known == key for known, _ in looked)):
            return "again"
        looked.append((key, annotation))
        look = functools.partial(self._annotation, scopes=scopes, above=above, within=(*within, key), looked=looked)
        if text is not None:
            found = type_of(text, functools.partial(self._found_for_text, scopes))
            if not isinstance(found, str) or found != text:
                return look(found)
            named = [nearest_in(scopes, path) for path in names_in(text)]
            known = [each for each in named if each is not None and not self.state.hides_variable(*each[:2])]
            types_of_it = ((value, is_class(value) or is_alias(value)) for *_, value in known)
            looks = (look(value) if is_type else self._of(value, above) for value, is_type in types_of_it)
            return (text, *looks) if known else text
        if isinstance(annotation, list):  # the arguments of what can be called
            return "sequence", *map(look, cast("list[object]", annotation))
        if is_alias(annotation):
            parts = all_parts_of_alias(annotation)
            return "alias", *(look(part) if is_type else self._of(part, above) for part, is_type in parts)
        return self._of(types.NoneType if annotation is None else annotation, above)

    def _found_for_text(self, scopes: Scopes, path: tuple[str, ...]) -> Any:
        found = variable_in(scopes, path)
        if found is None or self.state.hides_variable(*found[:2]):
            raise UnknownError
        return found[2]

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
