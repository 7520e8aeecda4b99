"""``HomeLoop``: the run of an event loop that a provider belongs to, and tasks there that no task group has.

A task outside of every task group is something that anyio does not offer; this is the one module that asks asyncio and
trio themselves. Such a task ends with its event loop.
"""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
import types
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

from anyio.lowlevel import current_token

from ._chains import leaves_of
from ._errors import ForkedProcessError, WrongEventLoopError

T = TypeVar("T")
_Questions = tuple[Callable[[], object], Callable[[], float], Callable[[], tuple[object, str]]]
"""Which event loop runs here, what time it is there, and the coroutine of the current task with the task's name."""


class HomeLoop:
    """The present run of an event loop.

    Args:
        provider: The provider's name, for messages.
    """

    __slots__ = (
        "_process",
        "_provider",
        "checkpoint",
        "checkpoint_if_cancelled",
        "native",
        "running",
        "task_here",
        "time",
    )

    def __init__(self, provider: str) -> None:
        token = current_token()
        self._provider = provider
        self._process = os.getpid()
        native: Any = token.native_token
        self.native = native
        # Asked directly: through anyio it would cost more than a warm lease.
        self.running, self.time, self.task_here = self._ask_trio() if self._is_trios else self._ask_asyncio(native)
        self.checkpoint = token.backend_class.checkpoint
        self.checkpoint_if_cancelled = token.backend_class.checkpoint_if_cancelled

    def check(self) -> None:
        """Raise unless the caller runs in it.

        Raises:
            WrongEventLoopError: It runs in another one, or in none.
            ForkedProcessError: It belongs to the process from which this one was forked.
        """
        try:
            here = self.running()
        except RuntimeError:
            here = None
        if here is not self.native:
            if self.is_elsewhere:
                raise ForkedProcessError(self._provider) from None
            raise WrongEventLoopError(self._provider) from None

    @property
    def is_elsewhere(self) -> bool:
        """Whether this process was forked from the one it runs in."""
        return self._process != os.getpid()

    @property
    def is_closed(self) -> bool:
        """Whether it is over, or another process's, and what ran in it was not told. Over that is only on asyncio."""
        if self.is_elsewhere:
            return True
        is_closed: Callable[[], bool] | None = getattr(self.native, "is_closed", None)
        return is_closed is not None and is_closed()

    def spawn(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Run an async function in a task of its own, in a copy of the present context.

        At the end of the event loop it is cancelled, and waited for. Where it ends with another exception than that,
        `contain` says what may be raised.
        """
        if self._is_trios:
            import trio  # noqa: PLC0415 - it may not be installed

            trio.lowlevel.spawn_system_task(run, name=name, context=contextvars.copy_context())
        else:
            _keep(self.native.create_task(with_own_generators(run()), name=name))

    @contextmanager
    def recognised(self) -> Generator[None]:
        """In the block, which awaits nothing, anyio knows this event loop also where no task runs.

        That is in a callback: of `call_soon`, of a task that is done, of a signal. Under ``asyncio.run``, sniffio knows
        an event loop by the task that runs in it.
        """
        sniffio: Any = sys.modules.get("sniffio")
        thread = getattr(sniffio, "thread_local", None)
        if thread is None:
            yield
            return
        known, thread.name = thread.name, "trio" if self._is_trios else "asyncio"
        try:
            yield
        finally:
            thread.name = known

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function in it, from whatever thread and at whatever moment; not at all where it is over."""
        if self.is_closed:
            return
        try:
            (self.native.run_sync_soon if self._is_trios else self.native.call_soon_threadsafe)(function)
        except RuntimeError:
            return  # it has just ended

    def contain(self, error: BaseException) -> BaseException | None:
        """Let a task made by `spawn` end nobody else. An interrupt ends the program, as it would in any other task.

        Returns:
            What is left to be told to somebody.

        Raises:
            BaseException: On asyncio, an interrupt or exit: it ends the loop at once. Nothing on trio, which crashes.
        """
        if not self._is_trios:
            for leaf in leaves_of(error):
                if isinstance(leaf, (KeyboardInterrupt, SystemExit)):
                    raise leaf
            return error
        interrupts, others = BaseExceptionGroup("", [error]).split(KeyboardInterrupt)
        if interrupts is None or threading.current_thread() is not threading.main_thread():
            return error
        try:
            signal.raise_signal(signal.SIGINT)  # trio gives one that comes while a system task runs to the main task
        except KeyboardInterrupt:
            return error  # trio does not listen
        return others

    @staticmethod
    def _ask_trio() -> _Questions:
        from trio.lowlevel import current_clock, current_task, current_trio_token  # noqa: PLC0415 - as above

        def task_here() -> tuple[object, str]:
            task = current_task()
            return task.coro, task.name

        return current_trio_token, current_clock().current_time, task_here

    @staticmethod
    def _ask_asyncio(native: Any) -> _Questions:
        from asyncio import BaseEventLoop, current_task, get_running_loop  # noqa: PLC0415 - only where it runs

        def task_here() -> tuple[object, str]:
            task: Any = current_task(native)
            return task.get_coro(), task.get_name()

        has_own_time = getattr(native.time, "__func__", None) is not BaseEventLoop.time
        return get_running_loop, native.time if has_own_time else monotonic, task_here

    def ends_with_task(self) -> Callable[[], bool]:
        """What tells whether it ends, where asyncio cancels the present task for nothing else.

        It cancels all tasks at once, so others may find that they are cancelled before the present one runs again.
        """
        if self._is_trios:
            return bool
        from asyncio import current_task  # noqa: PLC0415 - only where it runs

        present: Any = current_task(self.native)
        task = weakref.ref(present)  # it may be that of a request, with all that this has
        return lambda: (running := task()) is not None and running.cancelling() > 0

    @property
    def _is_trios(self) -> bool:
        return not _is_asyncios(self.native)


def _is_asyncios(native: object) -> bool:
    return hasattr(native, "create_task")


async def with_own_generators(running: Coroutine[Any, Any, T]) -> T:
    """Run what closes its async generators itself, so that ``loop.shutdown_asyncgens()`` leaves them alone.

    That closes all that the loop knows of, each in a task made for it: what is behind an ``@asynccontextmanager`` would
    be left in another task than the one that entered it, while it is in use. asyncio cancels all tasks before, so it
    finds none of these; but not everybody who ends a loop, or a part of a program, does. trio always does.
    """
    return await (_unknown_to_the_loop(running) if _is_asyncios(current_token().native_token) else running)


@types.coroutine
def _unknown_to_the_loop(running: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    value: Any = None
    error: BaseException | None = None
    while True:
        hooks = sys.get_asyncgen_hooks()
        try:
            sys.set_asyncgen_hooks(firstiter=None)  # the other one closes what is dropped half-way
            awaited = running.send(value) if error is None else running.throw(error)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            sys.set_asyncgen_hooks(*hooks)
            error = None
        try:
            value = yield awaited
        except BaseException as exc:
            error = exc


_tasks: set[Any] = set()
"""asyncio itself keeps no task alive, and a provider that nobody refers to still has something to close."""


def _keep(task: Any) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
