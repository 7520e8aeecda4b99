"""Who descends from whom, as far as the system tells: on Linux, where orphans can be adopted."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

from .protocol import MARKER

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_prctl = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None

CAN_DIE_WITH = _prctl is not None
"""Whether the kernel kills a process when its parent ends, where that is wanted."""


def adopt_orphans() -> bool:
    """From now on orphans of this process's descendants are its children; says whether that is so."""
    if _prctl is None:
        return False
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 and os.path.exists("/proc/self/stat")


def die_with(parent: int) -> None:
    """From now on the kernel kills this process when its parent ends; call it in a child that is about to be a program.

    Only a parent with one thread may be meant: the end of the thread that has started the child counts.

    Args:
        parent: The parent's process id; where it has ended already, so does this process.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def descendants(directory: str) -> dict[int, int]:
    """The processes that descend from this one and their groups, but no zombies.

    Another server's mark ends the walk: what a server has started for everybody is not a part of it.

    Args:
        directory: The directory of the server whose processes are meant.
    """
    children: dict[int, list[int]] = {}
    groups: dict[int, int] = {}
    zombies: set[int] = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry.name}/stat", "rb") as file:
                state, parent, group = file.read().rpartition(b")")[2].split()[:3]
                pid = int(entry.name)
                children.setdefault(int(parent), []).append(pid)
                groups[pid] = int(group)
                if state in b"ZX":
                    zombies.add(pid)
    own = os.fsencode(directory)
    found: dict[int, int] = {}
    to_see = children.get(os.getpid(), [])
    while to_see:
        pid = to_see.pop()
        if pid not in found and _mark(pid) in (None, own, own + b"/supervisor"):
            found[pid] = groups[pid]
            to_see += children.get(pid, [])
    return {pid: group for pid, group in found.items() if pid not in zombies}


def _mark(pid: int) -> bytes | None:
    """Which server a process belongs to by its environment; `None` where that does not say."""
    name = MARKER.encode() + b"="
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        for variable in file.read().split(b"\0"):
            if variable.startswith(name):
                return variable.removeprefix(name)
    return None
