"""What servers may have left behind in a runtime directory."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from doteval.servers._supervisor.protocol import MARKER

PATIENCE = 30.0
"""How long what is ending may take, in seconds; only ever waited for where something is left."""

_KEPT = {"beds", "logs", "parts", "queue", "slots", "starts"}


def leftovers(root: Path, patience: float = PATIENCE, *, tickets: bool = True) -> list[str]:
    """Everything of servers that is left after a while; empty if all is well. Logs and free slots may stay.

    Args:
        root: The runtime directory.
        patience: How long processes may take to end, in seconds.
        tickets: Whether a ticket in the queue counts that nobody stands behind any more.
    """
    deadline = time.monotonic() + patience
    while (pids := list(processes(root))) and time.monotonic() < deadline:
        await_end(pids[0], deadline - time.monotonic())
    found = [f"process {pid}: {_command(pid)}" for pid in pids]
    found += [f"socket {path.name}" for path in root.glob("*.sock")]
    found += [f"directory {path.name}" for path in root.iterdir() if path.is_dir() and path.name not in _KEPT]
    found += [f"locked slot {path.name}" for path in root.glob("slots/*") if is_locked(path)]
    found += [f"locked part {path.name}" for path in root.glob("parts/*/*") if is_locked(path)]
    found += [f"locked start {path.name}" for path in root.glob("starts/*") if is_locked(path)]
    found += [f"locked bed {path.name}" for path in root.glob("beds/*") if is_locked(path)]
    found += [f"ticket {path.name}" for path in root.glob("queue/*") if tickets or is_locked(path)]
    if is_locked(root):
        found.append("lock on the directory")
    return found


def processes(root: Path) -> Iterator[int]:
    """The supervisors that use this directory, and all processes of their servers; no zombies. Linux only."""
    mark, place = f"{MARKER}={root}{os.sep}".encode(), f"{root}{os.sep}".encode()
    if not Path("/proc/self/stat").exists():
        return
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            variables = Path(entry.path, "environ").read_bytes().split(b"\0")
            arguments = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            is_supervisor = any(argument.endswith(b"/_supervisor/__main__.py") for argument in arguments)
            if any(variable.startswith(mark) for variable in variables) or (
                is_supervisor and any(argument.startswith(place) for argument in arguments)
            ):
                yield int(entry.name)


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
