"""Who runs an evaluation, so that no two runs do it at once.

A claim is a text in the store, and a lock of the kernel on one byte of the file ``-runs`` beside it, the one at the
number of the evaluation. It holds as long as the process lives that made it, until all that the run has found is
written. So whatever kills a run, the next one can go on with what it has left, whatever the machine is called, and in
any container.

On Linux the lock is one of the open file. Elsewhere it is one of the process, which loses it as soon as it closes the
file anywhere, as whoever copies it does: there, a process that is known to live has not given up what nobody has
locked. Where there are no locks at all, a process is known by the machine's name, its number and when it began.

A claim also names the file of the store. In a copy of that, which somebody has made meanwhile, nobody is at work.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from threading import Condition

from ..._forked import tell_when_forked

if sys.platform != "win32":
    import fcntl

_TAKEN = (errno.EACCES, errno.EAGAIN)
_SET_LOCK = 37
"""``F_OFD_SETLK``, which not every build of Python names."""
_LOCK = "hhqqi0q"
"""How Linux lays out a lock: its kind, from where on, from which byte, how many bytes, and whose."""
_OF_PROCESS = "~"
"""Before the number of a file in a claim: the lock is one of the process."""


@dataclass(slots=True, eq=False)
class _File:
    """A file with locks.

    Args:
        descriptor: It is open under this.
        device: Where it is.
        number: What the file system calls it there.
        is_of_process: Whether locks on it are those of the process, and not of the open file.
    """

    descriptor: int
    device: int
    number: int
    is_of_process: bool = sys.platform != "linux"


def file_of_locks(store: Path) -> Path:
    """The file with the locks of a store."""
    return Path(f"{store.resolve()}-runs")


class _Here:
    """The runs of this process; one that is forked off has runs of its own, and none of these locks."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.going_on: dict[str, tuple[_File, int] | None] = {}
        """The claims, and which byte of which file each has locked."""
        self.leaving: dict[str, Path] = {}
        """The claims whose runs are over, and in which store something of them is still to be written."""
        self._files: dict[tuple[int, int], _File] = {}
        tell_when_forked(self)

    def forked(self) -> None:
        """This is the child: it has no runs, and what is open in it would hold a lock of its parent."""
        self.changed = Condition()
        self.going_on, self.leaving = {}, {}
        files, self._files = self._files, {}
        for file in files.values():
            with suppress(OSError):
                os.close(file.descriptor)

    @contextmanager
    def file(self, store: Path, *, is_made: bool) -> Generator[_File]:
        """The file with the locks of a store; it stays open as long as a run of this process has locked it.

        Raises:
            OSError: It is not there, or cannot be opened for writing.
        """
        file = self._opened(file_of_locks(store), is_made=is_made)
        try:
            yield file
        finally:
            self.close_unused(file)

    def _opened(self, path: Path, *, is_made: bool) -> _File:
        with suppress(FileNotFoundError):
            stat = path.stat()
            if (stat.st_dev, stat.st_ino) in self._files:
                return self._files[stat.st_dev, stat.st_ino]
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if is_made else 0), 0o600)
        stat = os.fstat(descriptor)
        file = _File(descriptor, stat.st_dev, stat.st_ino)
        return self._files.setdefault((file.device, file.number), file)

    def close_unused(self, file: _File) -> None:
        """Close it, where no run has locked it: where locks are those of the process, it would lose them all."""
        if not any(locked is not None and locked[0] is file for locked in self.going_on.values()):
            self._files.pop((file.device, file.number), None)
            os.close(file.descriptor)


_here = _Here()


