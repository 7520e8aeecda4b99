"""What opens a resource is written in a wrong way: that is said, with the right form, as soon as it can be known."""

# mypy: ignore-errors
# pyright: basic, reportArgumentType=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import re
import warnings
from abc import abstractmethod
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import partial, wraps
from typing import Any
from unittest.mock import MagicMock

import pytest

from doteval import ContextManagerError, ContextProvider, ModelSetupError, PooledProvider

pytestmark = [pytest.mark.anyio]


def hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator after which nobody sees what the function is."""

    def call(*args: Any) -> Any:
        return function(*args)

    return call


async def generator(self, spec):
    yield spec


async def coroutine(self, spec):
    return spec


def plain_generator(self, spec):
    yield spec


@asynccontextmanager
async def right(self, spec):
    yield spec


class Sync:
    def __enter__(self): ...
    def __exit__(self, *_): ...


AT_ONCE: dict[str, tuple[Any, str]] = {
    "not decorated": (generator, "yields, but has no @asynccontextmanager above it"),
    "a coroutine": (coroutine, "is a coroutine: it returns, where it has to yield the model"),
    "neither async nor decorated": (plain_generator, "yields, but has no @asynccontextmanager above it"),
    "not async": (asynccontextmanager(plain_generator), "is written with 'def', where it has to be 'async def'"),
    "without yield": (asynccontextmanager(coroutine), "has no yield: it returns, where it has to yield the model"),
    "of the other kind": (contextmanager(plain_generator), "has @contextmanager above it, where it has to be @async"),
}
WHEN_OPENED: dict[str, tuple[Any, str]] = {
    "returns the model": (lambda self, spec: spec, "returned an object of the class str, which is no async context"),
    "returns nothing": (lambda self, spec: None, "returned None, which is no async context manager"),
    "returns one for with": (
        lambda self, spec: Sync(),
        "returned an object of the class Sync, which has 'with' but no",
    ),
    "hidden generator": (hidden(generator), "yields, but has no @asynccontextmanager above it"),
    "hidden coroutine": (hidden(coroutine), "is a coroutine: it returns"),
    "hidden sync generator": (asynccontextmanager(hidden(plain_generator)), "is written with 'def'"),
    "decorated hidden coroutine": (asynccontextmanager(hidden(coroutine)), "is a coroutine: it returns"),
}


def wrong(function: Any) -> type[PooledProvider[Any]]:
    return type("Wrong", (PooledProvider,), {"open": function})


@pytest.mark.parametrize("name", AT_ONCE)
@pytest.mark.parametrize("kind", [lambda given: given, staticmethod, classmethod])
def test_a_class_is_refused_when_it_is_written(name: str, kind: Any) -> None:
    """With the right form, which can be copied."""
    function, problem = AT_ONCE[name]
    with pytest.raises(ContextManagerError, match=re.escape(f"Wrong.open {problem}")) as refused:
        wrong(kind(function))
    assert "    @asynccontextmanager\n    async def open(self, spec):\n" in str(refused.value)


@pytest.mark.parametrize("name", AT_ONCE)
@pytest.mark.parametrize("kind", [lambda given: given, lambda given: partial(given, 1)])
def test_a_factory_is_refused_when_it_is_given(name: str, kind: Any) -> None:
    """By its name."""
    function, problem = AT_ONCE[name]
    with pytest.raises(ContextManagerError, match=re.escape(problem)):
        ContextProvider(kind(function))


@pytest.mark.parametrize("name", WHEN_OPENED)
@pytest.mark.parametrize("is_factory", [True, False])
async def test_what_cannot_be_seen_before_is_told_when_it_is_opened(name: str, is_factory: bool) -> None:
    """And Python has nothing to warn of."""
    function, problem = WHEN_OPENED[name]
    make = (lambda: ContextProvider(partial(function, None))) if is_factory else wrong(function)
    with warnings.catch_warnings(action="error"):
        async with make() as provider:
            with pytest.raises(ModelSetupError, match=re.escape(problem)) as failed:
                await provider.setup("x")
    assert isinstance(failed.value.__cause__, ContextManagerError)
    assert str(failed.value).endswith("        async with connect(spec) as model:\n            yield model")


@pytest.mark.parametrize("given", ["postgres://me:secret@db", right(None, "x"), coroutine(None, "x"), nullcontext("x")])
def test_what_was_made_already_is_no_factory(given: Any) -> None:
    """The function was called, where it is to be passed."""
    told = r"ContextProvider was given .*, and not the function.\nPass the function itself, ContextProvider\("
    with pytest.raises(ContextManagerError, match=told) as refused:
        ContextProvider(given)
    assert not isinstance(given, str) or given not in str(refused.value)


class Cases(PooledProvider[str]):
    """Does as its spec says."""

    @asynccontextmanager
    async def open(self, spec, /):
        if spec == "never":
            return
        if spec == "inner":
            async with Cases.twice():
                yield spec
            return
        try:
            yield spec
        except BaseException:
            if spec != "again":
                raise
        if spec in ("twice", "again"):
            yield spec

    @staticmethod
    @asynccontextmanager
    async def twice():
        yield
        yield


async def test_one_that_never_yields_says_so() -> None:
    """It returned before."""
    async with Cases() as provider:
        with pytest.raises(ModelSetupError, match=r"Cases.open ended before it yielded the model\nWrite it like"):
            await provider.setup("never")


async def test_one_that_yields_twice_says_so_when_it_is_closed() -> None:
    """And where it is one that it enters itself, what Python says of that is left as it is."""
    async with Cases() as provider:
        for spec, kind, told in (
            ("twice", ContextManagerError, "Cases.open yields a second time, where it has to clean up and end"),
            ("inner", RuntimeError, "generator didn't stop"),
            ("once", None, ""),
        ):
            handle = await provider.setup(spec)
            if kind is None:
                await provider.teardown(handle.resource_id)
                continue
            with pytest.raises(kind, match=told):
                await provider.teardown(handle.resource_id)


def test_what_may_be_right_is_left_alone() -> None:
    """An abstract one, a class, what a decorator has made of it, what is inherited."""

    class Abstract(PooledProvider[Any]):
        @abstractmethod
        async def open(self, spec): ...

    class Mixin:
        open = right

    class Inherits(Mixin, PooledProvider[Any]):
        pass

    class Decorated(PooledProvider[Any]):
        @wraps(generator)
        def open(self, spec):
            return right(self, spec)

    class Made(PooledProvider[Any]):
        def open(self, spec):
            return right(self, spec)

    for factory in (
        MagicMock(),
        right,
        partial(right, None),
        Made().open,
        nullcontext,
        lambda spec: right(None, spec),
    ):
        ContextProvider(factory)
