"""What servers may have left behind in a runtime directory."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from doteval.servers._supervisor.protocol import MARKER

PATIENCE = 30.0
"""How long what is ending may take, in seconds; only ever waited for where something is left."""

_KEPT = {"beds", "logs", "parts", "queue", "slots", "starts"}
_LOCKS = ("slots/*", "starts/*", "parts/*/*", "beds/*")


def leftovers(root: Path, patience: float = PATIENCE, *, tickets: bool = True) -> list[str]:
    """Everything of servers that is left after a while; empty if all is well. Logs and free slots may stay.

    Args:
        root: The runtime directory.
        patience: How long processes may take to end, in seconds.
        tickets: Whether a ticket in the queue counts that nobody stands behind any more.
    """
    return left_after(patience, root, lambda: files_left(root) + locks_left(root, tickets=tickets))


def left_after(patience: float, root: Path, others: Callable[[], list[str]]) -> list[str]:
    """The processes that are left after a while, and what else is, as `others` sees it.

    A process that ends has no environment, and is none of these any more, some time before its files are closed.
    """
    deadline = time.monotonic() + patience
    processes = processes_left(root, patience)
    while (left := others()) and not processes and time.monotonic() < deadline:
        time.sleep(0.005)
    return processes + left


def processes_left(root: Path, patience: float) -> list[str]:
    """The processes that are left after a while."""
    deadline = time.monotonic() + patience
    while (pids := list(processes(root))) and time.monotonic() < deadline:
        await_end(pids[0], deadline - time.monotonic())
    return [f"process {pid}: {_command(pid)}" for pid in pids]


def files_left(root: Path) -> list[str]:
    """What is in the directory now and belongs to one server, and sockets of it that somebody has open."""
    kinds = ((Path.is_socket, "socket"), (Path.is_dir, "directory"), (Path.exists, "file"))
    others = [path for path in root.iterdir() if path.name not in _KEPT]
    found = [f"{next((name for is_it, name in kinds if is_it(path)), 'gone')} {path.name}" for path in others]
    with suppress(FileNotFoundError):
        lines = Path("/proc/net/unix").read_text().splitlines()
        found += [f"open socket {line.split()[-1]}" for line in lines if f" {root}{os.sep}" in line]
    return found


def locks_left(root: Path, *, tickets: bool) -> list[str]:
    """Who has a lock on something now, or a ticket in the queue."""
    found = [f"locked {path.relative_to(root)}" for pattern in _LOCKS for path in root.glob(pattern)]
    found = [each for each in found if is_locked(root / each.removeprefix("locked "))]
    found += [f"ticket {path.name}" for path in root.glob("queue/*") if tickets or is_locked(path)]
    found += [f"lock on the directory {path.name}" for path in (root, root / "queue") if is_locked(path)]
    return found


def processes(root: Path) -> Iterator[int]:
    """The supervisors that use this directory, and all processes of their servers; no zombies. Linux only."""
    mark, place = f"\0{MARKER}={root}{os.sep}".encode(), f"\0{root}{os.sep}".encode()
    supervisor = b"/_supervisor/__main__.py\0"
    if not Path("/proc/self/stat").exists():
        return
    own = os.getpid()
    for name in os.listdir("/proc"):  # noqa: PTH208 - some hundred processes, at the end of each test
        if name.isdigit() and int(name) != own:
            with suppress(OSError):
                variables, arguments = b"\0" + _read(f"/proc/{name}/environ"), _read(f"/proc/{name}/cmdline")
                if mark in variables or (supervisor in arguments and place in arguments):
                    yield int(name)


def _read(path: str) -> bytes:
    """A file of ``/proc``, in a third of what `pathlib` takes."""
    fd = os.open(path, os.O_RDONLY)
    try:
        pieces = []
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
    finally:
        os.close(fd)
    return b"".join(pieces)


def parent(pid: int) -> int:
    """The parent of a process; that of a server is its supervisor, and that of a supervisor its keeper."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def await_end(pid: int, patience: float = PATIENCE) -> bool:
    """Wait until a process has ended, whoever's child it is; says whether it has."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watch], [], [], max(0.0, patience))[0])
    finally:
        os.close(watch)


def kill_all(root: Path) -> None:
    """Kill what is left, so that it is not in the way of what follows."""
    for pid in processes(root):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def is_locked(path: Path) -> bool:
    """Whether somebody has a lock on a file or directory."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone by now"
