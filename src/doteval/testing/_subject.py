"""``Subject``: the provider that a contract is about, and how its author says what to do with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import PurePath
from types import FunctionType, ModuleType
from typing import Any, ClassVar, Generic

import pytest
from anyio import fail_after, move_on_after
from typing_extensions import TypeVar

from .. import ModelHandle, ModelProvider
from ._patience import StuckError, in_time
from ._swallowing import ended, watch_for_swallowing

ModelT = TypeVar("ModelT", default=Any)


_VALUES = (str, bytes, int, float, complex, tuple, frozenset, Enum, PurePath, type, FunctionType, ModuleType)


class Subject(Generic[ModelT]):
    """What the author of a test says, and what the tests do with it."""

    _stuck: ClassVar[str]
    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.anyio]

    spec: str = "model-a"
    """Something that the provider can open."""
    other_spec: str = "model-b"
    """Something else that it can open."""
    config: Mapping[str, Any] = {}
    """What to open both with."""
    bad_spec: str | None = None
    """Something that it cannot open."""
    bad_config: Mapping[str, Any] | None = None
    """What it cannot open `bad_spec`, or else `spec`, with."""
    patience: float = 20.0
    """For how long, in seconds, a test waits for one thing that should happen, such as an opening or a closing."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:  # an author's own tests are left alone
            for name, test in list(vars(cls).items()):
                if name.startswith("test_") and iscoroutinefunction(test):
                    setattr(cls, name, _in_time(test))
        elif (make := vars(cls).get("make_provider")) is not None:
            setattr(cls, "make_provider", _watched(make))  # noqa: B010 - its type is another for each subclass

    def make_provider(self) -> ModelProvider[ModelT]:
        """Make a provider of the kind to be tested, not entered; every call makes a new one."""
        raise NotImplementedError(f"{type(self).__name__} needs a method make_provider(self) that returns a provider")

    def is_open(self, model: ModelT) -> bool | None:
        """Whether a model is open, or `None` where there is no way to tell."""
        return None

    async def use(self, model: ModelT) -> None:
        """Use a model in some cheap way; raises where it cannot be used."""

    # ---------------------------------------------------------------- what the tests use

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[ModelProvider[ModelT]]:
        """A new provider, inside ``async with``."""
        async with self.make_provider() as provider:
            yield provider

    async def lease(self, provider: ModelProvider[ModelT], spec: str | None = None) -> ModelHandle[ModelT]:
        """Set up `spec`, or `self.spec`."""
        setup = provider.setup(self.spec if spec is None else spec, **self.config)
        handle = await ended(setup, self.patience)
        vars(self).setdefault("leased", []).append(handle)  # one that is dropped may be reclaimed
        return handle

    def at_once(self, provider: ModelProvider[ModelT]) -> Sequence[str]:
        """The specs that the provider has room for at the same time: `spec` and `other_spec`, or the first alone."""
        return self.spec, self.other_spec

    async def check_use(self, handle: ModelHandle[ModelT]) -> None:
        """Fail unless the handle is active and its model can be used."""
        assert handle.is_active, f"the handle on '{handle.resource_id}' is inactive, but nobody has torn it down"
        model = handle.model
        assert self.is_open(model) is not False, (
            f"the model of the active handle on '{handle.resource_id}' is closed: keep it open for as long as a handle "
            "is active"
        )
        await self.use(model)

    def check_closed(self, model: ModelT, what: str) -> None:
        """Fail if the model is still open."""
        assert self.is_open(model) is not True, f"the model is still open after {what}: close there what setup() opens"

    async def use_in_time(self, provider: ModelProvider[ModelT]) -> None:
        """Lease and use `spec`; fail where that takes too long."""
        with fail_after(self.patience):
            await self.check_use(await self.lease(provider))

    async def check_failure(self, provider: ModelProvider[ModelT]) -> Exception:
        """Fail unless what cannot be opened raises an exception that says something; return it."""
        setup = provider.setup(self.bad_spec or self.spec, **{**self.config, **(self.bad_config or {})})
        error = await failure_of(setup)
        assert error is not None, (
            "setup() of what cannot be opened succeeded: raise there, make the configuration a part of the key, or set "
            "another bad_spec"
        )
        for each in (error, error.__cause__):
            assert each is None or str(each), (
                f"setup() raised a {type(each).__name__} without a message: say what failed and what to do"
            )
        return error


def _in_time(test: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Fail where the test waits for ever; then the others of its class would, too, and are skipped."""

    @wraps(test)
    async def run(self: Subject[Any]) -> None:
        kind = type(self)
        stuck = vars(kind).get("_stuck")
        if stuck is not None:
            pytest.skip(f"{stuck} has shown where it waits for ever")
        try:
            await in_time(ended(test(self), self.patience), self.patience)
        except StuckError:
            kind._stuck = test.__name__
            raise

    return run


def _watched(make: Callable[[Any], ModelProvider[Any]]) -> Callable[[Any], ModelProvider[Any]]:
    @wraps(make)
    def make_provider(self: Subject[Any]) -> ModelProvider[Any]:
        provider = make(self)
        made: object = provider
        if isinstance(made, type) or not callable(getattr(made, "setup", None)):
            given = f"the class {made.__name__}" if isinstance(made, type) else f"a {type(made).__name__}"
            pytest.fail(f"make_provider() returned {given}, and has to return a provider, as MyProvider() makes one")
        watch_for_swallowing(provider, self.patience)
        return provider

    return make_provider


def is_a_value(model: object) -> bool:
    """Whether it is one that may well be the same each time, as nothing in it can be open or closed."""
    return model is None or isinstance(model, _VALUES)


async def failure_of(awaitable: Awaitable[object]) -> Exception | None:
    """What awaiting raises, or `None`."""
    try:
        await awaitable
    except Exception as exc:
        return exc
    return None


async def answer_of(asking: Awaitable[bool], patience: float) -> bool | None:
    """What a health check says; raising counts as no, and `None` is no answer in that many seconds."""
    with move_on_after(patience):
        try:
            return bool(await asking)
        except Exception:
            return False
    return None


async def model_of(handle: ModelHandle[ModelT]) -> ModelT:
    """The model of a handle, for `failure_of`."""
    return handle.model


async def enter(provider: ModelProvider[Any]) -> None:
    """Enter a provider, and leave it again."""
    async with provider:
        pass
