"""What classes are made of besides what stands in them: settings of fields, and who was registered with them."""

from __future__ import annotations

import abc
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any, cast

from .aliases import is_alias
from .looks import ADDRESS, attribute_of, class_of, held_by, is_function, is_generated, type_name
from .silence import no_warnings

_OF_A_FIELD = ("default", "default_factory", "metadata", "repr", "hash", "init", "compare", "kw_only")
_OF_A_FIELD_OF_PYDANTIC = (
    *("default", "default_factory", "alias", "alias_priority", "validation_alias", "serialization_alias", "title"),
    *("field_title_generator", "description", "examples", "exclude", "exclude_if", "discriminator", "deprecated"),
    *("json_schema_extra", "frozen", "validate_default", "repr", "init", "init_var", "kw_only", "metadata"),
)
"""All but its annotation, which may not be known before the class is used."""
_OF_A_DECORATOR_OF_PYDANTIC = (
    *("fields", "mode", "check_fields", "json_schema_input_type", "return_type", "when_used", "each_item", "always"),
    *("wrapped_property", "alias", "alias_priority", "title", "field_title_generator", "description", "deprecated"),
    *("examples", "json_schema_extra", "repr", "exclude_if"),
)
_OF_A_FIELD_OF_ATTRS = (
    *("default", "validator", "repr", "eq", "eq_key", "order", "order_key", "hash", "init", "metadata", "converter"),
    *("kw_only", "inherited", "on_setattr", "alias"),
)
"""All but its type, which is an annotation, or is known apart."""
_MADE_BY_ATTRS = (
    *("__init__", "__repr__", "__str__", "__eq__", "__lt__", "__hash__", "__setattr__", "__delattr__"),
    "__attrs_init__",
)
"""Of the methods that attrs makes, those that its user asks for."""
_DECORATORS_OF_PYDANTIC = "pydantic._internal._decorators."
_DECORATORS = (
    *("validators", "field_validators", "root_validators", "field_serializers", "model_serializers"),
    *("model_validators", "computed_fields"),
)


def fields_of(kind: type[Any]) -> Iterator[object]:
    """The settings of a class's fields, and of the class itself, whatever has made it of them."""
    own = vars(kind)
    for name, field in own.get("__dataclass_fields__", {}).items():
        yield name, *(attribute_of(field, each) for each in _OF_A_FIELD)
    if "__dataclass_params__" in own:
        yield repr(own["__dataclass_params__"])
    decorators = own.get("__pydantic_decorators__")
    if decorators is not None:
        for sort in _DECORATORS:
            found: Mapping[str, Any] = attribute_of(decorators, sort) or {}
            yield sort, {name: (each.cls_var_name, each.info) for name, each in found.items()}
        yield attribute_of(kind, "model_fields")
    if "__attrs_attrs__" in own:
        yield from _fields_of_attrs(kind)


def _fields_of_attrs(kind: type[Any]) -> Iterator[object]:
    """The settings of a class of attrs: of its fields, and which methods are made, and of what they call."""
    own = vars(kind)
    annotated = {name for each in kind.__mro__ for name in vars(each).get("__annotations__", ())}
    yield from ((each.name, each, None if each.name in annotated else each.type) for each in own["__attrs_attrs__"])
    made = {name: own[name] for name in _MADE_BY_ATTRS if name in own}
    made = {name: each for name, each in made.items() if is_function(each) and is_generated(name, each, kind)}
    yield [*made], "__slots__" in own
    if "__setattr__" in made:
        yield _hooks_in(made["__setattr__"])


def _hooks_in(function: FunctionType) -> dict[str, Any]:
    """What is called where an attribute is set, by its name, of the method that calls it."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    held: Any = held_by(cells["sa_attrs"]) if "sa_attrs" in cells else {}
    return {name: hook for name, (_, hook) in held.items()}


def field_of(value: object, kind: type[Any]) -> dict[str, Any] | None:
    """What a field of pydantic or attrs is, or what a decorator of pydantic was given; `None` where it is none such."""
    match type_name(kind):
        case "pydantic.fields.ModelPrivateAttr":
            names: tuple[str, ...] = ("default", "default_factory")
        case "pydantic.fields.FieldInfo":
            names = _OF_A_FIELD_OF_PYDANTIC
        case "attr._make.Attribute":
            names = _OF_A_FIELD_OF_ATTRS
        case name if name == "pydantic.fields.ComputedFieldInfo" or name.startswith(_DECORATORS_OF_PYDANTIC):
            names = _OF_A_DECORATOR_OF_PYDANTIC
        case _:
            return None
    return {name: attribute_of(value, name) for name in names}


def schema_of(kind: Any) -> object:
    """What a model says of itself as a JSON schema, without its defaults; `None` where it has none."""
    make = attribute_of(kind, "model_json_schema")
    if make is None:
        return None
    try:
        with no_warnings():
            return _without_defaults(make())
    except Exception:  # one of its fields has none, or it is not ready, and says so where it is used
        return "no schema"


def _without_defaults(schema: Any, *, of_names: bool = False) -> Any:
    """A schema without defaults, and in an order of its own, as some of it may have been sets."""
    if isinstance(schema, list):
        items: list[Any] = schema  # pyright: ignore[reportUnknownVariableType]
        return sorted((_without_defaults(each) for each in items), key=repr)
    if not isinstance(schema, dict):
        return schema
    held = cast("dict[str, Any]", schema)
    return {
        name: _without_defaults(each, of_names=not of_names and name in ("properties", "$defs"))
        for name, each in sorted(held.items())
        if of_names or name != "default"
    }


def registered_with(kind: type[Any]) -> list[type[Any]]:
    """The classes that were registered with an abstract one, in no order."""
    if not issubclass(class_of(kind), abc.ABCMeta):
        return []
    dump: Any = attribute_of(abc, "_get_dump")
    registry: Iterable[weakref.ref[type[Any]]] = () if dump is None else dump(kind)[0]
    found = [reference() for reference in registry]
    return [each for each in found if each is not None]


def docstring_of(kind: type[Any]) -> str:
    """What a class says of itself, without where its defaults lie, and but for what `dataclasses` says in its place."""
    text = str(vars(kind).get("__doc__") or "")
    is_made = "__dataclass_fields__" in vars(kind) and text.startswith(f"{kind.__name__}(")
    return "" if is_made else ADDRESS.sub("", text)


def arguments_of(kind: type[Any]) -> tuple[Any, ...]:
    """What a generic model of pydantic was made for, which is a class of its own."""
    made: Any = vars(kind).get("__pydantic_generic_metadata__")
    return made["args"] if made else ()


def types_of(kind: type[Any]) -> Iterator[tuple[str, object]]:
    """The annotations of a class, and the generic types that it is made of."""
    yield from _annotations_of(kind).items()
    yield from (("", each) for each in vars(kind).get("__orig_bases__", ()) if is_alias(each))


if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

    def _annotations_of(kind: type[Any]) -> Mapping[str, object]:
        try:
            return get_annotations(kind, format=Format.FORWARDREF)
        except Exception:  # they cannot be found
            return {}

else:

    def _annotations_of(kind: type[Any]) -> Mapping[str, object]:
        found: Mapping[str, object] = vars(kind).get("__annotations__", {})
        return found
