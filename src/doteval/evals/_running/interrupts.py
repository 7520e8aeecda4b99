"""Ctrl-C where nobody cancels what goes on in the event loop, as in a console of IPython, which has one loop for all.

A `KeyboardInterrupt` would leave that loop, and the run in it, which would go on as soon as anything else is awaited.
`asyncio.run` has a handler for that, which cancels its main task first. This one does the same for runs: the first
Ctrl-C ends them, and then is raised. A second one leaves the loop at once; what is left ends when that goes on.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

from anyio import CancelScope, Event


class _Run:
    """What ends with Ctrl-C."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.scope = CancelScope()
        self.is_told = False
        self.has_ended = Event()
        self._told_in: object = None

    @property
    def is_left(self) -> bool:
        """Whether it was told to end, and its loop was left before it had."""
        return self.is_told and self._told_in is not _time_in_loop()

    def end(self) -> None:
        """Have it end, in its loop."""
        self.is_told, self._told_in = True, _time_in_loop()
        self.loop.call_soon_threadsafe(self.scope.cancel)  # which also wakes it


_runs: list[_Run] = []


@asynccontextmanager
async def ended_by_ctrl_c() -> AsyncGenerator[None]:
    """End the block where Ctrl-C would leave the event loop; one that was left so has ended before another begins.

    Raises:
        KeyboardInterrupt: That has ended it.
    """
    loop = _running_loop()
    for other in [each for each in _runs if each.is_left and each.loop is loop]:
        await other.has_ended.wait()
    if loop is None or not _is_left_by_ctrl_c():
        yield
        return
    run = _Run(loop)
    with _handling(run):
        try:
            with run.scope:
                yield
        except BaseException:
            if not run.is_left:
                raise
        others = any(each.is_told and each.loop is loop for each in _runs if each is not run)
        if run.is_left or (run.is_told and others):  # whoever has begun it is not there any more; the last one raises
            raise asyncio.CancelledError
        if run.is_told:
            raise KeyboardInterrupt


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # it is trio's, or nobody's
        return None


def _time_in_loop() -> object:
    """Something that is another one each time that the loop is entered, which sets this hook."""
    return sys.get_asyncgen_hooks().finalizer  # firstiter is not set in tasks of ours


def _is_left_by_ctrl_c() -> bool:
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _handle)


@contextmanager
def _handling(run: _Run) -> Generator[None]:
    _runs.append(run)
    signal.signal(signal.SIGINT, _handle)
    try:
        yield
    finally:
        _runs.remove(run)
        run.has_ended.set()
        if not _runs and signal.getsignal(signal.SIGINT) is _handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _handle(number: int, frame: FrameType | None) -> None:
    """Ctrl-C: of the runs in the loop that goes on now, those that are not told yet end."""
    loop = _running_loop()
    here = [each for each in _runs if each.loop is loop]
    new = [each for each in here if not each.is_told]
    if not new:
        signal.default_int_handler(number, frame)
    for run in new:
        run.end()
