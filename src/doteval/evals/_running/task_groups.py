"""``TaskGroups``: a task for each attempt of a row, which reaches no other with what it leaves open.

An async generator that is left with ``break`` leaves open what it has around its ``yield``: a timeout, or a task group.
Its task then ends out of order, for which the event loop ends the whole task group that the task is in. One of its own
for each attempt would cost a fifth of what a row costs. So there are as many as are needed at once, each held by a task
that does nothing else, and used again until it breaks.

Each task begins in a copy of the context in which these were made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Generic, TypeVar

from anyio import Event, create_task_group
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled

from .._escapes import INTERRUPTS, ends_the_run, raise_own_cancellation

T = TypeVar("T")


class TaskGroups(Generic[T]):
    """Task groups within another one, of the run; made in the task that has that open.

    Args:
        outer: The other one.
        run: Is called in a task of its own with what it works on. It raises only where that is cancelled.
        broke: Is called when that task has broken its task group, with what it was at if it was not done, and else with
            what it had been at last.
        ends: What ends the run.
    """

    def __init__(
        self,
        outer: TaskGroup,
        run: Callable[[T], Awaitable[None]],
        broke: Callable[[T, bool], None],
        ends: tuple[type[BaseException], ...] = INTERRUPTS,
    ) -> None:
        self._outer = outer
        self._function = run
        self._broke = broke
        self._ends = ends
        self._context = copy_context()
        self._free: deque[_Group[T]] = deque()
        self._left = Event()
        self._turn = 0
        self._beginning = 0
        """How many were made and have not begun: what is done in one that is free would overtake these."""

    def start(self, work: T) -> None:
        """Do it in one that is free; between two calls there is a checkpoint.

        There are event loops that tell of the end of a task a turn later: until then, what was given back may be
        broken. So what was given back since the last call is left for the next.
        """
        self._turn += 1
        while not self._beginning and self._free and self._free[0].turn < self._turn - 1:
            group = self._free.popleft()
            if not group.tasks.cancel_scope.cancel_called:
                group.work, group.is_done = work, False
                self._context.copy().run(group.tasks.start_soon, self._run, group)
                return
        self._beginning += 1
        self._context.copy().run(self._outer.start_soon, self._hold, _Group[T](work))

    def start_apart(self, work: T) -> None:
        """Do it in one that is used for nothing else; at any time, also of a task that may break its own."""
        self._context.copy().run(self._outer.start_soon, self._hold, _Group[T](work, is_used_once=True))

    def leave(self) -> None:
        """Nothing more is started but apart; the tasks end when theirs are done."""
        self._left.set()

    async def _hold(self, group: _Group[T]) -> None:
        """Keep a task group open, until it breaks or is not needed any more."""
        try:
            async with create_task_group() as group.tasks:
                group.tasks.start_soon(self._run, group)
                if not group.is_used_once:
                    await self._left.wait()
        except BaseException as exc:
            await raise_own_cancellation(exc, is_rows_task=True)
            if ends_the_run(exc, self._ends):
                raise
        else:
            if not group.tasks.cancel_scope.cancel_called:
                return
            await checkpoint_if_cancelled()
        if group in self._free:
            self._free.remove(group)
        self._broke(group.work, group.is_done)

    async def _run(self, group: _Group[T]) -> None:
        if not (group.turn or group.is_used_once):
            self._beginning -= 1
        await self._function(group.work)
        group.is_done = True
        if not group.is_used_once:
            group.turn = self._turn
            self._free.append(group)


class _Group(Generic[T]):
    """One of them.

    Args:
        work: What is done in it, or was last.
        is_used_once: Whether that is all.
    """

    __slots__ = ("is_done", "is_used_once", "tasks", "turn", "work")

    tasks: TaskGroup

    def __init__(self, work: T, *, is_used_once: bool = False) -> None:
        self.work = work
        self.is_used_once = is_used_once
        self.is_done = False
        self.turn = 0
        """When it was given back: after how many calls of `TaskGroups.start`."""
