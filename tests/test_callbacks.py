"""What may be called where no task runs: in callbacks of the event loop, as when a task that watches is done."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from doteval import ModelHandle
from doteval.testing import FakeModel, FakeProvider

Work = Callable[[FakeProvider, ModelHandle[FakeModel]], object]


def run_bare(main: Callable[[], Awaitable[None]]) -> None:
    """As most programs do, which says nothing to sniffio: it knows the event loop by the task that runs."""
    asyncio.run(main())  # type: ignore[arg-type]


def run_by_anyio(main: Callable[[], Awaitable[None]]) -> None:
    anyio.run(main)


WORKS: dict[str, Work] = {
    "report_broken": lambda _provider, handle: handle.report_broken(OSError("it is gone")),
    "preload": lambda provider, _handle: provider.preload("another"),
    "resize to more": lambda provider, _handle: provider.resize(3),
    "resize to less": lambda provider, _handle: provider.resize(1),
}


@pytest.mark.parametrize("run", [run_bare, run_by_anyio])
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_what_a_callback_does_is_done(work: Work, run: Callable[..., None]) -> None:
    """Then all goes on: who waits is served, what is torn down can be leased again, and the provider closes."""

    async def main() -> None:
        loop, failures = asyncio.get_running_loop(), list[dict[str, Any]]()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        async with FakeProvider(capacity=2, close_timeout=5) as provider:
            handle = await provider.setup("one")
            called = asyncio.Event()
            loop.call_soon(called.set)
            loop.call_soon(work, provider, handle)
            await called.wait()
            await asyncio.sleep(0)
            await handle.teardown()
            with anyio.fail_after(20):
                async with provider.setup("another"):
                    pass
                async with provider.setup("one"):
                    pass
        assert failures == []

    run(main)


@pytest.mark.parametrize("run", [run_bare, run_by_anyio])
def test_a_handle_that_is_dropped_is_reclaimed_however_the_loop_is_run(run: Callable[..., None]) -> None:
    """Nobody else waits for its slot for ever."""

    async def main() -> None:
        async with FakeProvider(capacity=1, setup_timeout=20) as provider:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                await provider.setup("one")
                gc.collect()
                while provider.statistics().active_leases:
                    await anyio.lowlevel.checkpoint()
                async with provider.setup("another"):
                    pass
            assert [each.category for each in told] == [ResourceWarning]

    run(main)
