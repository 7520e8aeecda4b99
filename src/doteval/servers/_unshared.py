"""What a forked child must not keep: `Descriptor`, and any other thing with a ``close()`` that is said to be unshared.

A connection, and a lock by `flock`, last until the last process that has them open has closed them. A child that is
forked has all of them open. It would keep a server as if it used it, long after the program that did so was killed. So
each child closes them first of all. It only closes: unlocking or shutting down would do so for its parent, too.

What is made and said to be unshared in one block of `making` is not seen half made by a fork in another thread.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

if sys.platform != "win32":
    import fcntl


class _Closeable(Protocol):
    def close(self) -> None: ...


class Descriptor:
    """An open file that no forked child keeps.

    Args:
        path: What is opened.
        flags: How, as for `os.open`.
        mode: Who may use it where it is made.
    """

    def __init__(self, path: str | os.PathLike[str], flags: int, mode: int = 0o600) -> None:
        self.path = Path(path)
        with making():
            self._number = os.open(path, flags, mode)
            unshared(self)

    @property
    def is_open(self) -> bool:
        """Whether it was not closed, in a forked child by the fork."""
        return self._number >= 0

    def fileno(self) -> int:
        """The number by which the system knows it."""
        return self._number

    def lock(self, *, is_shared: bool = False) -> bool:
        """Lock it if nobody else has, or nobody for themselves alone; says whether it is locked now."""
        try:
            fcntl.flock(self._number, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Unlock it at once, also for a process that has inherited it; what is closed is left alone."""
        if self.is_open:
            fcntl.flock(self._number, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close it; the lock stays where another process has inherited it."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)


def unshared(*resources: _Closeable) -> None:
    """A forked child closes them; call it in the block of `making` in which they are made."""
    for resource in resources:
        _unshared.add(resource)


@contextmanager
def making() -> Generator[None]:
    """In the block something is made that a forked child must not keep; it is short, and nothing in it waits."""
    with _making:
        yield


_unshared: weakref.WeakSet[_Closeable] = weakref.WeakSet()
_making = threading.RLock()  # in the child as well: who forks has it, in the thread that is left there


def _acquire() -> None:
    _making.acquire()


def _release() -> None:
    _making.release()


def _close_all() -> None:
    try:
        for resource in list(_unshared):
            with suppress(Exception):  # somebody else has closed its number, say; the others are closed all the same
                resource.close()
        _unshared.clear()
    finally:
        _making.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_close_all)
