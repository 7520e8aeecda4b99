"""Hooks of a provider that are of the wrong form, or return something else: the error says whose, and what is meant."""

from __future__ import annotations

import functools
import re
import types
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from doteval import ModelHandle, ModelProvider, ModelProviders, PooledProvider


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Without uvloop, which has nothing to do with what an author writes."""
    return request.param


class Books(ModelProvider[Any]):
    """Keeps none."""

    async def setup(self, spec: str) -> Any:
        return ModelHandle(spec, 1, self)

    async def teardown(self, resource_id: str) -> Any: ...


class Pooled(PooledProvider[Any]):
    """Leases what it is asked for."""

    @asynccontextmanager
    async def open(self, spec: str, /) -> AsyncIterator[str]:
        yield spec


class Duck:
    """A provider that inherits from nothing."""

    setup = Books.setup
    teardown = Books.teardown


async def asynchronous(*_: Any, **_config: Any) -> Any: ...


async def yielding(*_: Any, **_config: Any) -> AsyncIterator[None]:
    yield


def plain(*_: Any) -> None: ...


WRITTEN: list[tuple[type[Any], dict[str, Any], str]] = [
    *(
        (Pooled, {hook: asynchronous}, f"Wrong.{hook} is written with 'async def', where it has to be 'def'")
        for hook in ("is_broken", "breaks", "idle", "slots", "secrets", "identity")
    ),
    (Pooled, {"secrets": yielding}, "Wrong.secrets is written with 'async def'"),
    (Books, {"identity": asynchronous}, "Wrong.identity is written with 'async def'"),
    (Books, {"setup": yielding}, "Wrong.setup yields, where it has to return a ModelHandle. Inherit from Pooled"),
    (Books, {"teardown": lambda self: None}, "Wrong.teardown cannot be called with a resource id"),
]


@pytest.mark.parametrize(("base", "written", "problem"), WRITTEN)
def test_a_form_that_cannot_work_is_refused_when_the_class_is_written(
    base: type[Any], written: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(problem)):
        type("Wrong", (base,), written)


def given(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that gives one more argument."""

    @functools.wraps(function)
    def decorated(self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self, "session", *args, **kwargs)

    return decorated


def plain_coroutine(function: Callable[..., Any]) -> Any:
    """As it was written before ``async def``; `await` takes it."""

    @types.coroutine
    def running(*args: Any, **kwargs: Any) -> Any:
        return (yield from function(*args, **kwargs).__await__())

    return running


async def setup_with(self: Any, _session: str, spec: str) -> Any:
    return ModelHandle(spec, spec, self)


async def teardown_with(_self: Any, session: str, resource_id: str) -> None:
    assert (session, resource_id) == ("session", "x")


@asynccontextmanager
async def open_with(_self: Any, session: str, spec: str, /) -> AsyncIterator[str]:
    assert session == "session"
    yield spec


async def well(*_: object) -> bool:
    return True


def fields(base: type[Any]) -> type[Any]:
    """With patterns that are a field."""
    namespace = {"patterns": field(default=("x-*",)), "__annotations__": {"patterns": tuple[str, ...]}}
    return dataclass(type("Right", (base,), namespace))


