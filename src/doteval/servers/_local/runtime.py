"""``Runtime``: the directory where the servers of one user find each other.

It holds a Unix socket and a directory for each server, the locks and the queue of the slots, and the logs of servers
that failed. Nobody else may look into it: through its sockets come API keys.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import stat
import sys
import weakref
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..._server_errors import RuntimeDirectoryError, ServersUnsupportedError
from .._supervisor.files import has_own_numbers
from .._supervisor.protocol import MARKER
from .._unshared import Descriptor, making, unshared

VARIABLE = "DOTEVAL_RUNTIME_DIR"
_LONGEST_SOCKET_PATH = 103  # macOS has 104 bytes for it, the last one zero
_NOBODY = (errno.ENOENT, errno.ECONNREFUSED)
_KILL_TIMES = 10
_OF_SERVER, _AROUND_SERVER = "", "/supervisor"
"""What follows the directory of a server in the mark of its processes, and of those that look after it."""


class Runtime:
    """The directory and what is in it.

    Args:
        root: Where it is; `None`: ``DOTEVAL_RUNTIME_DIR``, or else ``/tmp/doteval-<user id>``. Not below ``TMPDIR``
            or a login session's directory: all processes of a user shall find the same one.

    Raises:
        RuntimeDirectoryError: It is somebody else's, or others can reach it, or its path is too long.
        ServersUnsupportedError: The system has no Unix sockets and no process groups.
    """

    def __init__(self, root: Path | None = None) -> None:
        if sys.platform == "win32":
            raise ServersUnsupportedError(sys.platform)
        named = os.environ.get(VARIABLE)
        self.root = (root or Path(named or f"/tmp/doteval-{os.getuid()}")).absolute()  # noqa: S108 - checked below
        self.slots = self.root / "slots"
        self.logs = self.root / "logs"
        self.is_abandoned = False
        """Whether this program has let go of all servers, for good."""
        self._connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._check()

    def _check(self) -> None:
        if len(os.fsencode(self.root)) > _LONGEST_SOCKET_PATH - 40:
            raise RuntimeDirectoryError(str(self.root), "its path is too long for the sockets in it")
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.root.lstat()
        except OSError as exc:
            raise RuntimeDirectoryError(str(self.root), f"it cannot be made ({exc.strerror})") from exc
        if not stat.S_ISDIR(found.st_mode):
            raise RuntimeDirectoryError(str(self.root), "it is not a directory")
        if found.st_uid != os.getuid():
            raise RuntimeDirectoryError(str(self.root), f"it belongs to the user {found.st_uid}")
        if found.st_mode & 0o077:
            raise RuntimeDirectoryError(str(self.root), f"others can reach it (mode {stat.S_IMODE(found.st_mode):o})")

    def socket_path(self, server_id: str) -> Path:
        """Where the supervisor of a server listens."""
        return self.root / f"{server_id}.sock"

    def directory(self, server_id: str) -> Path:
        """The server's own directory."""
        return self.root / server_id

    def server_ids(self) -> list[str]:
        """The servers there are, dead ones among them."""
        return sorted(path.stem for path in self.root.glob("*.sock"))

    @contextmanager
    def locked(self) -> Generator[DirectoryLock | None]:
        """Keep everybody else from starting a server; yields `None` where somebody is just doing so.

        The block must be synchronous and short. What is locked is the directory itself: there is no file to be left.
        """
        directory = Descriptor(self.root, os.O_RDONLY | os.O_DIRECTORY)
        lock: DirectoryLock | None = None
        try:
            if directory.lock():
                lock = DirectoryLock(directory.fileno())
            yield lock
        finally:
            if lock is not None and not lock.is_passed_on:
                directory.unlock()  # a child that is just being started may have a copy
            directory.close()

    def connect(self, server_id: str) -> socket.socket | None:
        """A connection to the supervisor of a server; `None` where there is none, or it has too many callers now."""
        connection = _unix_socket()
        try:
            connection.connect(str(self.socket_path(server_id)))
        except OSError as exc:
            connection.close()
            if exc.errno in (*_NOBODY, errno.ECONNRESET, errno.EAGAIN):
                return None
            raise
        self.owns(connection)
        return connection

    def owns(self, connection: socket.socket) -> None:
        """A connection to a supervisor is ours; one that is made when all servers were abandoned is hung up at once."""
        with making():
            self._connections.add(connection)
            if self.is_abandoned:
                _hang_up(connection)

    def abandon(self) -> None:
        """Hang up all connections, and all that are made from now on, whoever has them."""
        with making():
            self.is_abandoned = True
            for connection in list(self._connections):
                _hang_up(connection)

    def is_alive(self, server_id: str) -> bool:
        """Whether a supervisor listens at the socket of a server; ask under the lock, or one may just be starting."""
        with _unix_socket() as connection:
            return connection.connect_ex(str(self.socket_path(server_id))) not in _NOBODY

    def bury_dead(self) -> None:
        """Remove what supervisors that were killed have left behind, processes first; call it under the lock.

        Their keepers last: until then they do the same, where whoever does it here dies in the middle.
        """
        for server_id in self.server_ids():
            if not self.is_alive(server_id):
                directory = self.directory(server_id)
                for _ in range(_KILL_TIMES):  # what was forked meanwhile is killed as well
                    if not _kill(processes_of(directory, [_OF_SERVER])):
                        break
                shutil.rmtree(directory, ignore_errors=True)
                self.socket_path(server_id).unlink(missing_ok=True)
                _kill(processes_of(directory, [_AROUND_SERVER]))


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed
        connection.shutdown(socket.SHUT_RDWR)


