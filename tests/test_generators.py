"""``loop.shutdown_asyncgens()`` while things are open: frameworks and notebooks call it without cancelling any task."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Self

import pytest
import uvloop
from anyio import Event, create_task_group, fail_after
from tests.blocked import wait_all_tasks_blocked
from tests.named_providers import Sessions
from tests.resources import ThingProvider

from doteval import ContextProvider, HTTPProvider, ModelProviders
from doteval.blocking import entered
from doteval.testing import FakeProvider

loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


class GeneratorEntered(Sessions):
    """A provider with an ``__aenter__`` of its own, which is left by the task that entered it, in a generator."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with create_task_group() as group:
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    async def __aenter__(self) -> Self:
        self.stack = AsyncExitStack()
        await self.stack.enter_async_context(self.running())
        return self

    async def __aexit__(self, *exc_info: object) -> bool | None:
        return await self.stack.__aexit__(None, None, None)


@asynccontextmanager
async def nested(spec: str) -> AsyncIterator[list[str]]:
    """What `ContextProvider` may be given: one generator inside of the other, the inner one after some steps."""
    async with create_task_group() as group:
        await asyncio.sleep(0)
        async with inner() as value:
            yield value
        group.cancel_scope.cancel()


@asynccontextmanager
async def inner() -> AsyncIterator[list[str]]:
    values: list[str] = ["open"]
    async with create_task_group():
        yield values
    values.clear()


def providers() -> ModelProviders:
    """The mapping, with one provider of each sort."""
    return ModelProviders(
        {"things": ThingProvider(), "own": GeneratorEntered(), "fake": FakeProvider()}, discover=False
    )


# How each is made, what it is asked for, and how one sees that a model is in order.
KINDS: dict[str, tuple[Callable[[], Any], str, Callable[[Any], bool]]] = {
    "pool": (ThingProvider, "a", lambda model: model.is_open),
    "mapping": (providers, "things:a", lambda model: model.is_open),
    "mapping of entered": (providers, "own:session-a", lambda model: model.startswith("session-a")),
    "fake": (FakeProvider, "a", lambda model: model.name == "a"),
    "context": (lambda: ContextProvider(nested), "a", lambda model: model == ["open"]),
    "http": (HTTPProvider, "http://127.0.0.1:9", lambda model: not model.is_closed),
}
kinds = pytest.mark.parametrize(("make", "spec", "is_good"), KINDS.values(), ids=KINDS)


@contextmanager
def no_trouble(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The loop is told of nothing that went wrong."""
    trouble: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: trouble.append(context))
    yield
    gc.collect()
    assert not trouble


@loops
@kinds
def test_what_is_open_goes_on_and_is_closed_as_always(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    make: Callable[[], Any],
    spec: str,
    is_good: Callable[[Any], bool],
) -> None:
    """A lease goes on, others can be made, and nothing is left when it is closed."""
    loop, provider = new_loop(), make()
    with no_trouble(loop):
        loop.run_until_complete(provider.start())
        handle = loop.run_until_complete(provider.setup(spec))
        for _ in range(2):
            loop.run_until_complete(loop.shutdown_asyncgens())
            assert handle.is_active
            assert is_good(handle.model)
        other = loop.run_until_complete(provider.setup(spec))
        assert is_good(other.model)
        loop.run_until_complete(provider.aclose())
        assert handle.is_active is isinstance(handle.manager, GeneratorEntered)  # which keeps its own books
        assert not asyncio.all_tasks(loop)
        loop.close()
    if isinstance(provider, ThingProvider):
        provider.assert_nothing_is_left()


@loops
@kinds
def test_a_loop_that_is_closed_then_is_told_of(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    make: Callable[[], Any],
    spec: str,
    is_good: Callable[[Any], bool],
) -> None:
    """By the usual warning and nothing else; the end of the tasks closes what is open."""
    loop = new_loop()

    def run() -> None:
        provider = make()
        loop.run_until_complete(provider.start())
        handle = loop.run_until_complete(provider.setup(spec))
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert is_good(handle.model)
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        if isinstance(provider, ThingProvider):
            provider.assert_nothing_is_left()
        loop.close()

    with warnings.catch_warnings(record=True) as caught, no_trouble(loop):
        warnings.simplefilter("always")
        run()
        gc.collect()
    (warning,) = [str(each.message) for each in caught if each.category is ResourceWarning]
    assert "never closed: 'await provider.aclose()' before the event loop ends" in warning
    assert f"; it was entered in {__file__}:" in warning


@loops
def test_what_is_on_its_way_goes_on(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """An opening and a closing that have begun, and one that begins afterwards."""
    loop, provider = new_loop(), ThingProvider(keep_alive=0)

    async def begin() -> list[Any]:
        await provider.start()
        provider.gates["opening"] = Event()
        provider.close_gates["closing"] = Event()
        handle = await provider.setup("closing")
        ways = [asyncio.ensure_future(provider.setup("opening")), asyncio.ensure_future(handle.teardown())]
        await wait_all_tasks_blocked()
        return ways

    async def end(ways: list[Any]) -> None:
        later = await provider.setup("later")
        provider.gates["opening"].set()
        provider.close_gates["closing"].set()
        with fail_after(30):
            handle, _ = await asyncio.gather(*ways)
            await handle.model.use()
            await later.model.use()
            await provider.aclose()

    with no_trouble(loop):
        ways = loop.run_until_complete(begin())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(end(ways))
        loop.close()
    provider.assert_nothing_is_left()


@pytest.mark.parametrize("options", [{}, {"use_uvloop": True}], ids=["asyncio", "uvloop"])
@kinds
def test_the_loop_of_the_blocking_face(
    options: dict[str, Any], make: Callable[[], Any], spec: str, is_good: Callable[[Any], bool]
) -> None:
    """Whoever gets at it, does no harm."""

    async def shut_down() -> None:
        await asyncio.get_running_loop().shutdown_asyncgens()

    provider = make()
    with entered(provider, backend_options=options) as blocking, blocking.setup(spec) as handle:
        blocking.call(shut_down)
        with blocking.setup(spec) as other:
            assert handle.is_active
            assert other.is_active
            assert is_good(handle._handle.model)
    if isinstance(provider, ThingProvider):
        provider.assert_nothing_is_left()


@loops
def test_a_generator_that_is_dropped_half_way_is_still_closed(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """What an author leaves behind is closed by the loop when it is collected, as everywhere."""
    closed = asyncio.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.set()

    class Dropping(ThingProvider):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Any]:
            async for _ in numbers():
                break
            yield spec

    async def use() -> None:
        async with Dropping() as provider:
            await provider.setup("a")
            gc.collect()
            await closed.wait()

    loop = new_loop()
    loop.run_until_complete(use())
    loop.close()
