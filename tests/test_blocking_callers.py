"""The blocking face knows which thread has what and waits for what, as the async face knows it of tasks."""

from __future__ import annotations

import gc
import queue
import threading
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group, to_thread
from anyio.lowlevel import checkpoint

from doteval import CapacityDeadlockError
from doteval._pool import pool, threads
from doteval.blocking import BlockingHandle, BlockingProvider, entered
from doteval.testing import FakeModel, FakeProvider

pytestmark = pytest.mark.concurrency

PATIENCE = 30
Provider = BlockingProvider[FakeModel]
Handle = BlockingHandle[FakeModel]


@pytest.fixture(autouse=True)
def a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on how fast a thread is: what is not entered counts as held at once, or never."""
    monkeypatch.setattr(pool, "A_WHILE", 3600)


@pytest.fixture
def no_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no thread is there that does not wait, as that of the tests would be."""
    monkeypatch.setattr(pool, "A_WHILE", 0)
    monkeypatch.setattr(threads, "is_anybody_else_there", lambda _: False)


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def in_a_thread(function: Callable[[], Any]) -> Future[Any]:
    """What a thread of its own does."""
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as exc:
            outcome.set_exception(exc)

    threading.Thread(target=run, name="another").start()
    return outcome


def wait_for_a_waiter(provider: Provider, outcome: Future[Any]) -> None:
    """Until somebody stands in the queue; fails where nobody will."""
    while not provider.statistics().waiting:
        assert not outcome.done(), outcome.result()


def line_of(mark: str) -> int:
    lines = Path(__file__).read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))


# ---------------------------------------------------------------- deadlocks


def bare(provider: Provider) -> None:
    handle = provider.setup("a")
    try:
        provider.setup("b")
    finally:
        handle.teardown()


def in_a_block(provider: Provider) -> None:
    with provider.setup("a"):
        provider.setup("b")


def bare_several(provider: Provider) -> None:
    handles = provider.setup_many("a", "a")
    try:
        provider.setup("b")
    finally:
        for handle in handles:
            handle.teardown()


def several_at_once(provider: Provider) -> None:
    in_the_blocks_of(provider.setup_many("a", "a"), lambda: provider.setup_many("b"))


def in_an_async_function(provider: Provider) -> None:
    async def ask() -> None:
        await provider._provider.setup("b")

    with provider.setup("a"):
        provider.call(ask)


def what_an_async_function_leased(provider: Provider) -> None:
    async def lease() -> Any:
        return await provider._provider.setup("a")

    handle = provider.call(lease)
    try:
        provider.setup("b")
    finally:
        provider.call(handle.teardown)


def entered_again(provider: Provider) -> None:
    """Somebody else has used it, but who has entered it has it."""
    handle = provider.setup("a")
    in_a_thread(lambda: handle.model.generate("Hello")).result()
    with handle:
        provider.setup("b")


def used_elsewhere(provider: Provider) -> None:
    """Who is in the block ends the lease, whoever uses the model meanwhile."""
    with provider.setup("a") as handle:
        in_a_thread(lambda: handle.model.generate("Hello")).result()
        provider.setup("b")


def in_a_pool(provider: Provider) -> None:
    with ThreadPoolExecutor(1) as workers:
        workers.submit(in_a_block, provider).result()


def in_a_pool_of_an_event_loop(provider: Provider) -> None:
    anyio.run(to_thread.run_sync, in_a_block, provider)


NOT_ENTERED = [bare, bare_several, what_an_async_function_leased]
ENTERED = [
    in_a_block,
    several_at_once,
    in_an_async_function,
    entered_again,
    used_elsewhere,
    in_a_pool,
    in_a_pool_of_an_event_loop,
]


@pytest.mark.parametrize("ask", NOT_ENTERED, ids=lambda ask: ask.__name__)
@pytest.mark.usefixtures("no_while")
def test_a_thread_does_not_wait_for_what_it_has_not_entered(backend: str, ask: Callable[[Provider], None]) -> None:
    """It is told after a while, as others might use that by then."""
    check_alone(backend, ask)


