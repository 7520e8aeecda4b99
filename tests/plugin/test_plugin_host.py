"""The task that holds the providers open: nothing of it is open in the task of anyio's runner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from doteval.pytest_plugin._host import hosted

pytestmark = pytest.mark.anyio


@pytest.fixture
def backend(anyio_backend_name: str) -> str:
    """The event loop of the test."""
    return anyio_backend_name


@asynccontextmanager
async def group(trouble: Exception | None = None) -> AsyncIterator[Any]:
    """Something that may only be left in the task that entered it, and in the right order."""
    async with anyio.create_task_group() as task_group:
        yield task_group
        await checkpoint()
        if trouble is not None:
            raise trouble
        task_group.cancel_scope.cancel()


async def test_blocks_can_be_left_in_any_order(backend: str) -> None:
    """Two task groups that one task enters and leaves crosswise, which it could not do itself."""
    first: AbstractAsyncContextManager[Any] = hosted(group(), backend)
    second: AbstractAsyncContextManager[Any] = hosted(group(), backend)
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    await second.__aexit__(None, None, None)


async def test_a_block_can_be_left_by_another_task(backend: str) -> None:
    """As happens after Ctrl-C, when anyio's runner starts a new task for the rest."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(hosted(group(), backend))
        rest = stack.pop_all()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(rest.aclose)


async def test_what_breaks_inside_does_not_cancel_the_caller(backend: str) -> None:
    """The caller goes on, and gets the error when it leaves."""

    async def fail() -> None:
        raise ConnectionError("broken")

    with pytest.raises(ExceptionGroup) as caught:
        async with hosted(group(), backend) as task_group:
            task_group.start_soon(fail)
            for _ in range(20):
                await checkpoint()
            reached = True
    assert reached
    assert caught.group_contains(ConnectionError, match="broken")


async def test_what_entering_and_leaving_raise_is_passed_on(backend: str) -> None:
    """The caller sees the exception itself."""

    @asynccontextmanager
    async def unenterable() -> AsyncIterator[None]:
        await checkpoint()
        raise LookupError("no entry")
        yield

    with pytest.raises(LookupError, match="no entry"):
        async with hosted(unenterable(), backend):
            raise AssertionError("never reached")
    with pytest.raises(ExceptionGroup) as caught:
        async with hosted(group(OSError("no exit")), backend):
            pass
    assert caught.group_contains(OSError, match="no exit")


async def test_cancellation_leaves_the_block(backend: str) -> None:
    """A cancelled caller waits until the block is left, and then is cancelled."""
    left = []

    @asynccontextmanager
    async def slow_to_leave() -> AsyncIterator[None]:
        yield
        await checkpoint()
        left.append(True)

    with anyio.CancelScope() as scope:
        async with hosted(slow_to_leave(), backend):
            scope.cancel()
            await checkpoint()
    assert scope.cancelled_caught
    assert left == [True]
