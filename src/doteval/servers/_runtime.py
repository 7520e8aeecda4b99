"""``Runtime``: the directory where the servers of one user find each other.

It holds a Unix socket and a directory for each server, the locks and the queue of the slots, and the logs of servers
that failed. Nobody else may look into it: through its sockets come API keys.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .._errors import RuntimeDirectoryError, ServersUnsupportedError

if sys.platform != "win32":
    import fcntl

VARIABLE = "DOTEVAL_RUNTIME_DIR"
MARKER = "DOTEVAL_SERVER"
"""An environment variable that every process of a server inherits; its value is the server's own directory."""

_LONGEST_SOCKET_PATH = 103  # macOS has 104 bytes for it, the last one zero


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
    def locked(self) -> Generator[bool]:
        """Keep everybody else from starting a server; yields `False` where somebody is just doing so.

        The block must be synchronous and short. What is locked is the directory itself: there is no file to be left.
        """
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def connect(self, server_id: str) -> socket.socket | None:
        """A connection to the supervisor of a server, or `None` where there is none."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(5)  # only waits where the supervisor has more callers than it can count
            connection.connect(str(self.socket_path(server_id)))
            connection.setblocking(False)
        except OSError as exc:
            connection.close()
            if exc.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET):
                return None
            raise
        return connection

    def listen(self, server_id: str) -> socket.socket:
        """The socket on which a new supervisor will listen; call it under the lock, where `connect` found nobody.

        What a supervisor that was killed has left behind is removed, its processes first.
        """
        self.bury(server_id)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self.socket_path(server_id)))
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        return listener

    def bury(self, server_id: str) -> None:
        """Kill what runs of a server whose supervisor is dead, and remove its socket."""
        for pid in processes_of(self.directory(server_id)):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.socket_path(server_id).unlink(missing_ok=True)


def processes_of(directory: Path) -> Iterator[int]:
    """The processes of the server with this directory, where the system tells; ours are never among them."""
    if not sys.platform.startswith("linux"):
        return
    mark = f"{MARKER}={directory}".encode()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                if mark in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)
