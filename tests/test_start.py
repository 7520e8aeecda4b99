"""``start()`` and ``aclose()``: a provider is entered in one task and left in another, and ends with its event loop."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import signal
import unittest
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.conftest import BACKENDS
from tests.named_providers import Letters, Sessions
from tests.resources import Thing, ThingProvider

from doteval import ModelProviders, PooledProvider, ProviderClosedError, WrongEventLoopError
from doteval._pooled import include, runtime_of

everywhere = pytest.mark.anyio
loops = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)


class EnteringThings(ThingProvider):
    """A pool whose author has written an ``async with`` that only the task may leave that has entered it."""

    async def __aenter__(self) -> Self:
        self.group = create_task_group()
        await self.group.__aenter__()
        try:
            return await super().__aenter__()
        except BaseException as exc:
            await self.group.__aexit__(type(exc), exc, None)
            raise

    async def __aexit__(self, *exc_info: Any) -> bool | None:  # noqa: PYI036
        try:
            return await super().__aexit__(*exc_info)
        finally:
            await self.group.__aexit__(None, None, None)


class IncludingThings(ThingProvider):
    """A pool that brings another one along, from which it leases, as those of the SDKs do; both close as slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = include(self, ThingProvider())
        self.inner.close_gates = self.close_gates

    @asynccontextmanager
    async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Thing]:
        async with self.inner.setup(spec), super().open(spec) as thing:
            yield thing

    def assert_nothing_is_left(self) -> None:
        super().assert_nothing_is_left()
        self.inner.assert_nothing_is_left()


class Mapping(ModelProviders):
    """The mapping, with the same things behind it."""

    def __init__(self, things: ThingProvider | None = None) -> None:
        self.things = things or ThingProvider()
        super().__init__({"things": self.things}, discover=False)

    @property
    def gates(self) -> dict[str, Event]:
        return self.things.gates

    @property
    def close_gates(self) -> dict[str, Event]:
        return self.things.close_gates

    @property
    def close_trouble(self) -> dict[str, Exception]:
        return self.things.close_trouble

    def assert_nothing_is_left(self) -> None:
        self.things.assert_nothing_is_left()


def entering_mapping() -> Mapping:
    """A mapping with a provider that has to be entered in a task of its own."""
    return Mapping(EnteringThings())


