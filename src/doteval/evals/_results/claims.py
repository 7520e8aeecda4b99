"""Who runs an evaluation, so that no two runs do it at once.

A claim is a text in the store, and a lock of the kernel on one byte of the file ``-runs`` beside it, the one at the
number of the evaluation. It holds as long as the process lives that made it and the run goes on in it. So whatever
kills a run, the next one can go on with what it has left, whatever the machine is called, and in any container.

Where there are no such locks, a process is known by the machine's name, its number and when it began. A process loses
all its locks on a file as soon as it closes it anywhere. So it is opened once and never closed.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import NamedTuple

from ..._forked import tell_when_forked

if sys.platform != "win32":
    import fcntl

_TAKEN = (errno.EACCES, errno.EAGAIN)


class _File(NamedTuple):
    """A file with locks.

    Args:
        descriptor: It is open under this.
        number: What the file system calls it.
    """

    descriptor: int
    number: int


class _Here:
    """The runs of this process; one that is forked off has runs of its own, and none of these locks."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.going_on: dict[str, tuple[_File, int] | None] = {}
        """The claims, and which byte of which file each has locked."""
        self._files: dict[tuple[int, int], _File] = {}
        tell_when_forked(self)

    def forked(self) -> None:
        """This is the child: the files are open, and whoever could release the lock is not there."""
        self.lock = Lock()
        self.going_on = {}

    def file(self, store: Path, *, is_made: bool) -> _File:
        """The file with the locks of a store.

        Raises:
            OSError: It is not there, or cannot be opened for writing.
        """
        path = Path(f"{store.resolve()}-runs")
        with suppress(FileNotFoundError):
            stat = path.stat()
            if (stat.st_dev, stat.st_ino) in self._files:
                return self._files[stat.st_dev, stat.st_ino]
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if is_made else 0), 0o600)
        stat = os.fstat(descriptor)
        return self._files.setdefault((stat.st_dev, stat.st_ino), _File(descriptor, stat.st_ino))


_here = _Here()


def new_claim(store: Path, evaluation: int) -> str:
    """A claim of this process, which holds until it is dropped.

    Args:
        store: The file of the store.
        evaluation: The number of the evaluation in it.
    """
    with _here.lock:
        locked = None
        with suppress(OSError):
            file = _here.file(store, is_made=True)
            if (file, evaluation) not in _here.going_on.values() and _has_locked(file, evaluation):
                locked = file, evaluation
        by = "-" if locked is None else str(locked[0].number)
        claim = f"{socket.gethostname()} {os.getpid()} {_birth(os.getpid())} {token_hex(8)} {by}"
        _here.going_on[claim] = locked
        return claim


def drop(claim: str) -> None:
    """The run is over."""
    with _here.lock:
        locked = _here.going_on.pop(claim, None)
        if locked is not None:
            _unlock(*locked)


def process_of(claim: str, store: Path, evaluation: int) -> int | None:
    """The number of the process whose run goes on; `None` where it does not, or nobody here can know.

    It takes the lock for a moment, so only one may ask at a time: who writes to the store.

    Args:
        claim: The claim.
        store: The file of the store in which it is.
        evaluation: The number of the evaluation that it is of.
    """
    try:
        host, pid, birth, _, by = claim.split(" ")
        number = int(pid)
    except ValueError:
        return None
    with _here.lock:
        if claim in _here.going_on:
            return number
        is_locked = None if by == "-" else _is_locked(store, evaluation, by)
    if is_locked is not None:
        return number if is_locked else None
    if number == os.getpid() or host != socket.gethostname() or sys.platform == "win32":
        return None
    return number if _is_alive(number, birth) else None


def _is_locked(store: Path, evaluation: int, by: str) -> bool | None:
    """Whether a run has locked its evaluation; `None` where nobody can know that here."""
    try:
        file = _here.file(store, is_made=False)
        if str(file.number) != by:  # the file that it has locked was removed
            return None
        if (file, evaluation) in _here.going_on.values():
            return True
        if not _has_locked(file, evaluation):
            return True
        _unlock(file, evaluation)
    except OSError:
        return None
    return False


def _has_locked(file: _File, place: int) -> bool:
    """Lock a byte for this process; whether no other has.

    Raises:
        OSError: There are no locks here.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "no such locks")
    try:
        fcntl.lockf(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError as exc:
        if exc.errno in _TAKEN:
            return False
        raise
    return True


def _unlock(file: _File, place: int) -> None:
    if sys.platform != "win32":
        with suppress(OSError):  # it was lost with what it was on
            fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, place)


def _is_alive(pid: int, birth: str) -> bool:
    if Path("/proc/self/stat").exists():
        return _birth(pid) == birth != "-"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _birth(pid: int) -> str:
    """When a process began, as the kernel counts, as numbers of processes come again; "-" where it does not run."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return "-"
    return "-" if state in b"ZX" else fields[18].decode()
