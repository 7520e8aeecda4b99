"""Holds an ``async with`` open in a task of its own, in the event loop of anyio's test runner.

anyio's plugin runs all async fixtures and tests of one event loop, one after the other, in *one* task. Whatever a
fixture keeps open there, other fixtures and all tests run inside of it:

- A cancel scope must be left in the reverse order of entering. Fixtures are not always finalised in that order (a wide
  fixture that was set up late outlives a narrow one that was set up early), and then asyncio raises and trio crashes.
- A task group cancels the task that opened it when something inside fails. That task is the runner's, so the runner is
  gone, and every later test fails with ``ClosedResourceError``.
- After Ctrl-C the runner starts a new task for the rest, which may not leave what the old one has entered.

So the block gets a task that nobody else runs in: it enters, waits, exits, and hands whatever it raised to the fixture,
which raises it where it hurts nobody else. A task outside of every task group is something that anyio does not offer;
this is the one module of doteval that asks asyncio and trio themselves.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, TypeVar, cast

from anyio import CancelScope, Event, get_cancelled_exc_class

T = TypeVar("T")


@asynccontextmanager
async def hosted(context: AbstractAsyncContextManager[T, Any], backend: str) -> AsyncGenerator[T]:
    """Enter and exit `context` in a task of its own; nothing of it is open in the current task.

    Args:
        context: What to hold open.
        backend: The current event loop: ``"asyncio"`` or ``"trio"``.

    Raises:
        BaseException: What entering or exiting `context` raised, or what broke it in between.
    """
    host = _Host(context)
    task = host.spawn(backend)
    try:
        await host.settled.wait()
        if host.error is None:
            yield host.value
    finally:
        host.stop.set()
        with CancelScope(shield=True):  # as long as `context` takes to exit, which bounds itself
            await host.done.wait()
        del task  # asyncio itself keeps no task alive
    if host.error is not None:
        raise host.error


class _Host(Generic[T]):
    def __init__(self, context: AbstractAsyncContextManager[T, Any]) -> None:
        self._context = context
        self.value = cast(T, None)
        self.error: BaseException | None = None
        self.settled = Event()
        self.stop = Event()
        self.done = Event()

    def spawn(self, backend: str) -> object:
        if backend == "trio":
            import trio  # noqa: PLC0415 - it may not be installed

            return trio.lowlevel.spawn_system_task(self.run, backend, context=contextvars.copy_context())
        import asyncio  # noqa: PLC0415 - only where it runs

        return asyncio.get_running_loop().create_task(self.run(backend))

    async def run(self, backend: str) -> None:
        try:
            async with self._context as self.value:
                self.settled.set()
                await self.stop.wait()
        except get_cancelled_exc_class():  # the event loop ends, and with it whoever would be told
            raise
        except BaseException as exc:
            self.error = exc
            if backend != "trio" and isinstance(exc, (KeyboardInterrupt, SystemExit)):
                raise  # it ends asyncio's loop at once; from a system task of trio nothing may escape
        finally:
            self.settled.set()
            self.done.set()
