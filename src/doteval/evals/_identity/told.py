"""What is read of what is handed over: what functions and classes say of themselves, and what modules hold."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any, cast

from .code import Code
from .found import functions_of, variable_of
from .looks import class_of
from .state import State, behind
from .uses import ANY, ATTRIBUTE

_OF_MODULES = frozenset({"getattr", "vars"})
_ELSEWHERE = frozenset({"__import__", "globals", "import_module"})


class Told:
    """What code reads which can be run."""

    def __init__(self) -> None:
        self.reads_docs = False
        """Whether it reads what functions and classes say of themselves, whichever they are."""
        self.names: set[str] = set()
        """The attributes that it reads of what may be a module."""
        self._attributes: set[str] = set()
        self._reads_all = False
        self._modules: dict[str, ModuleType] = {}

    def note(self, code: Code, names: Iterable[str]) -> None:
        """Code can be run.

        Args:
            code: The code.
            names: The attributes that it reads of what may be a module.
        """
        self.reads_docs |= code.reads_docs
        self._attributes |= code.told
        self.names.update(names)
        self._reads_all |= not _OF_MODULES.isdisjoint(code.unknown)

    def hand_over(self, module: ModuleType) -> None:
        """A module of the user's is a value, of which anybody may read."""
        self._modules[module.__name__] = module

    @property
    def modules(self) -> list[ModuleType]:
        """Those that are handed over."""
        return [*self._modules.values()]

    def is_told(self, method: str) -> bool:
        """Whether what a method of that name says of itself is told to others."""
        return not self.reads_docs and not {method, ANY}.isdisjoint(self._attributes)  # there, all are

    def read_of(self, module: ModuleType) -> list[str]:
        """What is read of a module; all that it holds where a name is known only when the code runs."""
        held = vars(module)
        return sorted(name for name in held if name in self.names or (self._reads_all and not name.startswith("__")))


def handed_over(function: FunctionType, name: str, path: tuple[str, ...], state: State) -> Iterator[Any]:
    """The functions, or the class, that code hands over which it reads under a name, or finds on a way from there."""
    found = variable_of(function, name)
    if found is None or state.hides_variable(found[0], name):
        return
    value: Any = found[1]
    for each in path:
        if each in state.attributes_in(value) or each in state.computed_in(class_of(value)):
            return
        value = behind(value, (ATTRIBUTE, each))
    if isinstance(value, type):
        yield cast("type[Any]", value)
    elif not isinstance(value, (property, functools.cached_property)):
        yield from (each for each, _ in functions_of(value))


def unknown_to(code: Code) -> str | None:
    """What code calls so that nobody knows what it reads before it runs; `None` where there is nothing such."""
    return min(code.unknown & _ELSEWHERE, default=None)
