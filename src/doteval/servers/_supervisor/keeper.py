"""The keeper: the process around a supervisor, which ends what that leaves behind where it is killed.

A supervisor that is killed leaves a server with all that descends from it, files, and locks that are free too early. So
the program that is started is two processes. The outer one is the keeper: it adopts whatever the inner one, the
supervisor, leaves, and does nothing but wait for its end. Whoever kills the children of a program hits the keeper; the
supervisor then ends the server in order. Whoever kills both kills the server, too, by the signal that the kernel sends
it; for the rest of its family there is the next start, or ``doteval stop``.

It has the locks of the slots open, so these are not free before nothing is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time

from .files import delete
from .processes import adopt_orphans, descendants

PATIENCE_SECONDS = 10.0  # how long what was killed may take to end
PAUSE_SECONDS = 0.005
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def keep(path: str, *others: int) -> int:
    """Become two processes, and return in the inner one; the outer one never does.

    Args:
        path: The socket of the server; its directory is beside it.
        others: File descriptors of the inner one that must end when that ends.

    Returns:
        Where to tell the process group of the server, in digits.
    """
    reads, writes = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)  # until somebody minds them
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the starter may ignore it, and then nobody can be waited for
    adopts = adopt_orphans()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(reads)
        return writes
    try:
        for each in (writes, *others):
            os.close(each)
        for number in FORWARDED:
            signal.signal(number, lambda number, _: os.kill(supervisor, number))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        while (ended := os.waitpid(-1, 0))[0] != supervisor:
            pass
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        if ended[1] != 0:
            _end_family(path, reads, adopts)
            _remove_files(path)
    finally:
        os._exit(0)


def _end_family(path: str, reads: int, adopts: bool) -> None:
    """Kill what is left of the server, until nothing is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    group = os.read(reads, 100)
    while time.monotonic() < deadline:
        members = list(descendants(directory_of(path))) if adopts else []
        for pid in members:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not adopts and group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(group), signal.SIGKILL)
                members = [int(group)]
        if not members:
            return
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(PAUSE_SECONDS)


def _remove_files(path: str) -> None:
    """Remove the server's socket and directory, unless somebody has done so and serves there again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with contextlib.suppress(OSError):
        lock = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(PAUSE_SECONDS)  # somebody starts a server, in some milliseconds
                continue
            if not _is_served(path):
                delete(directory_of(path))
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            break
        os.close(lock)  # now, and not at some moment of the exit


def directory_of(path: str) -> str:
    """The server's own directory."""
    return path.removesuffix(".sock")


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            connection.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            pass
    return True
