"""SIGTERM ends a run with evaluations as Ctrl-C does: with the table, and with what to do to go on.

That is how a job of CI is cancelled. A handler of signals is one for all, so there is ours only while evaluations are
run, and only where nobody else has one. What is done is kept either way.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from types import FrameType

import pytest

from .items import evaluation_of


class Termination:
    """The hooks."""

    def __init__(self) -> None:
        self._has_come = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """An evaluation is run, and nothing else: tests of the user may be about signals."""
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
        """From now on; where SIGINT is ignored, as of a job in the background, nothing could be done like it."""
        is_free = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and callable(signal.getsignal(signal.SIGINT))
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
        if not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)