KINDS: dict[str, Callable[[], Any]] = {
    "pool": ThingProvider,
    "pool with its own enter": EnteringThings,
    "pool with another in it": IncludingThings,
    "mapping": Mapping,
    "mapping of one with its own enter": entering_mapping,
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


async def in_a_task(function: Callable[[], Awaitable[Any]]) -> Any:
    """Run in a task that ends with it, as hooks, fixtures and cells do."""
    results: list[Any] = []

    async def run() -> None:
        results.append(await function())

    async with create_task_group() as task_group:
        task_group.start_soon(run)
    return results[0]


async def use(provider: Any, spec: str = "a") -> None:
    async with await provider.setup(spec) as handle:
        await handle.model.use()


# ------------------------------------------------------------------ any task


@everywhere
@kinds
async def test_it_is_started_used_and_closed_in_three_tasks_and_again(kind: Callable[[], Any]) -> None:
    """As by fixtures and hooks; afterwards it says that it is closed, and may be started anew."""
    provider = kind()
    for _ in range(2):
        assert await in_a_task(provider.start) is provider
        await in_a_task(lambda: use(provider))
        kept = await in_a_task(lambda: provider.setup("b"))
        await in_a_task(provider.aclose)
        assert not kept.is_active
        provider.assert_nothing_is_left()
        with pytest.raises(ProviderClosedError):
            await provider.setup("a")


@everywhere
@pytest.mark.parametrize("kind", [ThingProvider, Mapping])
async def test_async_with_may_be_left_in_another_task(kind: Callable[[], Any]) -> None:
    """Also while what was entered after it is still open, so in any order."""
    first, second = kind(), kind()
    await in_a_task(first.__aenter__)
    await in_a_task(second.__aenter__)
    await in_a_task(lambda: first.__aexit__(None, None, None))
    await use(second)
    await in_a_task(lambda: second.__aexit__(None, None, None))


@everywhere
async def test_a_provider_that_is_no_pool_has_them_too() -> None:
    """One with an ``async with`` of its own is held open in one task; a plain one tears its handles down."""
    sessions = Sessions()
    await in_a_task(sessions.start)
    with pytest.raises(RuntimeError, match="Sessions is entered already"):
        await sessions.start()
    async with ModelProviders({"sessions": sessions}, discover=False) as providers:
        assert (await providers.setup("sessions:1")).is_active
    assert (sessions.entered, sessions.exited) == (1, 0)  # who lends it closes it
    await in_a_task(sessions.aclose)
    assert (sessions.entered, sessions.exited) == (1, 1)
    letters = await Letters().start()
    handle = await letters.setup("x")
    await letters.aclose()
    assert not handle.is_active
    assert letters.torn_down == ["x"]


@everywhere
async def test_what_breaks_an_async_with_of_its_own_is_told_by_aclose() -> None:
    """Nobody is cancelled for it."""
    sessions = await Sessions().start()
    sessions.break_down()
    await wait_all_tasks_blocked()
    with pytest.raises(ExceptionGroup) as caught:
        await sessions.aclose()
    assert caught.group_contains(ConnectionError, match="the line is dead")
    await sessions.aclose()  # told once


@everywhere
async def test_what_entering_raises_is_raised_by_start() -> None:
    """The exception itself; it may be tried again."""
    sessions = Sessions(OSError("no line"))
    with pytest.raises(OSError, match="no line"):
        await sessions.start()
    sessions.trouble = None
    await sessions.start()
    await sessions.aclose()


@everywhere
@kinds
async def test_starting_twice_is_refused_and_closing_twice_is_not(kind: Callable[[], Any]) -> None:
    """Before it is started, and after it was closed, closing does nothing."""
    provider = kind()
    await provider.aclose()
    await provider.start()
    with pytest.raises(RuntimeError, match="is entered already; share it instead of entering it twice"):
        await provider.start()
    await use(provider)
    await provider.aclose()
    await provider.aclose()
    provider.assert_nothing_is_left()


@everywhere
@kinds
async def test_all_who_close_it_at_once_wait_and_one_is_told_what_failed(kind: Callable[[], Any]) -> None:
    """The failure in the shape that the end of ``async with`` gives it."""
    provider = kind()
    await provider.start()
    await provider.setup("a")
    provider.close_gates["a"] = Event()
    provider.close_trouble["a"] = OSError("a will not close")
    ends: list[Exception | None] = []

    async def close() -> None:
        try:
            await provider.aclose()
        except Exception as exc:
            ends.append(exc)
        else:
            ends.append(None)

    async with create_task_group() as task_group:
        for _ in range(3):
            task_group.start_soon(close)
        await wait_all_tasks_blocked()
        assert ends == []
        provider.close_gates["a"].set()
    (failure,) = [end for end in ends if end is not None]
    assert isinstance(failure, ExceptionGroup)
    assert "closing" in failure.message
    while isinstance(failure, ExceptionGroup):
        (failure,) = failure.exceptions
    assert isinstance(failure, OSError)


@everywhere
async def test_open_sees_the_context_in_which_the_provider_was_started() -> None:
    """Not that of whoever happens to lease first."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    seen: list[str] = []

    class Reading(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /) -> AsyncIterator[str]:
            seen.append(variable.get())
            yield spec

    provider = Reading()
    variable.set("the app's")
    await provider.start()
    variable.set("a request's")
    await provider.setup("a")
    await in_a_task(lambda: provider.setup("b"))
    await provider.aclose()
    assert seen == ["the app's", "the app's"]


# ------------------------------------------------------------------ cancellation


@everywhere
@kinds
@pytest.mark.concurrency
async def test_cancelled_anywhere_it_leaves_nothing_and_can_be_started_again(kind: Callable[[], Any]) -> None:
    """A start that is cancelled half-way has not happened; a close that is cancelled happens all the same."""
    provider = kind()

    async def program() -> None:
        await provider.start()
        try:
            await use(provider)
        finally:
            await provider.aclose()

    async def trial(k: int) -> bool:
        reached = await cancelled_at(k, program)
        provider.assert_nothing_is_left()
        return reached

    assert await at_every_checkpoint(trial) > 1
    await program()


@pytest.mark.parametrize("backend", [BACKENDS["asyncio"], BACKENDS["uvloop"]], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("by_hand", [True, False])
@kinds
def test_cancelled_again_and_again_by_asyncio_it_still_closes_first(
    backend: Any, by_hand: bool, kind: Callable[[], Any]
) -> None:
    """Its cancellations go through every shield; the caller waits all the same, and is cancelled then.

    Then it is closed, and can be entered again.
    """

    async def main() -> None:
        provider = kind()
        gate = provider.close_gates["a"] = Event()

        async def live() -> None:
            async with provider:
                await provider.setup("a")

        if by_hand:
            await provider.start()
            await provider.setup("a")
        closing = asyncio.create_task(provider.aclose() if by_hand else live())
        for _ in range(3):
            await wait_all_tasks_blocked()
            closing.cancel()
        await wait_all_tasks_blocked()
        assert not closing.done()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await closing
        provider.assert_nothing_is_left()
        with pytest.raises(ProviderClosedError):
            await provider.setup("a")
        async with provider:
            await use(provider)

    anyio.run(main, backend=backend[0], backend_options=backend[1])


@everywhere
@kinds
async def test_closing_while_it_is_being_started_calls_that_off_or_waits_for_it(kind: Callable[[], Any]) -> None:
    """Whichever is first: afterwards nothing is left, and it may be started again."""
    provider = kind()

    async def start() -> None:
        try:
            await provider.start()
        except ProviderClosedError:
            return

    for turns in range(8):
        async with create_task_group() as task_group:
            task_group.start_soon(start)
            for _ in range(turns):
                await checkpoint()
            await provider.aclose()
        await provider.aclose()
        provider.assert_nothing_is_left()
    await provider.start()
    await use(provider)
    await provider.aclose()


# ------------------------------------------------------------------ errors


@everywhere
async def test_the_block_keeps_its_exception_and_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a resource's task fails in a way that should not be, the provider closes, and says so at the end."""
    with pytest.raises(KeyError, match="mine"):
        async with ThingProvider() as provider:
            raise KeyError("mine")
    provider = ThingProvider()

    def bug(*_: object) -> None:
        raise AssertionError("a bug of ours")

    with pytest.raises(ExceptionGroup) as caught:
        async with provider:
            handle = await provider.setup("a")
            monkeypatch.setattr(runtime_of(provider).pool._ledger, "ended", bug)  # type: ignore[union-attr]
            handle.model.break_down()
            for _ in range(30):
                await checkpoint()
            assert not handle.is_active
            with pytest.raises(ProviderClosedError):
                await provider.setup("a")
            reached = True
    assert reached
    assert caught.group_contains(AssertionError, match="a bug of ours")
    assert repr(provider) == "<ThingProvider closed>"


@loops
@pytest.mark.parametrize("kind", [ThingProvider, Mapping])
def test_it_is_closed_in_its_own_loop_only(backend: Any, kind: Callable[[], Any]) -> None:
    """From another one, or from none, the error says what to do."""

    async def main() -> None:
        provider = kind()
        await provider.start()
        await provider.setup("a")

        async def elsewhere() -> None:
            with pytest.raises(WrongEventLoopError):
                await provider.aclose()

        await anyio.to_thread.run_sync(lambda: anyio.run(elsewhere))
        await use(provider)
        await provider.aclose()
        provider.assert_nothing_is_left()

    anyio.run(main, backend=backend[0], backend_options=backend[1])


class Interrupted(ThingProvider):
    """Somebody presses Ctrl-C while its code runs."""

    @asynccontextmanager
    async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Thing]:
        await checkpoint()
        signal.raise_signal(signal.SIGINT)
        yield Thing(spec)