RIGHT: dict[str, Callable[[], type[Any]]] = {
    "arguments given by a decorator": lambda: type(
        "Right", (Books,), {"setup": given(setup_with), "teardown": given(teardown_with)}
    ),
    "an argument of open() given by a decorator": lambda: type("Right", (Pooled,), {"open": given(open_with)}),
    "coroutines that are generators": lambda: type(
        "Right",
        (Books,),
        {"setup": plain_coroutine(Books.setup), "teardown": plain_coroutine(Books.teardown)},
    ),
    "a check that is a generator": lambda: type(
        "Right",
        (Pooled,),
        {"healthy": plain_coroutine(well), "__init__": lambda self: Pooled.__init__(self, health_after=0)},
    ),
    "patterns in a field": lambda: fields(Books),
    "patterns in a field of one with a pool": lambda: fields(Pooled),
    **{
        f"{name}() of its own": lambda name=name: type("Right", (Books,), {name: asynchronous})
        for name in ("is_broken", "breaks", "idle", "slots", "secrets")
    },
    "slots() of a base that has no pool": lambda: type(
        "Right", (type("Mixin", (), {"slots": asynchronous}), Books), {"slots": asynchronous}
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("made", RIGHT)
async def test_a_form_that_works_is_not_refused(made: str) -> None:
    """However it came about."""
    provider = RIGHT[made]()()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with ModelProviders({"right": provider}, discover=False) as providers:
            for _ in range(2):
                async with providers.setup("right:x") as handle:
                    assert handle.resource_id == "x"
            if isinstance(provider, PooledProvider):
                assert provider.statistics().unhealthy == 0
            async with provider.setup("x") as handle:
                assert handle.resource_id == "x"
            if "patterns" in made:
                async with providers.setup("x-y") as handle:
                    assert handle.resource_id == "x-y"


RETURNED: dict[str, tuple[dict[str, Any], str]] = {
    "a model": (
        {"setup": lambda self, spec: later(object())},
        "Wrong.setup() returned an object of the class object, and no handle: return ModelHandle(resource_id=...",
    ),
    "nothing": ({"setup": lambda self, spec: later(None)}, "Wrong.setup() returned None, and no handle: return"),
    "not awaited": (
        {"setup": lambda self, spec: object()},
        "Wrong.setup() returned an object of the class object, and nothing to await: write it with 'async def'",
    ),
    "no manager": (
        {"setup": lambda self, spec: later(ModelHandle(spec, 1, cast(Any, None)))},
        "the manager of the ModelHandle on 'x' is None, and has to be the provider that gives it out: manager=self",
    ),
    "the class": (
        {"setup": lambda self, spec: later(ModelHandle(spec, 1, type(self)))},
        "the manager of the ModelHandle on 'x' is the class Wrong, and has to be",
    ),
    "a plain teardown": (
        {"teardown": plain},
        "Wrong.teardown() returned None, and nothing to await: write it with 'async def', and let it return",
    ),
}


async def later(handle: object) -> object:
    return handle


def written(returned: dict[str, Any], base: type[Any]) -> type[Any]:
    async def setup(self: Any, spec: str) -> Any:
        return await returned["setup"](self, spec)

    is_async = "setup" in returned and returned["setup"].__code__.co_names[:1] == ("later",)
    return type("Wrong", (base,), {**returned, **({"setup": setup} if is_async else {})})


async def entered(asked: Any) -> None:
    async with asked:
        pass


async def awaited(asked: Any) -> None:
    await (await asked).teardown()


@pytest.mark.anyio
@pytest.mark.parametrize("way", [entered, awaited])
@pytest.mark.parametrize("base", [Books, Duck])
@pytest.mark.parametrize("mistake", RETURNED)
async def test_what_a_provider_with_books_of_its_own_returns_is_told_with_its_name(
    mistake: str, base: type[Any], way: Callable[[Any], Any]
) -> None:
    """Through `ModelProviders`, and where it inherits, also by itself."""
    returned, problem = RETURNED[mistake]
    kind = written(returned, base)
    async with ModelProviders({"wrong": kind}, discover=False) as providers:
        with pytest.raises(TypeError, match=re.escape(problem)):
            await way(providers.setup("wrong:x"))
    if base is Books and mistake != "not awaited":
        with pytest.raises(TypeError, match=re.escape(problem)):
            await way(kind().setup("x"))


SLOTS = [("2", "'2'"), (1.5, "1.5"), (2.0, "2.0"), (None, "None"), ([1], "an object of the class list")]


@pytest.mark.anyio
@pytest.mark.parametrize(("slots", "given"), SLOTS)
async def test_slots_that_are_no_number_are_told(slots: object, given: str) -> None:
    kind = type("Wrong", (Pooled,), {"slots": lambda self, spec: slots})
    async with kind(capacity=2) as provider:
        with pytest.raises(TypeError, match=rf"Wrong\.slots\('x'\) must be a whole number of at least 1, not {given}$"):
            await provider.setup("x")
        with pytest.raises(TypeError, match=r"Wrong\.slots"):
            await provider.setup_many("x", "y")


@pytest.mark.parametrize("capacity", [1.5, 3.0, object()])
def test_a_capacity_that_is_no_number_and_no_list_is_told(capacity: object) -> None:
    with pytest.raises(ValueError, match="capacity must be a whole number of slots or a list of their names, not"):
        Pooled(capacity=cast(Any, capacity))


@pytest.mark.anyio
@pytest.mark.parametrize("identity", ["text", ["a"], 5, None])
async def test_an_identity_that_is_no_mapping_is_told(identity: object) -> None:
    """By a handle, and by all providers."""
    kind = type("Wrong", (Pooled,), {"identity": lambda self, spec="", **config: identity})
    problem = r"Wrong\.identity\(\) returned .*, and has to return a mapping of names"
    async with ModelProviders({"wrong": kind}, discover=False) as providers, providers.setup("x") as handle:
        with pytest.raises(TypeError, match=problem):
            handle.__doteval_identity__()
        with pytest.raises(TypeError, match=problem):
            providers.identity("x")


@pytest.mark.anyio
@pytest.mark.parametrize("calls_super", [True, False])
async def test_a_provider_may_be_a_frozen_dataclass(calls_super: bool) -> None:
    """What the base keeps is no field of it."""

    @dataclass(frozen=True)
    class Frozen(Pooled):
        url: str = "a"

        def __post_init__(self) -> None:
            if calls_super:
                super().__init__(capacity=1)

    async with Frozen("b") as provider:
        async with provider.setup("x") as handle:
            assert handle.model == "x"
        assert provider.statistics().capacity == (1 if calls_super else None)
        assert provider.identity("x")["url"] == "b"
