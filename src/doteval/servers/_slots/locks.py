"""``SlotLocks``: slots of the whole machine that are taken, each by a lock on its file.

A slot is taken by `flock`, and the kernel frees it when the last process that holds the file open is gone, whatever
killed it. Nobody decides on a stale look: to take a slot *is* to lock it. Who may try to is the queue's affair. Those
who have a part of a slot share that lock, and each locks a file for its part (``_supervisor.parts``). They start one
after the other: a server that finds out how much memory there is must not be disturbed. So each locks one more file,
which its supervisor unlocks when it is ready.

Windows has no `flock`: there the module can be imported, and that is all. `Runtime` says so before anybody gets here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

from .._supervisor.parts import WHOLE, taken
from .._unshared import Descriptor

Held = dict[str, tuple[Descriptor, ...]]
"""The locked files of each slot: its own, and for a part the one of who starts, and that of the part."""


class SlotLocks:
    """Slots that are taken, or parts of them.

    A supervisor inherits them by ``pass_fds=locks.fds``; other children do not, forked ones neither. A slot is free
    when no process has its file open any more, or when one of them unlocks it.

    Args:
        held: The locked files of each name.
    """

    def __init__(self, held: Held) -> None:
        self.names = tuple(held)
        self._files = [file for files in zip(*held.values(), strict=True) for file in files]

    @property
    def fds(self) -> tuple[int, ...]:
        """Our file descriptors, in the order of the names: of the slots, then of parts, then of starts.

        There are none after `close`.
        """
        return tuple(file.fileno() for file in self._files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in the same order; none after `close`."""
        return tuple(file.path for file in self._files)

    def close(self) -> None:
        """Close our file descriptors. The slots stay taken as long as somebody has inherited them."""
        while self._files:
            self._files.pop().close()

    def __repr__(self) -> str:
        state = "" if self._files or not self.names else ", closed"
        return f"<SlotLocks {', '.join(self.names)}{state}>"


def take(directory: Path, names: Sequence[str], count: int, amount: int = WHOLE) -> Held:
    """Lock as many of the slots as are free, up to `count`, or as have so much left, the fullest of these first."""
    held: Held = {}
    try:
        for name in names if amount == WHOLE else _fullest_first(directory.parent, names):
            if len(held) == count:
                break
            files = _taken(directory / _quoted(name), amount)
            if files:
                held[name] = files
    except BaseException:
        give_back(held, names)
        raise
    return held


def give_back(held: Held, names: Sequence[str]) -> tuple[str, ...]:
    """Unlock slots at once, whoever has a copy of the file descriptors; returns the names of the others."""
    for files in held.values():
        _let_go(files)
    return tuple(name for name in names if name not in held)


def _let_go(files: Sequence[Descriptor]) -> None:
    for part in files[2:]:
        part.path.unlink(missing_ok=True)
    for file in files:
        file.unlock()
        file.close()


def _taken(slot: Path, amount: int) -> tuple[Descriptor, ...]:
    """Lock what belongs to a slot, or to a part of it; nothing where somebody else has any of that."""
    root, name = slot.parent.parent, slot.name
    locks = [partial(_locked, slot)]
    if amount < WHOLE:
        locks = [
            partial(_locked, slot, is_shared=True),
            partial(_locked, root / "starts" / name),
            partial(_part, root / "parts" / name, amount),
        ]
    files: list[Descriptor] = []
    try:
        for lock in locks:
            file = lock()
            if file is None:
                _let_go(files)
                return ()
            files.append(file)
    except BaseException:
        _let_go(files)
        raise
    return tuple(files)


def is_same(file: Descriptor, path: Path) -> bool:
    """Whether an open file is what the path leads to now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _locked(path: Path, *, is_shared: bool = False) -> Descriptor | None:
    """Lock a file; `None` if somebody else has."""
    file = Descriptor(path, os.O_RDWR | os.O_CREAT)
    try:
        # A file that somebody deleted after we had opened it locks nothing.
        if file.lock(is_shared=is_shared) and is_same(file, path):
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _fullest_first(root: Path, names: Sequence[str]) -> list[str]:
    """The names, those in front of which more is taken: so others stay whole."""
    for each in ("parts", "starts"):
        (root / each).mkdir(mode=0o700, exist_ok=True)
    return sorted(names, key=lambda name: -_amount(root / "parts" / _quoted(name)))


def _amount(directory: Path) -> int:
    """How much of a slot is taken; all of it where somebody else looks just now."""
    directory.mkdir(mode=0o700, exist_ok=True)
    with _counting(directory) as may_count:
        return taken(str(directory)) if may_count else WHOLE


def _part(directory: Path, amount: int) -> Descriptor | None:
    """Take a part of a slot; `None` if too little is left."""
    with _counting(directory) as may_count:
        if not may_count or taken(str(directory)) + amount > WHOLE:
            return None
        part = Descriptor(directory / f"{amount}-{secrets.token_hex(8)}", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        part.lock()
        return part


@contextmanager
def _counting(directory: Path) -> Generator[bool]:
    """Lock a directory of parts for a moment; `False` where somebody else has it."""
    door = Descriptor(directory, os.O_RDONLY)
    try:
        is_ours = door.lock()
        yield is_ours
        if is_ours:
            door.unlock()  # a child that is just being started may have a copy
    finally:
        door.close()