@loops
def test_ctrl_c_while_a_resource_opens_ends_the_program(backend: Any) -> None:
    """Although that is no task of the program's own."""

    async def main() -> None:
        async with Interrupted() as provider:
            provider.preload("a")
            await anyio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=backend[0], backend_options=backend[1])


# ------------------------------------------------------------------ the end of the loop


@contextmanager
def told_once_that_it_was_not_closed() -> Iterator[None]:
    """One `ResourceWarning` says what to do."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    # Another test may have left something that is collected just now.
    (warning,) = [w for w in caught if w.category is ResourceWarning and "never closed" in str(w.message)]
    assert "was entered and never closed: 'await provider.aclose()'" in str(warning.message)
    assert f"; it was entered in {__file__}:" in str(warning.message)


@loops
@pytest.mark.parametrize("slow", [False, True])
@kinds
def test_the_end_of_the_loop_closes_it(
    backend: Any, kind: Callable[[], Any], slow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Resources and leases may be open, and somebody may wait: nothing is left, nothing hangs, nothing is logged."""
    live: list[Any] = []

    async def main() -> None:
        provider = kind()
        await provider.start()
        if slow:
            things = getattr(provider, "things", provider)
            things.checkpoints = 20
        await provider.setup("a")
        await use(provider, "b")
        provider.gates["never"] = Event()
        live.append(provider)

    with told_once_that_it_was_not_closed(), caplog.at_level(logging.WARNING):
        anyio.run(main, backend=backend[0], backend_options=backend[1])
        live[0].assert_nothing_is_left()
        with pytest.raises(ProviderClosedError, match="the event loop in which it was entered has ended"):
            anyio.run(use, live[0], "a", backend=backend[0], backend_options=backend[1])
        assert "closed" in repr(live.pop())
    assert caplog.messages == []


