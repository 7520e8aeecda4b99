"""What objects of installed packages hold besides what they show: containers and models of pydantic."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any, cast

from .decorated import says_something
from .library import is_library_class
from .looks import ATOMS, attribute_of, attributes_of, class_of, is_class, is_function, is_module

_CODE = (
    *(functools.partial, types.BuiltinFunctionType, types.FunctionType, types.MethodDescriptorType),
    *(types.MethodType, types.WrapperDescriptorType),
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)(?:[0-9a-fA-F]{4}\1){3}[0-9a-fA-F]{12}")


def held_by_model(value: Any, kind: type[Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The fields of a model of pydantic, and what else it holds that says something; `None` where it is none.

    Args:
        value: The model.
        kind: Its class.
    """
    fields, held = _fields_of(kind), _mapping_at(value, "__dict__")
    if fields is None or held is None:
        return None
    hidden = {name for name, field in fields.items() if attribute_of(field, "exclude")}
    shown = {name: held[name] for name in fields if name in held and name not in hidden}
    others = {name: held[name] for name in hidden if name in held} | (_mapping_at(value, "__pydantic_private__") or {})
    told = {name: others[name] for name in sorted(others) if _tells(name, others[name])}
    return shown | (_mapping_at(value, "__pydantic_extra__") or {}), told


def _fields_of(kind: type[Any]) -> Mapping[str, Any] | None:
    found: Any = attribute_of(kind, "model_fields")
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else None


def _mapping_at(value: object, name: str) -> dict[str, Any] | None:
    found: Any = attribute_of(value, name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _tells(name: str, value: Any) -> bool:
    """Whether it may be what a model was given, and is not of the moment."""
    if class_of(value) is str and _UUID.fullmatch(value):
        return False
    if says_something(name, value) or issubclass(class_of(value), _CODE):
        return True
    return class_of(value) not in ATOMS and (
        _fields_of(class_of(value)) is not None or not is_library_class(class_of(value))
    )


def held_by_container(value: object) -> Iterator[tuple[str, Any, bool]]:
    """What a container of a package holds besides its items, such as by what it sorts.

    Args:
        value: The container.

    Yields:
        The name, the value, and whether the package may write that.
    """
    for name, held in attributes_of(value).items():
        if is_function(held) or is_class(held) or (issubclass(class_of(held), _CODE) and _is_of_nothing(held)):
            yield name, held, False
        elif not name.startswith("_") and class_of(held) in ATOMS and says_something(name, held):
            yield name, held, True


def _is_of_nothing(code: Any) -> bool:
    """Whether it is no method of an object of a package, which most often is the container itself, or a part of it."""
    owner = attribute_of(code, "__self__")
    return owner is None or is_module(owner) or not is_library_class(class_of(owner))
