"""Owners: who is responsible for a lease."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from .._caller import served_by
from .inside import Inside

resource_here: ContextVar[Inside | None] = ContextVar("doteval_inside", default=None)
"""The resource in whose task, or a child of it, this is; so that what it leases is known to be leased by it."""


class Owner:
    """The current task, or the thread that it does something for.

    Holds its coroutine, so that the identity is never used again.

    Args:
        task_here: As of `HomeLoop`.
    """

    __slots__ = ("_name", "_who", "caller", "inside")

    def __init__(self, task_here: Callable[[], tuple[object, str]]) -> None:
        coroutine, self._name = task_here()
        self.caller = served_by(coroutine)
        """The thread."""
        self._who = coroutine if self.caller is None else self.caller
        self.inside = resource_here.get()

    @property
    def is_sure(self) -> bool:
        """Whether it certainly is the one who holds what it owns."""
        return self.caller is None or self.caller.is_in_block

    @property
    def is_passed_on(self) -> bool:
        """Whether somebody else seems to hold what it owns by now."""
        return self.caller is not None and self.caller.is_passed_on

    @property
    def is_over(self) -> bool:
        """Whether it is a task that has ended, as that of a cell of a notebook."""
        return self.caller is None and getattr(self._who, "cr_frame", self) is None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Owner) and self._who == other._who

    def __hash__(self) -> int:
        return hash(self._who)

    def __str__(self) -> str:
        return str(self.caller or f"task {self._name}{', which has ended' if self.is_over else ''}")


class Preloading:
    """Nobody's task is responsible for the lease: its resource is opened ahead."""

    def __str__(self) -> str:
        return "nobody yet"
