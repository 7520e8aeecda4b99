"""``Turn``: a place among the openings that run at once, which one that waits for another opening lends to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from anyio import CapacityLimiter, WouldBlock


class Turn:
    """One opening's place.

    Args:
        limiter: Says how many openings run at once.
    """

    __slots__ = ("_borrower", "_is_over", "_lent", "_limiter")

    def __init__(self, limiter: CapacityLimiter) -> None:
        self._limiter = limiter
        self._borrower: object | None = None
        self._lent = 0
        self._is_over = False

    async def begin(self) -> None:
        """Wait for the turn."""
        borrower = object()  # a new one each time, as two may come back at once
        if self._limiter.available_tokens:
            self._limiter.acquire_on_behalf_of_nowait(borrower)  # takes no turn of the event loop
        else:
            await self._limiter.acquire_on_behalf_of(borrower)
        if self._lent or self._is_over or self._borrower is not None:
            self._limiter.release_on_behalf_of(borrower)
        else:
            self._borrower = borrower

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
        await self.resume()

    async def resume(self) -> None:
        """Wait for the turn again after it was lent, unless it is there or somebody else still has it on loan."""
        if self._is_missing:
            await self.begin()

    @property
    def _is_missing(self) -> bool:
        return not self._lent and not self._is_over and self._borrower is None

    def _take_at_once(self) -> None:
        """Have the turn again where it is free: who is cancelled cannot wait for it."""
        if self._is_missing:
            borrower = object()
            with suppress(WouldBlock):
                self._limiter.acquire_on_behalf_of_nowait(borrower)
                self._borrower = borrower

    def _give_back(self) -> None:
        if self._borrower is not None:
            self._limiter.release_on_behalf_of(self._borrower)
            self._borrower = None
