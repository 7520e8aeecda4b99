"""SIGTERM ends a run with evaluations as Ctrl-C does: with the table, and with what to do to go on.

That is how a job of CI is cancelled. A handler of signals is one for all, so there is ours only while evaluations are
run, and only where nobody else has one. What is done is kept either way.

Where SIGINT is ignored, as in what a script starts with ``&``, no event loop has a handler for it: the rows are
cancelled then, and the run ends when they have ended. SIGINT stays ignored.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import pytest
from anyio import CancelScope

from ..._loop import HomeLoop
from .items import evaluation_of


class Termination:
    """The hooks."""

    def __init__(self) -> None:
        self._has_come = False
        self._cancel: Callable[[], object] | None = None
        """Ends what runs in an event loop."""

    @contextmanager
    def ending(self) -> Generator[None]:
        """In the block, which is one of an event loop, SIGTERM cancels what runs where SIGINT is ignored.

        Raises:
            KeyboardInterrupt: It has.
        """
        with CancelScope() as scope:
            self._cancel = partial(HomeLoop("").call_soon, scope.cancel)
            try:
                yield
            finally:
                self._cancel = None
        if scope.cancelled_caught:
            raise KeyboardInterrupt

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """An evaluation is run, and nothing else: tests of the user may be about signals."""
        __tracebackhide__ = True
        if evaluation_of(item) is None:
            return (yield)
        self.begin()
        try:
            return (yield)
        finally:
            self.end()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """When all is told: the exit code is what it would have been, as a shell tells it."""
        self.end()
        result = yield
        if self._has_come:
            session.exitstatus = 128 + signal.SIGTERM
        return result

    def begin(self) -> None:
        """From now on."""
        is_free = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and signal.getsignal(signal.SIGINT) is not None
        if is_free and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._interrupt)

    def end(self) -> None:
        """Up to now; another one that was set meanwhile stays."""
        if signal.getsignal(signal.SIGTERM) == self._interrupt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _interrupt(self, _number: int, frame: FrameType | None) -> None:
        """Do what SIGINT does now, which the event loop knows; a second one ends the process at once."""
        self._has_come = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
        elif self._cancel is None:
            raise KeyboardInterrupt
        else:
            self._cancel()