@pytest.mark.parametrize("kind", [ThingProvider, Mapping])
def test_a_task_that_ends_with_the_loop_need_not_close_what_it_has_entered(kind: Callable[[], Any]) -> None:
    """asyncio cancels its block together with ours: no warning, no log, whoever is first."""

    async def background(provider: Any) -> None:
        async with provider:
            await provider.setup("a")
            await asyncio.sleep(3600)

    async def main() -> list[Any]:
        providers = [kind() for _ in range(10)]
        tasks.extend(asyncio.create_task(background(provider)) for provider in providers)
        await wait_all_tasks_blocked()
        return providers

    tasks: list[asyncio.Task[None]] = []
    for provider in asyncio.run(main()):
        provider.assert_nothing_is_left()
    assert all(task.cancelled() for task in tasks)
    gc.collect()


class SlowlyClosed(PooledProvider[str]):
    @asynccontextmanager
    async def open(self, spec: str, /) -> AsyncIterator[str]:
        try:
            yield spec
        finally:
            await anyio.sleep_forever()


@pytest.mark.parametrize("last", [False, True], ids=["what closes all is first", "what closes all is last"])
def test_what_is_being_closed_when_the_loop_ends_has_not_failed(caplog: pytest.LogCaptureFixture, last: bool) -> None:
    """As at the end of a notebook: all tasks are cancelled, in any order, and nothing is printed but the warning."""
    reported: list[Any] = []

    async def cell() -> asyncio.Future[None]:
        provider = SlowlyClosed(keep_alive=0)
        await provider.start()
        torn_down = asyncio.ensure_future((await provider.setup("a")).teardown())
        while provider.statistics().closing == 0:
            await checkpoint()
        return torn_down

    def notebook() -> BaseException | None:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        torn_down = loop.run_until_complete(cell())
        tasks = asyncio.all_tasks(loop)
        for task in sorted(tasks, key=lambda task: task.get_name() == "doteval SlowlyClosed", reverse=not last):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()
        return None if torn_down.cancelled() else torn_down.exception()

    with told_once_that_it_was_not_closed():
        failure = notebook()
    assert failure is None
    assert caplog.messages == []
    assert reported == []


