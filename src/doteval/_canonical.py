"""``canonical``: one text for a configuration, equal exactly where the configurations are.

Values are told apart by type and content: ``1``, ``True`` and ``1.0`` are three, ``["a"]`` and ``("a",)`` are two, and
NaN is itself. The order of mappings and sets does not count. What compares by value (paths, enums, dataclasses, scalars
and arrays of numpy) is written as pickle would take it apart. All else, such as a client, is itself and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath, PureWindowsPath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NamedTuple, cast

from ._secrets import names_a_secret

_PROTOCOL = 4  # of pickle: the highest that keeps all of an array in one place


class Canonical(NamedTuple):
    """What a configuration comes to.

    Args:
        text: The text; the same in every process where `same` is empty.
        same: What is in it by identity. Whoever keeps the text keeps these, or another object may have their place.
        is_secret: Whether a value in it has the name of a secret.
    """

    text: str
    same: frozenset[Same]
    is_secret: bool


class Same:
    """Stands for an object that is equal to itself only."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def canonical(value: object) -> Canonical:
    """The text of a value, whatever it is made of, and whether or not it is hashable or holds itself.

    Raises:
        RecursionError: It is nested too deeply.
    """
    writer = _Writer()
    text = writer.text_of(value)
    return Canonical(text, frozenset(writer.same), writer.is_secret)


class _Writer:
    """Every text says where it ends, so that texts in a row are one way to read only."""

    def __init__(self) -> None:
        self.same: set[Same] = set()
        self.is_secret = False
        self._above: list[int] = []  # the ids of what the present value is a part of

    def text_of(self, value: Any) -> str:
        kind = _kind_of(value)
        if kind is str:
            return f"s{len(value)}:{value}"
        if kind is int:
            return f"i{value:x};"  # of any length, which decimals are not
        if value is None or kind is bool:
            return f"{value};"
        if kind is float:
            return f"f{value.hex()};"
        if kind is bytes:
            return f"b{len(value)}:{value.decode('latin-1')}"
        if id(value) in self._above:
            return f"^{len(self._above) - self._above.index(id(value))};"
        self._above.append(id(value))
        try:
            return self._composed(value)
        finally:
            self._above.pop()

    def _composed(self, value: Any) -> str:
        kind = _kind_of(value)
        if kind is Same:
            return self._itself(value.value)
        if kind is list or kind is tuple:
            return self._row(kind.__name__, value)
        if kind is set or kind is frozenset:
            return f"{kind.__name__}({''.join(sorted(map(self.text_of, value)))})"
        if isinstance(value, Mapping):
            return self._mapping(cast("Mapping[object, object]", value))
        if isinstance(value, Enum):
            return self._row("enum", (_named(kind), value.name, value.value))
        if isinstance(value, (type, FunctionType, BuiltinFunctionType)) and _is_found_by_name(value):
            return self._row("name", (_name_of(value),))
        if isinstance(value, (MethodType, BuiltinFunctionType)):  # of this very object, whatever is equal to it
            return self._row("method", (value.__name__, Same(value.__self__)))
        if kind.__eq__ is object.__eq__:
            return self._itself(value)
        if kind.__eq__ is PurePath.__eq__:
            text = str(value)
            return self._row("path", (_named(kind), text.lower() if isinstance(value, PureWindowsPath) else text))
        if is_dataclass(value):
            content = {field.name: getattr(value, field.name, None) for field in fields(value) if field.compare}
            return self._row("data", (_named(kind), content))
        return self._taken_apart(value)

    def _taken_apart(self, value: Any) -> str:
        self.is_secret = self.is_secret or hasattr(value, "get_secret_value")
        try:
            parts = value.__reduce_ex__(_PROTOCOL)
        except Exception:  # whatever an object says that cannot be pickled
            return self._itself(value)
        if isinstance(parts, str):
            return self._itself(value)
        made_by, arguments, state, items, pairs = (*parts, None, None, None)[:5]
        if _is_pydantic(value) and isinstance(state, dict):
            state = {**cast("dict[str, object]", state), "__pydantic_fields_set__": None}  # it is not compared
        elif _may_hide(value):
            return self._itself(value)
        return self._row("object", (made_by, arguments, state, [*(items or ())], [*(pairs or ())]))

    def _itself(self, value: object) -> str:
        self.same.add(Same(value))
        return self._row("itself", (_name_of(type(value)), id(value)))

    def _mapping(self, value: Mapping[object, object]) -> str:
        pairs = list(value.items())
        self.is_secret = self.is_secret or any(names_a_secret(key) for key, _ in pairs)
        return f"dict({''.join(sorted(self.text_of(key) + self.text_of(item) for key, item in pairs))})"

    def _row(self, word: str, values: Sequence[object]) -> str:
        self.is_secret = self.is_secret or (len(values) == 2 and names_a_secret(values[0]))
        return f"{word}({''.join(map(self.text_of, values))})"


def _kind_of(value: object) -> Any:
    return type(value)


def _name_of(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _named(kind: Any) -> Any:
    """What stands for a class: its name, or itself where others have the name as well."""
    return _name_of(kind) if _is_found_by_name(kind) else kind


def _is_pydantic(value: object) -> bool:
    return getattr(type(value).__eq__, "__module__", None) == "pydantic.main"


def _may_hide(value: Any) -> bool:
    """Whether its own ``__getstate__`` may leave out what it compares by: what is made again of the rest says so."""
    if _kind_of(value).__getstate__ is object.__getstate__:
        return False
    try:
        return not copy(value) == value  # noqa: SIM201
    except Exception:  # whatever an object says that has lost a part
        return True


def _is_found_by_name(value: Any) -> bool:
    """Whether its name means it, and not another one that was made at the same place."""
    found: Any = sys.modules.get(value.__module__ or "")
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value
