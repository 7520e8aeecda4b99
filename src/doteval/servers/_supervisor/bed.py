"""``Bed``: a place where a server may sleep; a server that sleeps takes no slot, but memory."""

from __future__ import annotations

import contextlib
import fcntl
import os


class Bed:
    """One of the places of this machine, each of which is a file that is locked.

    Args:
        directory: Where the files are.
        number: In how many of them this server may sleep: the first ones.
    """

    def __init__(self, directory: str, number: int) -> None:
        self._directory = directory
        self.choices = number
        self.number: int | None = None
        """Which one it has; `None` where it has none."""
        self._file = -1

    def take(self) -> bool:
        """Take one, where one is free; whether it has one."""
        with contextlib.suppress(OSError):
            os.makedirs(self._directory, 0o700, exist_ok=True)
            for number in range(self.choices if self.number is None else 0):
                file = os.open(os.path.join(self._directory, str(number)), os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(file)
                    continue
                self._file, self.number = file, number
                break
        return self.number is not None

    def leave(self) -> None:
        """Give it to others."""
        if self.number is not None:
            os.close(self._file)
            self._file, self.number = -1, None
