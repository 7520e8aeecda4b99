"""How many rows are evaluated at once: as many as was said, or as many as the server takes.

The adaptive limit grows by one for every round of good answers (at the start it doubles, until the server first
complains), and is halved when the server is overloaded. Many requests in flight complain about the same overload: only
one that was *sent after* the last cut leads to the next one, so no clock has to decide when an episode is over.

Whoever has to wait keeps its place meanwhile. If it gave it back, the next row would be refused as well, and so on,
until hundreds wait and come again all at once. Where the server says how long to wait, nobody asks it before.
"""

from __future__ import annotations

import math
from random import uniform
from typing import Literal, TypeAlias

from anyio import CapacityLimiter, current_time, sleep

Concurrency: TypeAlias = int | Literal["adaptive"]
"""How many rows are evaluated at once: a number, or ``"adaptive"``."""

DEFAULT = 10
"""How many, where nobody says so."""
_MOST = 256
_FIRST = 8
_MOMENT, _LONGEST_SPREAD = 1.0, 30.0


class Limit:
    """A fixed limit.

    Args:
        most: How many at once.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limiter = CapacityLimiter(most)
        self._holders: set[object] = set()
        self.epoch = 0
        """Counts the cuts."""
        self._closed_until = -math.inf
        self._last_success = -math.inf

    @property
    def now(self) -> int:
        """How many at once at present."""
        return int(self.limiter.total_tokens)

    def in_flight(self) -> int:
        """How many have a place."""
        return len(self._holders)

    async def acquire(self, borrower: object) -> None:
        """Wait for a place, and until the server may be asked."""
        await self.limiter.acquire_on_behalf_of(borrower)
        self._holders.add(borrower)
        try:
            await self._until_open()
        except BaseException:
            self.release(borrower)
            raise

    def release(self, borrower: object) -> None:
        """Give the place back, if there is one."""
        if borrower in self._holders:
            self._holders.discard(borrower)
            self.limiter.release_on_behalf_of(borrower)

    async def pause(self, seconds: float) -> None:
        """Wait before another attempt, with the place kept: as long as that, and until the server may be asked."""
        await sleep(seconds)
        await self._until_open()

    async def wait_as_told(self, retry_after: float, refusals: int) -> None:
        """Wait as long as the server says, and some more, or all who wait would come again at the same moment.

        A server that hands out requests one by one says when the next one is free, to everybody: so those who wait
        share the time that it takes to serve them all. One whose minute is over serves all of them at once: so it is
        not more than a second at first, and twice as much each time that somebody is refused again. Nor is what a
        server says believed for ever: who is refused again and again waits longer all the same.

        Args:
            retry_after: How long the server asks to wait, in seconds.
            refusals: How often the row was refused.
        """
        again = min(refusals - 1, 20)
        share = retry_after * self.in_flight() * 2.0 ** max(0, again - 5)
        spread = min(share, 2.0**again, _LONGEST_SPREAD)
        await self.pause(retry_after + uniform(0, spread))  # noqa: S311

    def succeeded(self) -> None:
        """The server has answered."""
        self._last_success = current_time()

    def overloaded(self, epoch: int, retry_after: float | None) -> None:
        """The server has complained.

        Args:
            epoch: The epoch in which the request was sent.
            retry_after: How long the server asks to wait, in seconds.
        """
        if retry_after:
            self._closed_until = max(self._closed_until, current_time() + retry_after)

    def has_succeeded_since(self, time: float) -> bool:
        """Whether the server has answered anybody since then."""
        return self._last_success >= time

    async def _until_open(self) -> None:
        """Wait until the server wants to be asked again; then all come in the course of a moment."""
        while (wait := self._closed_until - current_time()) > 0:  # noqa: ASYNC110 - it may be moved meanwhile
            await sleep(wait + uniform(0, min(_MOMENT, wait / 10)))  # noqa: S311


class AdaptiveLimit(Limit):
    """A limit that finds out what the server takes.

    Args:
        most: It does not grow beyond this.
        first: Where it begins.
    """

    def __init__(self, most: int = _MOST, first: int = _FIRST) -> None:
        super().__init__(most)
        self._exact = float(min(first, most))
        self._has_complained = False
        self._apply()

    def succeeded(self) -> None:
        """Grow, where the limit was the reason that there were not more."""
        super().succeeded()
        if self.limiter.available_tokens <= 1:
            self._exact = min(self.most, self._exact + (1 / self._exact if self._has_complained else 1))
            self._apply()

    def overloaded(self, epoch: int, retry_after: float | None) -> None:
        """Halve the limit, once for each overload, and ask nothing before the server wants to be asked."""
        super().overloaded(epoch, retry_after)
        self._has_complained = True
        if epoch == self.epoch:
            self.epoch += 1
            self._exact = max(1.0, self._exact / 2)
            self._apply()

    def _apply(self) -> None:
        if int(self._exact) != self.limiter.total_tokens:
            self.limiter.total_tokens = int(self._exact)


def limit_of(concurrency: Concurrency | None, own: int | None) -> Limit:
    """The limit for one run of an evaluation.

    Args:
        concurrency: What the run says.
        own: What the evaluation says.

    Raises:
        ValueError: The number is less than 1.
    """
    if concurrency == "adaptive":
        return AdaptiveLimit(own or _MOST)
    chosen = concurrency if concurrency is not None else own or DEFAULT
    if chosen < 1:
        raise ValueError(f"concurrency is a number of at least 1, or 'adaptive', not {chosen!r}")
    return Limit(chosen)
