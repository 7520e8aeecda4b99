"""``Turn``: a place among the openings that run at once, which one that waits for another opening lends to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio import Event


class Turns:
    """The places, which are taken in order of arrival.

    Args:
        most: How many there are.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: dict[Event, None] = {}

    def take(self) -> None:
        """Take one, free or not; where it is not, nobody else gets one until as many are free again."""
        self._free -= 1

    async def wait(self) -> None:
        """Take one when it is free; where it is, that takes no turn of the event loop."""
        if self._free > 0:
            self.take()
            return
        is_mine = Event()
        self._waiting[is_mine] = None
        try:
            await is_mine.wait()
        except BaseException:
            if self._waiting.pop(is_mine, self) is self:
                self.give_back()
            raise

    def give_back(self) -> None:
        """Let the next one have it."""
        self._free += 1
        if self._free > 0 and self._waiting:
            self.take()
            is_theirs = next(iter(self._waiting))
            del self._waiting[is_theirs]
            is_theirs.set()


class Turn:
    """One opening's place.

    Args:
        turns: All places.
    """

    __slots__ = ("_has_one", "_is_over", "_lent", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._has_one = False
        self._lent = 0
        self._is_over = False

    async def begin(self) -> None:
        """Wait for the turn."""
        await self._turns.wait()
        if self._is_missing:
            self._has_one = True
        else:  # of two that have come back, the other one was sooner
            self._turns.give_back()

    def end(self) -> None:
        """The opening is over."""
        self._is_over = True
        self._give_back()

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[None]:
        """Let other openings have it meanwhile, or those that are waited for here might never get one."""
        self._lent += 1
        self._give_back()
        try:
            yield
        except BaseException:
            self._lent -= 1
            self._take_at_once()
            raise
        self._lent -= 1
        if self._is_missing:  # else it is there, or somebody else still has it on loan
            try:
                await self.begin()
            except BaseException:
                self._take_at_once()
                raise

    @property
    def _is_missing(self) -> bool:
        return not (self._lent or self._is_over or self._has_one)

    def _take_at_once(self) -> None:
        """Have the turn again, whoever has it now: who is cancelled cannot wait for it, and may go on nevertheless."""
        if self._is_missing:
            self._turns.take()
            self._has_one = True

    def _give_back(self) -> None:
        if self._has_one:
            self._has_one = False
            self._turns.give_back()