def new_claim(store: Path, evaluation: int) -> str:
    """A claim of this process, which holds until it is dropped.

    Args:
        store: The file of the store.
        evaluation: The number of the evaluation in it.
    """
    with _here.changed:
        locked = None
        claim = f"{socket.gethostname()} {os.getpid()} {_birth(os.getpid())} {token_hex(8)} {_number(store)} "
        with suppress(OSError), _here.file(store, is_made=True) as file:
            if (file, evaluation) not in _here.going_on.values() and _has_locked(file, evaluation):
                locked = file, evaluation
            claim += "-" if locked is None else f"{_OF_PROCESS * file.is_of_process}{file.number}"
            _here.going_on[claim] = locked
        if claim not in _here.going_on:
            claim += "-"
            _here.going_on[claim] = None
        return claim


def leave(claim: str, store: Path) -> None:
    """The run is over, and something of it is still to be written; who has written it drops the claim."""
    with _here.changed:
        if claim in _here.going_on:
            _here.leaving[claim] = store.resolve()


def drop(claim: str) -> None:
    """The run is over, and nothing of it is written any more."""
    with _here.changed:
        locked = _here.going_on.pop(claim, None)
        _here.leaving.pop(claim, None)
        if locked is not None:
            _unlock(*locked)
            _here.close_unused(locked[0])
        _here.changed.notify_all()


def wait_until_left(store: Path, seconds: float) -> None:
    """Wait until all is written of the runs of this process that are over, or for some time; blocks."""
    with _here.changed:
        _here.changed.wait_for(lambda: store.resolve() not in _here.leaving.values(), seconds)


def process_of(claim: str, store: Path, evaluation: int) -> int | None:
    """The number of the process whose run goes on; `None` where it does not, or nobody here can know.

    It takes the lock for a moment, so only one may ask at a time: who writes to the store.

    Args:
        claim: The claim.
        store: The file of the store in which it is.
        evaluation: The number of the evaluation that it is of.
    """
    try:
        host, pid, birth, _, of, by = claim.split(" ")
        number = int(pid)
    except ValueError:
        return None
    if of not in ("-", _number(store)):
        return None
    with _here.changed:
        if claim in _here.going_on:
            return number
        is_locked = None if by == "-" else _is_locked(store, evaluation, by.removeprefix(_OF_PROCESS))
    if is_locked:
        return number
    if is_locked is not None and (birth == "-" or not by.startswith(_OF_PROCESS)):
        return None
    if number == os.getpid() or host != socket.gethostname() or sys.platform == "win32":
        return None
    return number if _is_alive(number, birth) else None


def _number(store: Path) -> str:
    """What the file system calls the file of a store."""
    try:
        return str(store.stat().st_ino)
    except OSError:
        return "-"


def _is_locked(store: Path, evaluation: int, by: str) -> bool | None:
    """Whether a run has locked its evaluation; `None` where nobody can know that here."""
    try:
        with _here.file(store, is_made=False) as file:
            if str(file.number) != by:  # the file that it has locked was removed
                return None
            if (file, evaluation) in _here.going_on.values() or not _has_locked(file, evaluation):
                return True
            _unlock(file, evaluation)
    except OSError:
        return None
    return False


def _has_locked(file: _File, place: int) -> bool:
    """Lock a byte; whether nobody else has.

    Raises:
        OSError: There are no locks here.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "no such locks")
    try:
        _set_lock(file, place, fcntl.F_WRLCK)
    except OSError as exc:
        if exc.errno in _TAKEN:
            return False
        raise
    return True


def _unlock(file: _File, place: int) -> None:
    if sys.platform != "win32":
        with suppress(OSError):  # it was lost with what it was on
            _set_lock(file, place, fcntl.F_UNLCK)


if sys.platform != "win32":

    def _set_lock(file: _File, place: int, kind: int) -> None:
        if sys.platform == "linux" and not file.is_of_process:
            try:
                fcntl.fcntl(file.descriptor, _SET_LOCK, struct.pack(_LOCK, kind, os.SEEK_SET, place, 1, 0))
            except OSError as exc:
                if exc.errno != errno.EINVAL:
                    raise
                file.is_of_process = True  # this kernel has no others
            else:
                return
        how = fcntl.LOCK_UN if kind == fcntl.F_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB
        fcntl.lockf(file.descriptor, how, 1, place)


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
