"""``Signals``: what the system tells the supervisor, as something that its loop can wait for."""

from __future__ import annotations

import contextlib
import signal
import socket

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)  # and not by what it starts


class Signals:
    """Wakes the loop up when a child has ended, and when the supervisor is told to end."""

    def __init__(self) -> None:
        for number in signal.valid_signals():
            if signal.getsignal(number) is signal.SIG_IGN and number not in _IGNORED_BY_PYTHON:
                signal.signal(number, signal.SIG_DFL)  # what the starter ignores would be ignored here, and there
        self.socket, self._wakes = socket.socketpair()
        self.socket.setblocking(False)
        self._wakes.setblocking(False)
        self.told_to_end = ""
        """The signal that said so."""
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # what the starter has blocked would be blocked here, and there

    def drain(self) -> None:
        """Let the next signal wake the loop up again."""
        with contextlib.suppress(BlockingIOError):
            self.socket.recv(4096)

    def _note(self, number: int, frame: object) -> None:
        if number != signal.SIGCHLD:  # the loop does all the rest: this may be in the middle of anything
            self.told_to_end = signal.Signals(number).name