def _unix_socket() -> socket.socket:
    with making():
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unshared(connection)
    connection.setblocking(False)
    return connection


@dataclass(slots=True)
class DirectoryLock:
    """The lock on a runtime directory.

    Args:
        descriptor: The directory, open and locked.
        is_passed_on: Whether a process that has inherited it has the lock now, and ends it.
    """

    descriptor: int
    is_passed_on: bool = False


def _kill(pids: Iterator[int]) -> int:
    """Kill processes; returns how many there were."""
    number = 0
    for number, pid in enumerate(pids, 1):  # noqa: B007 - counted
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return number


def signal_supervisor(pid: int, server_id: str, number: int) -> bool:
    """Signal the supervisor of a server, or its keeper; `False`, and nothing done, where the process is none of these.

    The directory before the server's own may be called otherwise here than where the supervisor was started.
    """
    if pid <= 0:
        return False
    handle = _handle(pid)
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        end = os.fsencode(f"/{server_id}/supervisor")
        if not any(each.startswith(f"{MARKER}=".encode()) and each.endswith(end) for each in variables):
            return False
        if sys.platform == "linux" and handle is not None:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(pid, number)
    except (FileNotFoundError, ProcessLookupError):
        return True  # it has ended meanwhile
    except OSError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def keeper_of(supervisor: int) -> int:
    """The process around a supervisor, or whoever has adopted that; 0 where the system does not tell."""
    with suppress(OSError):
        return int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _handle(pid: int) -> int | None:
    """What stands for a process whatever becomes of its number; `None` where the system has no such thing."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            return os.pidfd_open(pid)
    return None


def processes_of(directory: Path, marks: Collection[str] = (_OF_SERVER, _AROUND_SERVER)) -> Iterator[int]:
    """The processes of the server with this directory, where the system tells, and what looked after it.

    With `marks` only those whose mark ends so. Those of a container that has another directory of the same name are
    none of it.
    """
    if not has_own_numbers():
        return
    root = os.path.realpath(directory.parent)
    whole = {f"{MARKER}={directory}{end}".encode() for end in marks}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                if not whole.isdisjoint(Path(entry.path, "environ").read_bytes().split(b"\0")) and _shares(
                    entry.path, root
                ):
                    yield int(entry.name)


def _shares(process: str, root: str) -> bool:
    """Whether a path means the same directory to a process, given by its own in ``/proc``, as it does here."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return Path(f"{process}/root{root}").samefile(root)
    return Path(process, "ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
