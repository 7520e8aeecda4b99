"""``SlotLocks``: slots of the whole machine that are taken, each by a lock on its file.

A slot is taken by `flock`, and the kernel frees it when the last process that holds the file open is gone, whatever
killed it. Nobody decides on a stale look: to take a slot *is* to lock it. Who may try to is the queue's affair.

Windows has no `flock`: there the module can be imported, and that is all. `Runtime` says so before anybody gets here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from .._unshared import Descriptor


class SlotLocks:
    """Slots that are taken.

    A supervisor inherits them by ``pass_fds=locks.fds``; other children do not, forked ones neither. A slot is free
    when no process has its file open any more, or when one of them unlocks it.

    Args:
        held: The locked file of each name.
    """

    def __init__(self, held: dict[str, Descriptor]) -> None:
        self.names = tuple(held)
        self._files = list(held.values())

    @property
    def fds(self) -> tuple[int, ...]:
        """Our file descriptors, in the order of the names; none after `close`."""
        return tuple(file.fileno() for file in self._files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the slots, in the order of the names; none after `close`."""
        return tuple(file.path for file in self._files)

    def close(self) -> None:
        """Close our file descriptors. The slots stay taken as long as somebody has inherited them."""
        while self._files:
            self._files.pop().close()

    def __repr__(self) -> str:
        state = "" if self._files or not self.names else ", closed"
        return f"<SlotLocks {', '.join(self.names)}{state}>"


def take(directory: Path, names: Sequence[str], count: int) -> dict[str, Descriptor]:
    """Lock as many of the slots as are free, up to `count`."""
    held: dict[str, Descriptor] = {}
    try:
        for name in names:
            if len(held) == count:
                break
            file = _slot(directory / quote(name, safe=""))
            if file is not None:
                held[name] = file
    except BaseException:
        give_back(held, names)
        raise
    return held


def _slot(path: Path) -> Descriptor | None:
    """Lock one slot; `None` if it is taken."""
    file = Descriptor(path, os.O_RDWR | os.O_CREAT)
    try:
        # A file that somebody deleted after we had opened it locks nothing.
        if file.lock() and is_same(file, path):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def is_same(file: Descriptor, path: Path) -> bool:
    """Whether an open file is what the path leads to now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def give_back(held: dict[str, Descriptor], names: Sequence[str]) -> tuple[str, ...]:
    """Unlock slots at once, whoever has a copy of the file descriptors; returns the names of the others."""
    for file in held.values():
        file.unlock()
        file.close()
    return tuple(name for name in names if name not in held)
