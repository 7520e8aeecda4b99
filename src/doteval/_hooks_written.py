"""How what an author writes for a provider is mistaken: in its form, when the class is written, and in what it returns.

Python's own words name neither the hook nor whose it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping
from inspect import isasyncgen, isasyncgenfunction, isawaitable, iscoroutine, iscoroutinefunction, signature
from operator import index
from types import FunctionType
from typing import Any, TypeVar, cast

from ._context_managers import kind_of

AnswerT = TypeVar("AnswerT")

_LISTS = (tuple, list, set, frozenset)
"""What patterns may be in."""
_WITH_FIELDS = ("dataclasses", "attr", "pydantic")
"""Whose decorators put the default of a field in its place, when the class is written."""


def check_at_once(cls: type[object], *hooks: str) -> None:
    """Look at the hooks that nobody awaits, where a class has written them.

    Raises:
        TypeError: One of them has to be awaited.
    """
    for name in hooks:
        if _is_async(vars(cls).get(name)):
            raise TypeError(
                f"{cls.__name__}.{name} is written with 'async def', where it has to be 'def': nobody waits"
            )


def check_written(cls: type[object]) -> None:
    """Look at the hooks that a class has written, before anybody asks them.

    Raises:
        TypeError: One of them cannot work.
    """
    check_at_once(cls, "identity")
    if isasyncgenfunction(vars(cls).get("setup")):
        raise TypeError(
            f"{cls.__name__}.setup yields, where it has to return a ModelHandle. Inherit from PooledProvider, whose "
            "open() yields, or return ModelHandle(resource_id=..., model=..., manager=self)"
        )
    written = vars(cls).get("teardown")
    if isinstance(written, FunctionType):
        try:
            signature(written, follow_wrapped=False).bind(None, "resource id")  # a decorator may give it more
        except TypeError as exc:
            told = f"{cls.__name__}.teardown cannot be called with a resource id ({exc})"
            raise TypeError(f"{told}: write 'async def teardown(self, resource_id)'") from None
    patterns = vars(cls).get("patterns")
    is_field = type(patterns).__module__.partition(".")[0] in _WITH_FIELDS
    if not is_field and not hasattr(patterns, "__get__"):  # else it is known of the class that is made, or an instance
        checked_patterns(patterns, cls)


def _is_async(function: object) -> bool:
    return iscoroutinefunction(function) or isasyncgenfunction(function)


def checked_patterns(patterns: object, owner: object) -> tuple[str, ...]:
    """The specs that a provider claims, or a class or function that makes providers.

    Raises:
        TypeError: They are none, as a forgotten comma makes a text of a tuple, and patterns of its letters.
    """
    if patterns is None:
        return ()
    name = _name_of(owner)
    if isinstance(patterns, str):
        raise TypeError(f"{name}.patterns is a text, and has to be a tuple of texts: write patterns = ({patterns!r},)")
    if not isinstance(patterns, _LISTS):
        kind = kind_of(patterns)
        raise TypeError(f'{name}.patterns is {kind}, and has to be a tuple of texts, such as patterns = ("gpt-*",)')
    for pattern in cast("Collection[object]", patterns):
        if not isinstance(pattern, str):
            kind = kind_of(pattern)
            raise TypeError(f'{name}.patterns has {kind} in it, and has to have texts only, such as ("gpt-*",)')
    return tuple(cast("Collection[str]", patterns))


def to_await(answer: object, owner: object, hook: str) -> Awaitable[Any]:
    """What a hook has returned, if that can be awaited.

    Raises:
        TypeError: It cannot.
    """
    if isawaitable(answer):
        return answer
    how = "yields" if isasyncgen(answer) else f"returned {kind_of(answer)}, and nothing to await"
    raise TypeError(f"{_name_of(owner)}.{hook}() {how}: write it with 'async def', and let it return")


def checked_handle(handle: AnswerT, owner: object) -> AnswerT:
    """What awaiting a ``setup()`` gave, if that is a handle, or looks like one.

    Raises:
        TypeError: It is none.
    """
    if hasattr(handle, "teardown"):
        return handle
    raise TypeError(
        f"{_name_of(owner)}.setup() returned {kind_of(handle)}, and no handle: "
        "return ModelHandle(resource_id=..., model=..., manager=self)"
    )


def checked_manager(manager: object, resource_id: object) -> None:
    """Look at whom a handle is to call when it ends.

    Raises:
        TypeError: It is nobody who could be called.
    """
    if isinstance(manager, type) or not callable(getattr(manager, "teardown", None)):
        given = f"the class {manager.__name__}" if isinstance(manager, type) else kind_of(manager)
        raise TypeError(
            f"the manager of the ModelHandle on {resource_id!r} is {given}, and has to be the provider that gives it "
            "out: manager=self"
        )


def checked_slots(slots: object, owner: object, spec: str) -> int:
    """How many slots a resource takes.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is less than one.
    """
    told = f"{_name_of(owner)}.slots({spec!r}) must be a whole number of at least 1"
    if iscoroutine(slots):
        slots.close()  # else Python warns that it was never awaited
    try:
        number = index(cast(Any, slots))
    except TypeError:
        given = repr(slots) if isinstance(slots, (str, float)) else kind_of(slots)
        raise TypeError(f"{told}, not {given}") from None
    if number < 1:
        raise ValueError(f"{told}, not {slots!r}")
    return number


def checked_identity(identity: object, owner: object) -> Mapping[str, Any]:
    """All that an answer depends on, as a provider says it.

    Raises:
        TypeError: It is no mapping.
    """
    if isinstance(identity, Mapping):
        return cast("Mapping[str, Any]", identity)
    raise TypeError(
        f"{_name_of(owner)}.identity() returned {kind_of(identity)}, and has to return a mapping of names to what an "
        "answer depends on, such as {**super().identity(spec, **config), 'version': __version__}"
    )


def _name_of(owner: object) -> str:
    named: object = owner if hasattr(owner, "__name__") else type(owner)
    return str(getattr(named, "__name__", named))
