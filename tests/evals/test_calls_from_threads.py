"""What a worker thread asks of its event loop when that has cancelled it: it ends, at whatever moment that was.

anyio tells the tasks that are in a scope when it is cancelled. What a thread begins in it later would be told of
nothing on asyncio: it would wait for ever, and so would whoever waits for the thread.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx2
import pytest
import trio
from anyio import CancelScope, Event, create_task_group, current_time, from_thread, move_on_after, sleep_forever
from anyio.lowlevel import checkpoint
from tests.conftest import BACKENDS, PATIENCE

from doteval import ModelHandle, ModelProvider, Result, foreach
from doteval.evals import Store, rescore, run
from doteval.providers._served.restarting import RestartingHandle
from doteval.providers.openai import OpenAIProvider
from doteval.testing import FakeModel, FakeProvider

Call = Callable[[], Awaitable[object]]
Function = Callable[..., Any]

pytestmark = pytest.mark.concurrency


# ---------------------------------------------------------------- what is asked, and never answered


async def never(*_: object) -> Any:
    await sleep_forever()


async def with_few_places(stack: AsyncExitStack, path: Path) -> Call:
    return partial(FakeModel(replies=never, max_concurrency=1).generate, "?")


async def without_a_limit(stack: AsyncExitStack, path: Path) -> Call:
    return partial(FakeModel(replies=never).generate, "?")


async def streamed(stack: AsyncExitStack, path: Path) -> Call:
    return partial(read, FakeModel(replies=never, max_concurrency=1))


async def read(model: Any) -> None:
    async with model.stream("?"):
        raise AssertionError


async def of_an_sdk(stack: AsyncExitStack, path: Path, *, streams: bool = False) -> Call:
    """Where a cache is asked first, in a thread."""
    client = await stack.enter_async_context(httpx2.AsyncClient(transport=httpx2.MockTransport(never)))
    provider = OpenAIProvider(api_key="k", base_url="http://h/v1", http_client=client, max_concurrency=1)
    await stack.enter_async_context(provider)
    handle = await stack.enter_async_context(provider.setup("m"))
    return partial(read, handle.model) if streams else partial(handle.model.generate, "?")


async def a_server_that_has_died(stack: AsyncExitStack, path: Path) -> Call:
    model = SimpleNamespace(lease=SimpleNamespace(lost=SimpleNamespace(stopped=False)))
    handle: Any = SimpleNamespace(_get_model=lambda: model, resource_id="m", manager=None)
    return partial(RestartingHandle(handle, never, restarts=1).model.generate, "?")


async def a_lease(stack: AsyncExitStack, path: Path, **options: Any) -> Call:
    provider = await stack.enter_async_context(FakeProvider(open_latency=3600, **options))

    async def lease() -> None:
        async with provider.setup("m"):
            raise AssertionError

    return lease


class Written(ModelProvider[Any]):
    """One whose `setup` is its author's own."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Any]:
        return ModelHandle(spec, await never(), self)

    async def teardown(self, resource_id: str, /) -> None: ...


async def a_lease_of_an_author(stack: AsyncExitStack, path: Path, *, in_a_block: bool = False) -> Call:
    provider = await stack.enter_async_context(Written())

    async def lease() -> None:
        async with provider.setup("m"):
            raise AssertionError

    return lease if in_a_block else partial(provider.setup, "m")


async def two_leases(stack: AsyncExitStack, path: Path) -> Call:
    provider = await stack.enter_async_context(FakeProvider(open_latency=3600))
    return partial(provider.setup_many, "a", "b")


async def a_draining(stack: AsyncExitStack, path: Path) -> Call:
    provider = await stack.enter_async_context(FakeProvider())
    await stack.enter_async_context(provider.setup("m"))
    return provider.drain


async def a_run(stack: AsyncExitStack, path: Path) -> Call:
    @foreach("n", [1])
    async def eval_inside(n: int) -> Result:
        return Result(await never())

    return partial(run, eval_inside, store=path.with_name("inside.db"))


async def a_scoring(stack: AsyncExitStack, path: Path) -> Call:
    async def score(output: int) -> int:
        return int(await never())

    return partial(rescore, "main", score, store=path)


ASKED: dict[str, Function] = {
    "a model with few places": with_few_places,
    "a model without a limit": without_a_limit,
    "a stream": streamed,
    "a model of an SDK": of_an_sdk,
    "a stream of an SDK": partial(of_an_sdk, streams=True),
    "a server that has died": a_server_that_has_died,
    "a lease": a_lease,
    "a fast lease": partial(a_lease, fast_acquire=True),
    "a lease of an author": a_lease_of_an_author,
    "a block of an author": partial(a_lease_of_an_author, in_a_block=True),
    "two leases": two_leases,
    "a draining": a_draining,
    "a run": a_run,
    "a scoring": a_scoring,
}

# ---------------------------------------------------------------- whose thread it is


async def row(call: Call, path: Path, seconds: float) -> None:
    @foreach("n", [1])
    def eval_it(n: int) -> Result:
        return Result(from_thread.run(call))

    await run(eval_it, store=path, experiment="rows", cache="on", row_timeout=seconds)


async def scorer(call: Call, path: Path, _: float) -> None:
    def score(output: int) -> int:
        return int(from_thread.run(call))

    await rescore("main", score, store=path)


async def scoring(call: Call, path: Path, _: float) -> None:
    """The thread of `rescore` itself, which has its rows scored in the loop."""

    async def score(output: int) -> int:
        await call()
        return 1

    await rescore("main", score, store=path)


PLACES = {
    **{f"a row asks for {name}": (row, asked, 1) for name, asked in ASKED.items()},
    "a scorer asks for a model": (scorer, with_few_places, 2),  # the first one is that of the scoring
    "a scoring": (scoring, with_few_places, 1),
}

