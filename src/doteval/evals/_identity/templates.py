"""What environments and templates of Jinja are made of, but for what the version of Jinja that is here puts there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, cast

from .._kinds import known_by_kind
from .code import read
from .found import PLAIN, functions_of, is_librarys
from .looks import ATOMS, attribute_of, attributes_of, class_of, held_by, is_function, type_name

_PASSING = frozenset({"_debug_info", "_module", "_uptodate", "cache", "linked_to", "overlayed"})
"""What environments and templates have only for the moment."""
_ENTRIES = ("filters", "globals", "policies", "tests")
"""The mappings of an environment that are filled where it is made."""


def held_by_template(value: Any, kind: type[Any]) -> tuple[Any, ...] | None:
    """What a template is made of, or an expression or a macro of one; `None` for anything else.

    Their code is made by Jinja, and all that it reads besides is the environment's.
    """
    if not kind.__module__.startswith("jinja2."):
        return None
    if attribute_of(value, "root_render_func") is not None:
        functions = [value.root_render_func, *value.blocks.values()]
        codes = [read(each.__code__).does for each in functions]
        return "template", kind, value.name, [*value.blocks], codes, _globals_of(value), value.environment
    match type_name(kind):
        case "jinja2.environment.TemplateExpression":
            return "expression", attribute_of(value, "_template"), attribute_of(value, "_undefined_to_none")
        case "jinja2.environment.TemplateModule":
            held: dict[str, Any] = dict(sorted(attributes_of(value).items()))
            return "module of a template", [*held.pop("_body_stream", ())], held
        case "jinja2.runtime.Macro":
            function, environment = attribute_of(value, "_func"), attribute_of(value, "_environment")
            return "macro", value.name, value.arguments, *_held_by_macro(function), environment
        case _:
            return None


def _globals_of(template: Any) -> dict[str, Any]:
    """What a template was given besides what its environment has."""
    shared: Mapping[str, Any] = template.environment.globals
    return {name: each for name, each in template.globals.items() if name not in shared or shared[name] is not each}


def _held_by_macro(function: Any) -> tuple[Any, ...]:
    """What a macro does, and the variables of its template that it reads."""
    if not is_function(function):
        return (function,)
    code: CodeType = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    return read(code).does, {name: held_by(cell) for name, cell in cells if name.startswith("l_")}


def without_defaults(
    value: object, held: dict[str, Any], is_written: Callable[[object], bool] = lambda _: False
) -> dict[str, Any]:
    """The attributes of an environment that are others than in any new one; those of anything else as they are.

    Args:
        value: The environment.
        held: The attributes.
        is_written: Whether code writes something of what a mapping holds, which is left whole then.
    """
    defaults = _defaults_of(class_of(value))
    if defaults is None:
        return held
    found: dict[str, Any] = {}
    for name, each in held.items():
        default: Any = defaults.get(name)
        if name in _ENTRIES and class_of(each) is dict and class_of(default) is dict:
            found[name] = each if is_written(each) else _other_entries(each, default)
        elif name not in _PASSING and not (name in defaults and _is_default(each, default)):
            found[name] = each
    return found


def is_environment(kind: type[Any]) -> bool:
    """Whether a class is one of environments."""
    return _defaults_of(kind) is not None


@known_by_kind
def _defaults_of(kind: Any) -> dict[str, Any] | None:
    """What a new environment of the class of Jinja has that a class is made of; `None` where there is none."""
    for each in cast("tuple[Any, ...]", kind.__mro__):
        if each.__module__.partition(".")[0] == "jinja2":
            return attributes_of(each()) if hasattr(each, "from_string") else None
    return None


def _other_entries(held: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    left = {name: each for name, each in held.items() if name not in defaults or not _is_default(each, defaults[name])}
    return left | dict.fromkeys(name for name in defaults if name not in held)


def _is_default(value: object, default: object) -> bool:
    kind = class_of(value)
    if kind in ATOMS:
        return kind is class_of(default) and value == default
    if kind in PLAIN:
        return kind is class_of(default) and not value and not default
    if value is not default or any(True for _ in functions_of(value)):
        return False
    return is_function(value) or is_librarys(value)