@pytest.mark.parametrize("ask", ENTERED, ids=lambda ask: ask.__name__)
def test_a_thread_does_not_wait_for_itself(backend: str, ask: Callable[[Provider], None]) -> None:
    """It is told at once who has what, by the name of the thread; afterwards all goes on."""
    check_alone(backend, ask)


def check_alone(backend: str, ask: Callable[[Provider], None]) -> None:
    with entered(FakeProvider(capacity=1), backend=backend) as provider:
        outcome = in_a_thread(lambda: ask(provider))
        with pytest.raises(CapacityDeadlockError) as told:
            outcome.result(PATIENCE)
        assert "'a': 1 slot, leased by thread " in str(told.value)
        assert " asks for 'b'" in str(told.value)
        if "pool" not in ask.__name__:
            assert "leased by thread another" in str(told.value)
            assert "thread another asks for 'b'" in str(told.value)
        with provider.setup("b"):
            assert provider.statistics().active_leases == 1


@pytest.mark.usefixtures("no_while")
def test_threads_do_not_wait_for_each_other_with_what_they_have_not_entered(backend: str) -> None:
    both_have_one = threading.Barrier(2)

    def ask(number: int) -> str:
        mine = provider.setup(f"mine {number}")
        try:
            both_have_one.wait(PATIENCE)
            provider.setup(f"more {number}").teardown()
        except CapacityDeadlockError:
            return "told"
        finally:
            mine.teardown()
        return "served"

    with entered(FakeProvider(capacity=2), backend=backend) as provider:
        outcomes = [in_a_thread(partial(ask, number)) for number in range(2)]
        assert {outcome.result(PATIENCE) for outcome in outcomes} == {"told", "served"}


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("is_pool", [False, True])
def test_threads_do_not_wait_for_each_other(backend: str, threads: int, is_pool: bool) -> None:
    """The one that would close the circle is told; the others get what they ask for when it lets go."""
    everybody_has_one = threading.Barrier(threads)

    def ask(number: int) -> str:
        try:
            with provider.setup(f"mine {number}"):
                everybody_has_one.wait(PATIENCE)
                with provider.setup(f"more {number}"):
                    return "served"
        except CapacityDeadlockError as exc:
            return str(exc)

    with entered(FakeProvider(capacity=threads), backend=backend) as provider, ThreadPoolExecutor(threads) as workers:
        if is_pool:
            outcomes = [workers.submit(ask, number) for number in range(threads)]
        else:
            outcomes = [in_a_thread(partial(ask, number)) for number in range(threads)]
        served = [outcome.result(PATIENCE) for outcome in outcomes]
    assert served.count("served") == threads - 1
    (told,) = set(served) - {"served"}
    assert told.count("waits for 'more") == threads - 1


def test_threads_that_do_not_wait_are_waited_for(backend: str) -> None:
    """One has a slot and asks for more; another has the other slot and goes on."""
    with entered(FakeProvider(capacity=2), backend=backend) as provider, provider.setup("a"):

        def ask() -> str:
            with provider.setup("b"), provider.setup("c") as handle:
                return handle.resource_id

        outcome = in_a_thread(ask)
        wait_for_a_waiter(provider, outcome)
        provider.teardown("a")
        assert outcome.result(PATIENCE) == "c"


def test_a_drain_tells_the_thread_that_it_would_wait_for_itself(backend: str) -> None:
    with entered(FakeProvider(capacity=1), backend=backend) as provider, provider.setup("a"):
        with pytest.raises(RuntimeError, match="holds 'a'"):
            provider.drain()


@pytest.mark.usefixtures("no_while")
def test_a_drain_tells_the_thread_so_after_a_while_of_what_it_has_not_entered(backend: str) -> None:
    """What another thread uses by then is waited for."""
    with entered(FakeProvider(capacity=1), backend=backend) as provider:
        handle = provider.setup("a")
        with pytest.raises(RuntimeError, match="holds 'a'"):
            provider.drain()
        in_a_thread(lambda: handle.model.generate("Hello")).result()
        drained = in_a_thread(provider.drain)
        handle.teardown()
        drained.result(PATIENCE)


