"""SIGTERM ends a run with evaluations as Ctrl-C does: with the table, and with what to do to go on.

That is how a job of CI is cancelled. A handler of signals is one for all, so there is ours only while evaluations are
run, and only where nobody else has one. What is done is kept either way.

Where SIGINT is ignored, as in what a script starts with ``&``, no event loop has a handler for it: the rows are
cancelled then, and the run ends when they have ended. SIGINT stays ignored.

Under pytest-xdist it is the controller that gets a signal, and its workers would go on for as long as it waits for
them. So it sends them SIGTERM when it is interrupted, whatever by. They may have got the same signal as it, with all of
its process group; so however many come, in whatever order, a worker ends once, and in order.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest

from .ending import Ending
from .items import evaluation_of


class Termination:
    """The hooks, in a process that runs evaluations or has workers that do."""

    def __init__(self) -> None:
        self._has_come = False
        self._ending = Ending()

    @contextmanager
    def ends(self, ending: Ending) -> Generator[None]:
        """In the block, SIGTERM ends this evaluation where SIGINT is ignored."""
        before, self._ending = self._ending, ending
        try:
            yield
        finally:
            self._ending = before

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
        """From now on, in the main thread."""
        is_free = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and signal.getsignal(signal.SIGINT) is not None
        if is_free and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._interrupt)

    def end(self) -> None:
        """Up to now; another one that was set meanwhile stays."""
        if signal.getsignal(signal.SIGTERM) == self._interrupt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _interrupt(self, _number: int, frame: FrameType | None) -> None:
        """Do what SIGINT does now, which the event loop knows; a second one ends the process at once."""
        __tracebackhide__ = True
        self._has_come = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._end_as_by_sigint(frame)

    def _end_as_by_sigint(self, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
        elif self._ending.is_running:
            self._ending.end(KeyboardInterrupt())
        else:
            raise KeyboardInterrupt


class WorkerTermination(Termination):
    """The hooks in a worker of pytest-xdist, which has its controller's SIGTERM handled until its process ends."""

    def __init__(self) -> None:
        super().__init__()
        self._is_ending = False
        self._process = os.getpid()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Also of a test that is no evaluation: the controller tells all workers."""
        self.begin()
        try:
            return (yield)
        finally:
            self._is_ending = True

    def end(self) -> None:
        """Never: the process belongs to pytest-xdist, which ends it."""

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        if os.getpid() != self._process:  # forked by a test, it has the handler and is none of pytest's
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._ending.is_running:  # not what SIGINT does, which may have come already
            self._is_ending = True
            self._ending.end(KeyboardInterrupt())
        elif not self._is_ending:
            self._is_ending = True
            self._end_as_by_sigint(frame)


class WorkersTermination(Termination):
    """The hooks in the controller of pytest-xdist, which tells its workers."""

    def __init__(self) -> None:
        super().__init__()
        self._workers: list[Any] = []

    def watch(self, node: Any) -> None:
        """A worker is going to run evaluations."""
        self._workers.append(node)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """It has ended."""
        self._workers = [each for each in self._workers if each is not node]

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Have those end at once that this process has started here."""
        for gateway in [node.gateway for node in self._workers if sys.platform != "win32"]:
            process = getattr(getattr(gateway, "_io", None), "popen", None)
            if process is not None and gateway.spec.popen and not (gateway.spec.via or gateway.spec.python):
                with suppress(OSError):
                    process.send_signal(signal.SIGTERM)  # to no other that has got its pid since
