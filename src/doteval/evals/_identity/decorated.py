"""What a decorator of an installed package was given: the name of a model, a system prompt, how often to try."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, MutableSequence
from collections.abc import Set as AbstractSet
from types import FunctionType
from typing import Any

from .code import read
from .credentials import is_credential
from .found import defaults_of
from .looks import ATOMS, attribute_of, attributes_of, class_of, held_by, is_class, is_function, telling_of

NOT_GIVEN = ("__", "_pytest", "pytestmark")
"""How attributes of functions begin that say how they are run, or what they were made of."""
_OF_PROXIES = ("_self_wrapper", "_self_enabled", "_self_instance")
"""What ``wrapt`` calls what a function is wrapped in: its attributes are those of the function otherwise."""
_OF_THE_MOMENT = re.compile(r"uuid|time_?stamp|created|started")
_LATEST = 1e8
"""Numbers from here on may be a time, which is another one in each process."""
_CHANGING = (Mapping, MutableSequence, AbstractSet)


def given_to(made: Any) -> Iterator[tuple[str, Any, bool]]:
    """What a function or an object holds that a library has made, besides what it wraps.

    Args:
        made: The function, or the object.

    Yields:
        The name, the value, and whether the library may write that, as a cache or a counter.
    """
    if is_function(made):
        yield from _given_to_function(made)
        return
    if class_of(made).__module__.startswith("doteval."):
        return  # an evaluation, whose gates say nothing of what it returns
    told = telling_of(made)
    for name in _OF_PROXIES:
        found = attribute_of(made, name)
        if found is not None:
            yield name, found, False
    for name, value in {**attributes_of(made), **told}.items():
        if says_something(name, value):
            yield name, value, name not in told and class_of(value) is not str


def _given_to_function(made: FunctionType) -> Iterator[tuple[str, Any, bool]]:
    written = read(made.__code__).writes
    for name, cell in zip(made.__code__.co_freevars, made.__closure__ or (), strict=True):
        value = held_by(cell)
        yield name, value, name in written or _may_change(value)
    for name, value in {**defaults_of(made), **vars(made)}.items():
        if not name.startswith(NOT_GIVEN):
            yield name, value, _may_change(value)


def _may_change(value: object) -> bool:
    return issubclass(class_of(value), _CHANGING) and class_of(value) is not frozenset


def says_something(name: str, value: Any) -> bool:
    """Whether an attribute of an object of a library may be what that was given: a text, a number, code, or many."""
    if name.startswith(NOT_GIVEN) or value is None or is_credential(name, value) or _OF_THE_MOMENT.search(name):
        return False
    if class_of(value) in (int, float) and abs(value) >= _LATEST:
        return False
    is_code = is_function(value) or is_class(value) or class_of(value) is functools.partial
    return is_code or class_of(value) in (*ATOMS, tuple) or _may_change(value)