@pytest.mark.usefixtures("no_while")
def test_who_has_waited_for_a_while_is_served_in_an_order_that_serves_everybody(backend: str) -> None:
    """One waits for both slots, in front of who has one of them and needs the other."""
    with entered(FakeProvider(capacity=2), backend=backend) as provider:
        mine = provider.setup("a")
        both = in_a_thread(lambda: provider.setup_many("b", "c"))
        wait_for_a_waiter(provider, both)
        provider.setup("d").teardown()
        mine.teardown()
        in_the_blocks_of(both.result(PATIENCE), lambda: None)


# ---------------------------------------------------------------- what is passed on


def enters(handle: Handle, taken: threading.Event, stack: ExitStack) -> None:
    stack.enter_context(handle)
    taken.set()


def uses(handle: Handle, taken: threading.Event, stack: ExitStack) -> None:
    handle.model.generate("Hello")
    stack.callback(handle.teardown)
    taken.set()


def calls(handle: Handle, taken: threading.Event, stack: ExitStack) -> None:
    async def name(model: FakeModel) -> str:
        return model.name

    handle.call(name)
    stack.callback(handle.teardown)
    taken.set()


@pytest.mark.parametrize("take", [enters, uses, calls], ids=lambda take: take.__name__)
@pytest.mark.parametrize("is_one_of_many", [False, True])
@pytest.mark.usefixtures("no_while")
def test_what_another_thread_has_taken_over_is_waited_for(
    backend: str, take: Callable[[Handle, threading.Event, ExitStack], None], is_one_of_many: bool
) -> None:
    with entered(FakeProvider(capacity=1), backend=backend) as provider:
        passed: Future[Handle] = Future()
        taken = threading.Event()

        def set_up() -> str:
            handle = provider.setup_many("a")[0] if is_one_of_many else provider.setup("a")
            passed.set_result(handle)
            assert taken.wait(PATIENCE)
            with provider.setup("b") as other:
                return other.resource_id

        outcome = in_a_thread(set_up)
        with ExitStack() as stack:
            take(passed.result(PATIENCE), taken, stack)
            wait_for_a_waiter(provider, outcome)
        assert outcome.result(PATIENCE) == "b"


def test_what_another_thread_takes_over_in_time_is_waited_for(backend: str) -> None:
    """Who has set it up may ask for more before the other one has even begun to use it."""
    with entered(FakeProvider(capacity=1), backend=backend) as provider:
        passed: queue.SimpleQueue[Handle] = queue.SimpleQueue()

        def feed() -> None:
            for number in range(3):
                passed.put(provider.setup(f"{number}"))

        feeding = in_a_thread(feed)
        for number in range(3):
            if number < 2:
                wait_for_a_waiter(provider, feeding)
            with passed.get(timeout=PATIENCE) as handle:
                assert handle.resource_id == f"{number}"
        feeding.result(PATIENCE)


def test_who_has_taken_over_does_not_wait_for_itself(backend: str) -> None:
    """Who enters a handle has it, and who has set it up does not, though it waits as well."""
    with entered(FakeProvider(capacity=2), backend=backend) as provider:
        handles = provider.setup_many("a", "b")
        outcome = in_a_thread(lambda: in_the_blocks_of(handles, lambda: provider.setup("c")))
        with pytest.raises(CapacityDeadlockError, match="thread another asks for 'c'"):
            outcome.result(PATIENCE)


def in_the_blocks_of(handles: tuple[Handle, ...], function: Callable[[], Any]) -> None:
    if not handles:
        function()
        return
    with handles[0]:
        in_the_blocks_of(handles[1:], function)


@contextmanager
def executor() -> Generator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(1) as workers:
        yield workers.submit


@contextmanager
def thread_pool() -> Generator[Callable[..., Future[Any]]]:
    with ThreadPool(1) as workers:

        def submit(function: Callable[..., Any], *args: Any) -> Future[Any]:
            outcome: Future[Any] = Future()
            workers.apply_async(function, args, callback=outcome.set_result, error_callback=outcome.set_exception)
            return outcome

        yield submit
        workers.close()
        workers.join()