@pytest.mark.parametrize("kind", [ThingProvider, Mapping])
def test_a_loop_that_is_closed_without_a_word_leaves_a_provider_that_can_be_started_again(
    kind: Callable[[], Any],
) -> None:
    """What was open there is lost, and closing it from another loop says why it cannot be."""
    provider = kind()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(provider.start())
    loop.run_until_complete(use(provider))
    loop.close()

    async def later() -> None:
        with pytest.raises(WrongEventLoopError):
            await provider.setup("b")
        await provider.start()
        await use(provider, "b")
        await provider.aclose()

    with told_once_that_it_was_not_closed():
        asyncio.run(later())

    async def close_elsewhere() -> None:
        with pytest.raises(WrongEventLoopError):
            await provider.aclose()
        await provider.aclose()  # it has been said, and there is nothing left to close

    loop = asyncio.new_event_loop()
    loop.run_until_complete(provider.start())
    loop.close()
    asyncio.run(close_elsewhere())


def test_cells_of_a_notebook_share_it() -> None:
    """Each cell is a task of its own in the one loop of the notebook."""
    with asyncio.Runner() as notebook:
        provider = ThingProvider()
        notebook.run(provider.start())
        handle = notebook.run(provider.setup("a"))
        notebook.run(handle.model.use())
        notebook.run(provider.aclose())
    provider.assert_nothing_is_left()


class WithUnittest(unittest.IsolatedAsyncioTestCase):
    """A suite of the standard library's kind; run by the test below."""

    __test__ = False

    async def asyncSetUp(self) -> None:
        self.provider = await ThingProvider().start()

    async def asyncTearDown(self) -> None:
        await self.provider.aclose()
        self.provider.assert_nothing_is_left()

    async def test_one(self) -> None:
        await use(self.provider)

    async def test_two(self) -> None:
        self.handle = await self.provider.setup("a")
        self.addAsyncCleanup(self.handle.teardown)


def test_unittest_can_use_it() -> None:
    """Started in ``asyncSetUp`` and closed in ``asyncTearDown``."""
    result = unittest.TestResult()
    unittest.TestSuite([WithUnittest("test_one"), WithUnittest("test_two")]).run(result)
    assert result.testsRun == 2
    assert result.wasSuccessful(), result


@everywhere
async def test_a_cancelled_scope_around_the_block_is_not_swallowed() -> None:
    """The body is cancelled, the provider closes, and the scope has caught it."""
    with CancelScope() as scope:
        async with ThingProvider() as provider:
            await provider.setup("a")
            scope.cancel()
            await checkpoint()
    assert scope.cancelled_caught
    provider.assert_nothing_is_left()


@pytest.mark.anyio
@pytest.mark.parametrize("ask", ["setup", "setup_many"])
async def test_who_asks_while_it_closes_is_told_so(ask: str) -> None:
    """At whichever step of the closing."""
    for turns in range(20):
        provider = await ThingProvider().start()
        async with create_task_group() as task_group:
            task_group.start_soon(provider.aclose)
            for _ in range(turns):
                await checkpoint()
            with pytest.raises(ProviderClosedError) if turns > 3 else suppress(ProviderClosedError):
                await getattr(provider, ask)("a")
