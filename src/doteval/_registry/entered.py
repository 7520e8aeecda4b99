"""A provider whose ``async with`` does something of its own, and the one task that enters and exits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio import Event

from .._handle import CLOSE_TIMEOUT
from .._pool.resource import Resource
from .._pool.turn import Turns
from .._provider import ModelProvider


class EnteredProvider:
    """The life of one provider inside its own ``async with``.

    Args:
        name: The provider's name, for messages.
        provider: The provider, not entered yet.
        on_opened: Called when it was entered.
        on_ended: Called when the task is over, whether it was entered or not; `error` says what went wrong.
    """

    def __init__(
        self,
        name: str,
        provider: ModelProvider[Any],
        on_opened: Callable[[], object],
        on_ended: Callable[[EnteredProvider], object],
    ) -> None:
        self.settled = Event()
        """It is known whether it could be entered."""
        self.is_open = False
        self.was_open = False
        self.error: BaseException | None = None
        self._opened = on_opened
        self._ended = on_ended
        self._resource = Resource(
            lambda: provider,
            self,
            healthy=_always_healthy,
            label=name,
            opens=Turns(1),
            close_timeout=getattr(provider, "close_timeout", CLOSE_TIMEOUT),
            health_timeout=CLOSE_TIMEOUT,  # nobody asks
        )

    async def run(self) -> None:
        """The task."""
        await self._resource.run()

    async def close(self) -> None:
        """Exit it, or call off the entering, and wait until that is done."""
        if self.is_open:
            self._resource.close()
        else:
            self._resource.abort()
        await self._resource.done.wait()

    def give_up(self) -> None:
        """Call off the entering or exiting, or what is in between, and do not wait for it."""
        self._resource.abort()
        self._resource.call_off()

    # ---------------------------------------------------------------- ResourceListener

    def on_opened(self) -> None:
        """It was entered."""
        self.is_open = self.was_open = True
        self._opened()
        self.settled.set()

    def on_checked(self, healthy: bool, /) -> None:
        """Nobody asks for its health."""

    def on_check_raised(self, error: BaseException, /) -> None:
        """Nobody asks for its health."""

    def on_losing(self, error: BaseException | None, /) -> None:
        """Something inside it broke; it is being exited."""
        self.is_open = False

    def on_ended(self, error: BaseException | None, /) -> None:
        """The task is over."""
        self.is_open = False
        self.error = error
        self._ended(self)
        self.settled.set()


async def _always_healthy(_provider: object) -> bool:
    return True
