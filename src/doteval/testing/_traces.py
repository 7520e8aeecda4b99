"""``Traces``: the tasks, file descriptors, threads and processes there are, to find what somebody has left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Self

from anyio import get_running_tasks, move_on_after, sleep

_DESCRIPTORS = Path("/proc/self/fd")
_OWN_THREADS = Path("/proc/self/task")
_POOLED = ("AnyIO worker thread", "asyncio_", "Trio thread")
"""Threads of the event loop, which keeps them to use them again."""
GRACE = 1.0
"""How long what is ending anyway may take, in seconds; only waited for where something is left."""


class Traces:
    """What there is now.

    Args:
        rounds: How often what is looked at is going to be done; of a single one too many, something else may be why.
    """

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._before = {kind: look() for kind, look in _KINDS.items()}

    async def left(self, *kinds: str) -> list[str]:
        """What is left since then, by name, of each kind of which there is as much as rounds.

        Args:
            kinds: ``"tasks"``, ``"descriptors"``, ``"threads"``, ``"processes"``; where nothing is said, all of them.
        """
        return [name for kind in kinds or _KINDS for name in await self._left(kind)]

    async def _left(self, kind: str) -> list[str]:
        with move_on_after(GRACE):
            while len(self._new(kind)) >= self._rounds:  # noqa: ASYNC110 - nobody tells
                await sleep(0.001)
        names = self._new(kind)
        return names if len(names) >= self._rounds else []

    def _new(self, kind: str) -> list[str]:
        before = self._before[kind]
        return [name for key, name in _KINDS[kind]().items() if key not in before]

    @classmethod
    def of_one(cls) -> Self:
        """Where a single one is too many."""
        return cls(1)


def _tasks() -> dict[Hashable, str]:
    found: dict[Hashable, str] = {}
    for task in get_running_tasks():
        name, runs = str(task.name), str(getattr(task.coro, "__qualname__", ""))
        found[task.id] = name if not runs or runs in name else f"{name} of {runs}()"
    return found


def _descriptors() -> dict[Hashable, str]:
    """What each descriptor stands for; nothing where the system does not say."""
    found: dict[Hashable, str] = {}
    for number in _listed(_DESCRIPTORS):
        try:
            target = os.readlink(_DESCRIPTORS / number)  # noqa: PTH115 - as text
        except OSError:
            continue  # the one that listed them
        found[number, target] = target
    return found


def _threads() -> dict[Hashable, str]:
    return {thread: f"thread {thread.name}" for thread in threading.enumerate() if not thread.name.startswith(_POOLED)}


def _processes() -> dict[Hashable, str]:
    """The children of this process by what they run; nothing where the system does not say."""
    found: dict[Hashable, str] = {}
    for thread in _listed(_OWN_THREADS):
        try:
            children = (_OWN_THREADS / thread / "children").read_text("ascii").split()
        except OSError:
            continue  # it has just ended
        found.update((pid, _command(pid)) for pid in children)
    return found


def _command(pid: str) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        command = b""
    words = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return f"process {pid} ({words or 'ended, and nobody has waited for it'})"


def _listed(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 - the descriptor of iterdir() would be among them
    except OSError:
        return []


_KINDS: Mapping[str, Callable[[], dict[Hashable, str]]] = {
    "tasks": _tasks,
    "descriptors": _descriptors,
    "threads": _threads,
    "processes": _processes,
}
