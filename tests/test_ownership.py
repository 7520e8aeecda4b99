"""A resource belongs to the provider: to nobody's context, and to nobody's handle that is no longer active."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from anyio import Event, create_task_group
from tests.blocked import wait_all_tasks_blocked

from doteval import ModelHandle, ModelProviders, ModelSetupError, PooledProvider
from doteval._pool import books, close_failures

pytestmark = pytest.mark.anyio

REQUEST: ContextVar[object] = ContextVar("REQUEST", default="nobody's")


class Model:
    """Something large."""


class Provider(PooledProvider[Model]):
    """Notes in whose context its code runs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[object] = []
        self.go_on = Event()

    def note(self) -> None:
        value = REQUEST.get()
        self.seen.append(value if isinstance(value, str) else "a request's")

    async def healthy(self, model: Model, /) -> bool:
        self.note()
        return True

    @asynccontextmanager
    async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Model]:
        async def work() -> None:
            await self.go_on.wait()
            self.note()

        self.note()
        if spec.startswith("fails"):
            raise OSError("no")
        async with create_task_group() as task_group:
            task_group.start_soon(work)
            yield Model()
        self.note()


class Request:
    """What a web framework would keep in its context."""


async def serve(provider: Provider | ModelProviders, how: str) -> weakref.ref[Request]:
    """Handle one request in a task of its own, as a server does."""
    requests: list[weakref.ref[Request]] = []

    async def handle_request() -> None:
        request = Request()
        REQUEST.set(request)
        requests.append(weakref.ref(request))
        if how == "preload":
            assert isinstance(provider, Provider)
            provider.preload("a")
            await wait_all_tasks_blocked()
        async with await provider.setup("a"):
            pass

    async with create_task_group() as task_group:
        task_group.start_soon(handle_request)
    await wait_all_tasks_blocked()
    gc.collect()
    return requests[0]


@pytest.mark.parametrize("how", ["setup", "preload", "by name"])
async def test_a_resource_runs_in_the_providers_context(how: str) -> None:
    """What the first request had in its context is gone when the request is, and all code sees the provider's."""
    REQUEST.set("the provider's")
    provider = Provider(health_after=0)
    async with ModelProviders({"p": provider}, discover=False) as providers:
        if how == "by name":
            request = await serve(providers, how)
        else:
            request = await serve(providers["p"], how)  # type: ignore[arg-type]
        assert request() is None
        await serve(providers, "setup")
        provider.go_on.set()
        await wait_all_tasks_blocked()
    assert set(provider.seen) == {"the provider's"}
    assert len(provider.seen) >= 4


async def test_two_providers_in_one_context_do_not_get_in_each_others_way() -> None:
    """One opens what the other one leases from, while that is opening."""
    inner = Provider()

    class Outer(PooledProvider[ModelHandle[Model]]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[ModelHandle[Model]]:
            inner.go_on.set()
            async with await inner.setup(spec) as handle:
                yield handle

    async with inner, Outer() as outer, await outer.setup("a") as handle:
        assert handle.model.is_active


@pytest.mark.parametrize("how", ["torn down", "closed under it", "provider closed"])
async def test_an_inactive_handle_does_not_keep_the_model(how: str) -> None:
    """It may hold a GPU's memory."""
    async with Provider() as provider:
        handle = await provider.setup("a")
        model = weakref.ref(handle.model)
        provider.go_on.set()
        if how == "torn down":
            await handle.teardown()
            await provider.teardown("a")
        elif how == "closed under it":
            await provider.teardown("a")
    await wait_all_tasks_blocked()
    gc.collect()
    assert not handle.is_active
    assert model() is None


async def test_remembered_failures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Specs that nobody will ask for again, such as a user's typing errors, are forgotten in the end."""
    monkeypatch.setattr(books, "_MOST_FAILURES", 20)
    async with Provider(remember_failures=3600) as provider:
        for number in range(30):
            with pytest.raises(ModelSetupError):
                await provider.setup(f"fails {number}")
        opened = len(provider.seen)
        with pytest.raises(ModelSetupError):
            await provider.setup("fails 29")
        assert len(provider.seen) == opened
        with pytest.raises(ModelSetupError):
            await provider.setup("fails 1")
        assert len(provider.seen) == opened + 1


async def test_failures_to_close_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many the first ones are raised in the end, and how many more there were."""
    monkeypatch.setattr(close_failures, "_MOST", 20)

    class Stubborn(PooledProvider[Model]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Model]:
            yield Model()
            raise OSError(spec)

    provider = Stubborn(capacity=1)
    with pytest.raises(ExceptionGroup) as caught:
        async with provider:
            for number in range(50):
                await (await provider.setup(str(number))).teardown()
    assert len(caught.value.exceptions) == 21
    assert "closing 30 more resources failed" in str(caught.value.exceptions[-1])
    assert provider.statistics().close_failures == 50
