"""``Ending``: what ends an evaluation from outside of its rows, be it that its test has been left before it was done.

pytest-timeout raises from a handler of signals, wherever the program is. In the code of a row that would be the row's
error, and in the event loop's own code it leaves the loop, with all rows in it: they go on when a fixture is torn down
there, which closes their models. So what such a handler raises to end a test is caught while an evaluation is run, and
its rows are cancelled instead, as by Ctrl-C. Where that takes too long, it is raised after all.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import pytest
from anyio import CancelScope, get_cancelled_exc_class

from ..._chains import leaves_of
from ..._loop import HomeLoop

ENDS = (KeyboardInterrupt, pytest.exit.Exception)
"""What ends the whole run of pytest; what ends a test otherwise ends its row only, unless a signal brings it."""
_RAISED_BY_HANDLERS = (SystemExit, pytest.exit.Exception, pytest.fail.Exception, pytest.skip.Exception)
_STUCK, _PATIENCE = 1.0, 10.0
"""How long the event loop may take to cancel the rows, and how long these may take to end then, in seconds."""


class Ending:
    """That of one evaluation."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        """What its test is to raise."""
        self._is_left = False
        self._cancel: Callable[[], None] | None = None
        self._is_cancelled = False
        self._others: dict[int, Callable[[int, FrameType | None], Any]] = {}
        """Kept for good: whoever has set a handler meanwhile may have ours, and call it whenever a signal comes."""
        self._reminders: int | None = None
        """How often the alarm has come that reminds of what has not ended yet; `None` where none is set."""

    @property
    def has_come(self) -> bool:
        """Whether nobody waits for rows any more: what comes of them is not recorded."""
        return self._is_left or self.error is not None

    @property
    def is_running(self) -> bool:
        """Whether there is something in an event loop that `end` cancels."""
        return self._cancel is not None

    @contextmanager
    def around(self) -> Generator[None]:
        """In the block, which is one of an event loop, the evaluation is run. What ends it is kept, and not raised."""
        with CancelScope() as scope:
            self._cancel = partial(HomeLoop("").call_soon, partial(self._cancel_rows, scope))
            try:
                self._listen()
                yield
            except BaseException as exc:
                if isinstance(exc, get_cancelled_exc_class()) or not (self.has_come or isinstance(exc, ENDS)):
                    raise
                self._note(exc)  # on its way through an event loop it would leave traces of a crash
            finally:
                self._cancel = None
                self._listen_no_more()

    def end(self, error: BaseException) -> None:
        """End it, at whatever moment; the first reason counts."""
        self._note(error)
        if self._cancel is not None:
            self._cancel()

    def _note(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error

    def leave(self) -> None:
        """Its test has been left: what is still run of it is cancelled when its event loop goes on."""
        self._is_left = True
        self._listen_no_more()
        if self._cancel is not None:
            self._cancel()

    def raised_for(self, error: BaseException) -> BaseException:
        """What its test raises for what has come out of the event loop."""
        if self.error is not None:
            return self.error
        return next((leaf for leaf in leaves_of(error) if isinstance(leaf, ENDS)), error)  # trio's is in a group

    def _cancel_rows(self, scope: CancelScope) -> None:
        self._is_cancelled = True
        scope.cancel()

    def _listen(self) -> None:
        """Be told of signals before those who have handlers now; Ctrl-C is the event loop's."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signal.valid_signals() - {signal.SIGINT}:
            handler = signal.getsignal(number)
            if callable(handler):
                self._others[number] = handler
                signal.signal(number, self._handle)

    def _listen_no_more(self) -> None:
        """Give others back their handlers; one that was set meanwhile stays."""
        if self._reminders is not None and sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._reminders = None
        for number, handler in self._others.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        if self._reminders is not None and self.error is not None and number == signal.SIGALRM:
            self._reminders += 1
            if self._reminders > 1 or not self._is_cancelled:  # the event loop is stuck in a row, or a row does not end
                raise self.error
            return
        try:
            self._others[number](number, frame)
        except _RAISED_BY_HANDLERS as exc:
            if self.has_come or self._cancel is None:
                raise
            self.end(exc)
            if sys.platform != "win32" and number == signal.SIGALRM:  # its timer has run out
                self._reminders = 0
                signal.setitimer(signal.ITIMER_REAL, _STUCK, _PATIENCE)