# ---------------------------------------------------------------- how it is ended


class Ending:
    """Ends what it runs, in one of the ways in which a program does."""

    cancel: Callable[[], object]
    seconds = 0.0
    """How long a row may take."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.was_told = Event()

    async def run(self, function: Callable[[float], Awaitable[None]]) -> None:
        match self.how:
            case "a scope" | "a time limit":
                with CancelScope() as scope:
                    self.cancel = scope.cancel if self.how == "a scope" else partial(self._reach, scope)
                    await function(self.seconds)
                assert scope.cancelled_caught
            case "its task":
                task = asyncio.ensure_future(function(self.seconds))
                self.cancel = task.cancel
                with pytest.raises(asyncio.CancelledError):
                    await task
            case "a time limit of asyncio":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(None) as limit:
                        self.cancel = partial(limit.reschedule, asyncio.get_running_loop().time())
                        await function(self.seconds)
            case "a time limit of its row":
                self.seconds = 0.05
                self.cancel = self._let_pass
                await function(self.seconds)
            case _:
                self.cancel = partial(signal.raise_signal, signal.SIGINT)
                await function(self.seconds)

    @trio.lowlevel.enable_ki_protection  # so that trio gives Ctrl-C to its main task, and not to whoever calls this
    def __call__(self) -> None:
        self.was_told.set()
        self.cancel()

    @staticmethod
    def _reach(scope: CancelScope) -> None:
        scope.deadline = current_time()

    def _let_pass(self) -> None:
        """Hold the event loop until the row has taken too long."""
        end = current_time() + self.seconds
        while current_time() < end:
            pass


ON_ASYNCIO = ("its task", "a time limit of asyncio")
OF_A_ROW = "a time limit of its row"
ENDINGS = ("a scope", "a time limit", OF_A_ROW, "Ctrl-C", *ON_ASYNCIO)
MOMENTS = ("before", "at", "after")


class Threads:
    """In place of `anyio.from_thread.run`: ends everything at that moment of the call with that number."""

    def __init__(self, ending: Ending, moment: str, number: int) -> None:
        self._run = from_thread.run
        self._ending = ending
        self._moment = moment
        self._left = number
        self._is_over = threading.Event()
        self._has_returned = Event()
        self.inside = 0
        self.raised: list[BaseException] = []
        self.waits_for_ever = False

    def __call__(self, function: Function, *args: Any) -> Any:
        self.inside += 1
        self._left -= 1
        is_other = self._left != 0  # what it asks for may have a thread that calls as well
        try:
            if is_other:
                return self._run(function, *args)
            if self._moment == "after":
                return self._run(self._ended, function, *args)
            from_thread.run_sync(self._ending)
            if self._moment == "before":
                self._is_over.wait()
            return self._run(function, *args)
        except BaseException as exc:
            self.raised.append(exc)
            raise
        finally:
            self.inside -= 1
            if not is_other:
                from_thread.run_sync(self._has_returned.set)

    async def _ended(self, function: Function, *args: Any) -> Any:
        self._ending()
        return await function(*args)

    async def watch(self) -> None:
        """Tell the thread when everybody was told who is told at all; end what does not end by itself."""
        await self._ending.was_told.wait()
        with CancelScope(shield=True):
            if self._moment == "before":
                for _ in range(3):  # as a time limit takes a turn
                    await checkpoint()
                await anyio.wait_all_tasks_blocked()
                self._is_over.set()
            with move_on_after(PATIENCE) as waiting:
                await self._has_returned.wait()
            self.waits_for_ever = waiting.cancelled_caught
            while not self._has_returned.is_set():
                for task in asyncio.all_tasks() - {asyncio.current_task()}:  # those of trio are always told
                    task.cancel()
                await checkpoint()


@pytest.mark.parametrize("how", ENDINGS)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_thread_asks_of_its_loop_ends_with_it(
    backend: str, place: str, moment: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is left of it: no thread, no task, nothing in the store."""
    of, asked, number = PLACES[place]
    if (backend == "trio" and how in ON_ASYNCIO) or (how == OF_A_ROW and of is not row):
        return
    path = tmp_path / "results.db"
    left: list[object] = []
    threads: list[Threads] = []

    async def go() -> None:
        async with AsyncExitStack() as stack:
            call = await asked(stack, path)
            before = len(anyio.get_running_tasks())
            ending = Ending(how)
            threads.append(Threads(ending, moment, number))
            monkeypatch.setattr(from_thread, "run", threads[0])
            try:
                async with create_task_group() as task_group:
                    task_group.start_soon(threads[0].watch)
                    await ending.run(partial(of, call, path))
                    task_group.cancel_scope.cancel()
            finally:
                left.append(len(anyio.get_running_tasks()) - before)

    @foreach("n", range(3))
    async def eval_numbers(n: int) -> Result:
        return Result(n)

    name, options = BACKENDS[backend]
    anyio.run(partial(run, eval_numbers, store=path, experiment="main", name="it"))
    interrupt: BaseException | None = None
    try:
        anyio.run(go, backend=name, backend_options=options)
    except* KeyboardInterrupt as exc:
        interrupt = exc
    except* asyncio.CancelledError:
        assert threads[0].waits_for_ever
    assert (interrupt is not None) is (how == "Ctrl-C")
    (thread,) = threads
    assert not thread.waits_for_ever
    assert (thread.inside, left) == (0, [0])
    assert thread.raised or how == OF_A_ROW  # which may be over before its thread has begun
    with Store(path) as store:
        stored = {each.experiment: each.stored for each in store.evaluations()}
    assert stored == {"main": 3, **({"rows": int(how == OF_A_ROW)} if of is row else {})}
