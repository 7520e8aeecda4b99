"""Owners: who is responsible for a lease."""

from __future__ import annotations

from anyio import get_current_task


class TaskOwner:
    """The current task; holds its coroutine, so that the identity is never used again."""

    __slots__ = ("_coroutine", "_name")

    def __init__(self) -> None:
        task = get_current_task()
        self._coroutine: object = task.coro
        self._name = task.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskOwner) and self._coroutine is other._coroutine

    def __hash__(self) -> int:
        return id(self._coroutine)

    def __str__(self) -> str:
        return f"task {self._name}"


class Preloading:
    """Nobody's task is responsible for the lease: its resource is opened ahead."""

    def __str__(self) -> str:
        return "nobody yet"
