"""How the async context manager that opens a resource is mistaken, and when that can be known.

Python itself says that ``'coroutine' object has no attribute '__aenter__'``, or that a generator didn't stop.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import partial
from inspect import isasyncgen, isasyncgenfunction, iscoroutine, iscoroutinefunction, isgenerator, isgeneratorfunction
from typing import Any, cast

from ._errors import ContextManagerError

_ASYNC, _SYNC = (cast(Any, decorate)(lambda: None).__code__ for decorate in (asynccontextmanager, contextmanager))
"""What the functions run that these decorators make."""

_RETURNS = "is a coroutine: it returns, where it has to yield the model"
_UNDECORATED = "yields, but has no @asynccontextmanager above it"
_NOT_ASYNC = "is written with 'def', where it has to be 'async def'"


def check_function(function: Any, name: str, form: str = "open(self, spec)") -> None:
    """Look at a function, before anybody calls it.

    Args:
        function: What is to make the context managers; it need not be a function.
        name: What it is called, for the message.
        form: How its first line should be written.

    Raises:
        ContextManagerError: What it makes cannot be one.
    """
    function = getattr(function, "__func__", function)  # of a static method, a class method, a bound one
    while isinstance(function, partial):
        function = function.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if getattr(function, "__isabstractmethod__", False):
        return
    if (problem := _problem_of(function)) is not None:
        raise ContextManagerError(name, problem, _form(form))


def _form(first: str) -> str:
    """How it is written, with this in its first line."""
    return (
        f"Write it like this, with one yield:\n\n    @asynccontextmanager\n    async def {first}:\n"
        "        async with connect(spec) as model:\n            yield model"
    )


def _problem_of(function: Any) -> str | None:
    if isasyncgenfunction(function) or isgeneratorfunction(function):
        return _UNDECORATED
    if iscoroutinefunction(function):
        return _RETURNS
    code = getattr(function, "__code__", None)
    if code is _SYNC:
        return "has @contextmanager above it, where it has to be @asynccontextmanager"
    if code is _ASYNC:
        decorated = function.__wrapped__
        if isgeneratorfunction(decorated):
            return _NOT_ASYNC
        if iscoroutinefunction(decorated):
            return "has no yield: it returns, where it has to yield the model"
    return None


def check_made(made: Any, name: str, form: str = "open(self, spec)") -> None:
    """Look at what a function has made, before it is entered.

    Args:
        made: It.
        name: What the function is called, for the message.
        form: How its first line should be written.

    Raises:
        ContextManagerError: It is no async context manager.
    """
    generator = getattr(made, "gen", None)  # of what @asynccontextmanager makes
    if not hasattr(made, "__aenter__"):
        problem = _problem_of_made(made)
    elif isgenerator(generator):
        problem = _NOT_ASYNC
    elif iscoroutine(generator):
        generator.close()
        problem = _RETURNS
    else:
        return
    raise ContextManagerError(name, problem, _form(form))


def _problem_of_made(made: Any) -> str:
    if iscoroutine(made):
        made.close()  # else Python warns that it was never awaited
        return _RETURNS
    if isasyncgen(made) or isgenerator(made):
        return _UNDECORATED
    kind = kind_of(made)
    if hasattr(made, "__enter__"):
        return f"returned {kind}, which has 'with' but no 'async with'"
    return f"returned {kind}, which is no async context manager"


def kind_of(value: object) -> str:
    """A value for a message, without what may be a secret in it."""
    return repr(value) if value is None or isinstance(value, bool) else f"an object of the class {type(value).__name__}"


class Explaining:
    """Around entering or leaving a context manager: why it could not be is told in words that an author understands."""

    __slots__ = ("_manager",)

    def __init__(self, manager: object) -> None:
        self._manager = manager

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        if isinstance(exc, RuntimeError) and (error := _explained(exc, self._manager)) is not exc:
            raise error from None


def _explained(exc: RuntimeError, made: Any) -> RuntimeError | ContextManagerError:
    """What tells an author why a context manager could not be entered or left, where Python's words do not.

    Args:
        exc: What entering or leaving it has raised.
        made: The context manager.
    """
    generator = getattr(made, "gen", None)
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    is_its_own = trace is not None and trace.tb_frame.f_locals.get("self") is made
    if generator is None or not is_its_own:  # else it is one that is entered in there
        return exc
    match str(exc):
        case "generator didn't yield":
            problem = "ended before it yielded the model"
        case "generator didn't stop" | "generator didn't stop after athrow()":
            problem = "yields a second time, where it has to clean up and end"
        case _:
            return exc
    name: str = getattr(generator, "__qualname__", "open").rpartition("<locals>.")[2]
    form = f"{name.rpartition('.')[2]}({'self, ' if '.' in name else ''}spec)"
    return ContextManagerError(name, problem, _form(form))
