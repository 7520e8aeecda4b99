"""``SlotLocks``: slots of the whole machine that are taken, each by a lock on its file.

A slot is taken by `flock`, and the kernel frees it when the last process that holds the file open is gone, whatever
killed it. Nobody decides on a stale look: to take a slot *is* to lock it. Who may try to is the queue's affair.

Windows has no `flock`: there the module can be imported, and that is all. `Runtime` says so before anybody gets here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

if sys.platform != "win32":
    import fcntl


class SlotLocks:
    """Slots that are taken.

    A supervisor inherits them by ``pass_fds=locks.fds``; other children do not. A slot is free when no process has its
    file descriptor open any more, or when one of them unlocks it.

    Args:
        held: The locked file descriptor of each name.
    """

    def __init__(self, held: dict[str, int]) -> None:
        self.names = tuple(held)
        self._fds = list(held.values())

    @property
    def fds(self) -> tuple[int, ...]:
        """Our file descriptors, in the order of the names; none after `close`."""
        return tuple(self._fds)

    def close(self) -> None:
        """Close our file descriptors. The slots stay taken as long as somebody has inherited them."""
        while self._fds:
            os.close(self._fds.pop())

    def __repr__(self) -> str:
        state = "" if self._fds or not self.names else ", closed"
        return f"<SlotLocks {', '.join(self.names)}{state}>"


def take(directory: Path, names: Sequence[str], count: int) -> dict[str, int]:
    """Lock as many of the slots as are free, up to `count`."""
    held: dict[str, int] = {}
    try:
        for name in names:
            if len(held) == count:
                break
            fd = _slot(directory / quote(name, safe=""))
            if fd is not None:
                held[name] = fd
    except BaseException:
        give_back(held, names)
        raise
    return held


def _slot(path: Path) -> int | None:
    """Lock one slot; `None` if it is taken."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # A file that somebody deleted after we had opened it locks nothing.
        if locked(fd) and _is_same(fd, path):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _is_same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def give_back(held: dict[str, int], names: Sequence[str]) -> tuple[str, ...]:
    """Unlock slots at once, whoever has a copy of the file descriptors; returns the names of the others."""
    for fd in held.values():
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
    return tuple(name for name in names if name not in held)


def locked(fd: int) -> bool:
    """Lock a file if nobody else has; says whether it is locked now."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
