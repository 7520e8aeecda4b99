"""Who descends from whom, as far as the system tells: on Linux, where orphans can be adopted."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import signal
import sys

from .files import has_own_numbers
from .protocol import MARKER

TYPE_CHECKING = False  # as in typing, whose import takes time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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

    Another server's mark ends the walk: what a server has started for everybody is not a part of it. The system says
    who a process's children are, and may leave one out whose sibling ends just then. So where none is left by that, all
    processes are looked at, which takes time where there are thousands.

    Args:
        directory: The directory of the server whose processes are meant.
    """
    return _alive_below(directory, _children) or _alive_below(directory, _parents().__getitem__)


def _alive_below(directory: str, children: Callable[[int], list[int]]) -> dict[int, int]:
    own = os.fsencode(directory)
    found: dict[int, int] = {}
    seen = {os.getpid()}
    to_see = children(os.getpid())
    while to_see:
        pid = to_see.pop()
        if pid not in seen and _mark(pid) in (None, own, own + b"/supervisor"):
            seen.add(pid)
            to_see += children(pid)
            with contextlib.suppress(OSError):
                state, _, group = _stat(pid)
                if state not in b"ZX":
                    found[pid] = int(group)
    return found


def _children(pid: int) -> list[int]:
    """The children of a process, as the system says; none where it does not."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def _parents() -> collections.defaultdict[int, list[int]]:
    """The children of each process, by what all processes say of their parents."""
    found = collections.defaultdict[int, list[int]](list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                found[int(_stat(int(name))[1])].append(int(name))
    return found


def _stat(pid: int) -> list[bytes]:
    """The state of a process, its parent and its group."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[:3]


def _mark(pid: int) -> bytes | None:
    """Which server a process belongs to by its environment; `None` where that does not say."""
    name = MARKER.encode() + b"="
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        for variable in file.read().split(b"\0"):
            if variable.startswith(name):
                return variable.removeprefix(name)
    return None
