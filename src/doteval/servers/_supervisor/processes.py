"""Who descends from whom, as far as the system tells: on Linux, where orphans can be adopted."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

from .files import has_own_numbers
from .protocol import MARKER

TYPE_CHECKING = False  # as in typing, whose import takes time
if TYPE_CHECKING:
    from collections.abc import Iterable

_IN_GONE = 0x40 | 0x200 | 0x400 | 0x800  # moved from there, deleted there; deleted, moved
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
_prctl = None if _libc is None else _libc.prctl
_inotify = _libc if hasattr(_libc, "inotify_init1") else None

CAN_DIE_WITH = _prctl is not None
"""Whether the kernel kills a process when its parent ends, where that is wanted."""


def adopt_orphans() -> bool:
    """From now on orphans of this process's descendants are its children; whether that is so, and they can be seen."""
    if _prctl is None:
        return False
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0 and has_own_numbers()


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


def watch(directories: Iterable[str]) -> int:
    """A file descriptor that is readable when something in some directories is deleted or moved, or they are.

    It is -1 where the system has no such thing, or no more of them.
    """
    if _inotify is None:
        return -1
    descriptor = int(_inotify.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor >= 0 and any(
        _inotify.inotify_add_watch(descriptor, os.fsencode(each), _IN_GONE) < 0 for each in directories
    ):
        os.close(descriptor)
        return -1
    return descriptor


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
