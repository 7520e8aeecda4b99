"""``Traces``: the tasks and file descriptors there are, to find those that somebody has left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from anyio import get_running_tasks, move_on_after, sleep

_DESCRIPTORS = Path("/proc/self/fd")
GRACE = 1.0
"""How long what is ending anyway may take, in seconds; only waited for where something is left."""


class Traces:
    """What there is now.

    Args:
        rounds: How often what is looked at is going to be done; of a single one too many, something else may be why.
    """

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._tasks = {task.id for task in get_running_tasks()}
        self._descriptors = _descriptors()

    async def left_tasks(self) -> list[str]:
        """The names of the tasks that are left since then, where there are as many as rounds."""
        with move_on_after(GRACE):
            while len(self._new_tasks()) >= self._rounds:  # noqa: ASYNC110 - nobody tells
                await sleep(0.001)
        names = self._new_tasks()
        return names if len(names) >= self._rounds else []

    async def left_descriptors(self) -> list[str]:
        """What the file descriptors stand for that are left since then, where there are as many as rounds."""
        with move_on_after(GRACE):
            while len(self._new_descriptors()) >= self._rounds:  # noqa: ASYNC110 - nobody tells
                await sleep(0.001)
        found = self._new_descriptors()
        return found if len(found) >= self._rounds else []

    def _new_tasks(self) -> list[str]:
        return [str(task.name) for task in get_running_tasks() if task.id not in self._tasks]

    def _new_descriptors(self) -> list[str]:
        now = _descriptors()
        return [target for number, target in now.items() if self._descriptors.get(number) != target]

    @classmethod
    def of_one(cls) -> Self:
        """Where a single one is too many."""
        return cls(1)


def _descriptors() -> dict[str, str]:
    """What each descriptor stands for; nothing where the system does not say."""
    found: dict[str, str] = {}
    try:
        numbers = os.listdir(_DESCRIPTORS)  # noqa: PTH208 - the descriptor of iterdir() would be among them
    except OSError:
        return found
    for number in numbers:
        try:
            found[number] = os.readlink(_DESCRIPTORS / number)  # noqa: PTH115 - as text
        except OSError:
            continue  # the one that listed them
    return found
