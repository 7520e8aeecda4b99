"""Owners: who is responsible for a lease."""

from __future__ import annotations

from contextvars import ContextVar

from anyio import get_current_task

from .inside import Inside

resource_here: ContextVar[Inside | None] = ContextVar("doteval_inside", default=None)
"""The resource in whose task, or a child of it, this is; so that what it leases is known to be leased by it."""


class TaskOwner:
    """The current task; holds its coroutine, so that the identity is never used again."""

    __slots__ = ("_coroutine", "_name", "inside")

    def __init__(self) -> None:
        task = get_current_task()
        self._coroutine: object = task.coro
        self._name = task.name
        self.inside = resource_here.get()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskOwner) and self._coroutine is other._coroutine

    def __hash__(self) -> int:
        return id(self._coroutine)

    def __str__(self) -> str:
        return f"task {self._name}"


def owner_here(*, is_limited: bool) -> TaskOwner | None:
    """Who is responsible for a lease that is taken now; `None` where nobody will ask.

    Args:
        is_limited: Whether somebody may wait for the owner.
    """
    return TaskOwner() if is_limited or resource_here.get() is not None else None


class Preloading:
    """Nobody's task is responsible for the lease: its resource is opened ahead."""

    def __str__(self) -> str:
        return "nobody yet"