@pytest.mark.parametrize("workers", [executor, thread_pool], ids=lambda workers: workers.__name__)
@pytest.mark.usefixtures("no_while")
def test_what_a_worker_of_a_pool_returns_is_waited_for(
    backend: str, workers: Callable[[], AbstractContextManager[Callable[..., Future[Any]]]]
) -> None:
    """Somebody else has it by now, though nobody has used it yet."""
    with entered(FakeProvider(capacity=1), backend=backend) as provider, workers() as submit:
        handle = submit(provider.setup, "a").result(PATIENCE)
        outcome = submit(provider.setup, "b")
        wait_for_a_waiter(provider, outcome)
        handle.teardown()
        with outcome.result(PATIENCE) as other:
            assert other.resource_id == "b"


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_block_that_one_worker_enters_and_another_leaves_is_waited_for(backend: str, loop: str) -> None:
    """As web frameworks do with dependencies that are generators; the same worker may well be the next to ask."""

    @contextmanager
    def dependency(spec: str) -> Generator[Handle]:
        with provider.setup(spec) as handle:
            yield handle

    async def serve() -> None:
        first, second = dependency("a"), dependency("b")
        await to_thread.run_sync(first.__enter__, limiter=anyio.CapacityLimiter(1))
        got = anyio.Event()

        async def ask() -> None:
            await to_thread.run_sync(second.__enter__)
            got.set()

        async with create_task_group() as tasks:
            tasks.start_soon(ask)
            while not fake.statistics().waiting:
                assert not got.is_set()
                await checkpoint()  # so that it is the same worker
            await to_thread.run_sync(first.__exit__, None, None, None)
        await to_thread.run_sync(second.__exit__, None, None, None)

    fake = FakeProvider(capacity=1)
    with entered(fake, backend=backend) as provider:
        anyio.run(serve, backend=loop)


def test_a_worker_that_runs_in_a_copy_of_a_context_is_somebody_else(backend: str) -> None:
    """What one worker hands to another goes on without it."""
    with entered(FakeProvider(capacity=1), backend=backend) as provider, ThreadPoolExecutor(2) as workers:

        def hand_over() -> Future[Handle]:
            with provider.setup("a"):
                outcome = workers.submit(copy_context().run, provider.setup, "b")
                wait_for_a_waiter(provider, outcome)
            return outcome

        with workers.submit(hand_over).result(PATIENCE).result(PATIENCE) as handle:
            assert handle.resource_id == "b"


def test_a_child_task_of_a_call_is_somebody_else(backend: str) -> None:
    """The function that has started it may let go of what the thread has."""
    fake = FakeProvider(capacity=1)
    with entered(fake, backend=backend) as provider:

        async def ask() -> None:
            async with fake.setup("b"):
                pass

        async def let_go() -> None:
            async with create_task_group() as tasks:
                tasks.start_soon(ask)
                while not fake.statistics().waiting:
                    await checkpoint()
                await fake.teardown("a")

        with provider.setup("a"):
            provider.call(let_go)
        assert provider.statistics().opens == 2


# ---------------------------------------------------------------- traces


def lose(provider: Provider) -> None:
    provider.setup("a")  # HERE


def lose_many(provider: Provider) -> None:
    provider.setup_many("a")  # THERE


def lose_in_a_call(provider: Provider) -> None:
    async def lease() -> None:
        await provider._provider.setup("a")  # INSIDE

    provider.call(lease)


@pytest.mark.parametrize(
    ("drop", "mark"), [(lose, "HERE"), (lose_many, "THERE"), (lose_in_a_call, "INSIDE")], ids=["setup", "many", "call"]
)
@pytest.mark.parametrize("options", [{}, {"capacity": 1}], ids=str)
def test_a_trace_names_the_thread_and_the_line_of_the_blocking_call(
    backend: str, drop: Callable[[Provider], None], mark: str, options: dict[str, Any]
) -> None:
    with (
        warnings.catch_warnings(record=True) as told,
        entered(FakeProvider(trace_leases=True, **options), backend=backend) as provider,
    ):
        warnings.simplefilter("always")
        drop(provider)
        gc.collect()
        while provider.statistics().active_leases:
            pass
    (warning,) = [each for each in told if "'a'" in str(each.message)]
    assert (warning.filename, warning.lineno) == (__file__, line_of(mark))
    assert f"thread MainThread set it up in {__file__}:{line_of(mark)}" in str(warning.message)
