"""How a server is put to sleep, so that another one can have its slots, and woken up again.

One that sleeps has given back what is scarce, mostly the memory of a GPU, and goes on. To wake it takes a fraction of
what a start does.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any, Self

import anyio
import httpx

from .readiness import ReadinessView

SECONDS = 60.0
"""How long it may take to fall asleep, and to wake up, where nobody says otherwise: whoever needs the slot waits."""

_PAUSE = 0.02


class Sleep(ABC):
    """What puts a server to sleep and wakes it up; whatever it raises, the server is stopped, or started, instead."""

    __slots__ = ()

    timeout: float
    """How long either may take, in seconds."""

    def within(self, seconds: float) -> Self:
        """The same with another time that either may take, in seconds."""
        other = copy(self)
        object.__setattr__(other, "timeout", seconds)
        return other

    @abstractmethod
    async def sleep(self, server: ReadinessView, /) -> None:
        """Return when the server sleeps; nobody leases it."""

    @abstractmethod
    async def wake(self, server: ReadinessView, /) -> None:
        """Return when the server is awake; it has its slots."""


@dataclass(frozen=True, slots=True)
class HTTPSleep(Sleep):
    """Two POST requests, by default those of vLLM. Whichever program needs the slots sends them.

    Args:
        sleep_path: What is asked for to put it to sleep.
        wake_path: What is asked for to wake it up.
        state_path: What answers a GET request with ``{"is_sleeping": true}`` or false, and is waited for; `None`: the
            answer to the POST request says enough.
        timeout: How long either may take, in seconds.
    """

    sleep_path: str = "/sleep?level=1"
    wake_path: str = "/wake_up"
    state_path: str | None = None
    timeout: float = SECONDS

    async def sleep(self, server: ReadinessView, /) -> None:
        """Send the one, and wait until the server sleeps."""
        await self._switch(server, self.sleep_path, is_sleeping=True)

    async def wake(self, server: ReadinessView, /) -> None:
        """Send the other, and wait until it does not."""
        await self._switch(server, self.wake_path, is_sleeping=False)

    async def _switch(self, server: ReadinessView, path: str, *, is_sleeping: bool) -> None:
        headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
        async with httpx.AsyncClient(
            base_url=server.base_url,
            headers=headers,
            timeout=None,  # noqa: S113 - whoever calls this has one
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loading certificates that nobody needs takes 50 ms
        ) as client:
            _check(await client.post(path))
            while self.state_path is not None:
                state = _check(await client.get(self.state_path)).json()
                if bool(state["is_sleeping"]) is is_sleeping:
                    break
                await anyio.sleep(_PAUSE)

    def told(self) -> dict[str, Any]:
        """The same as JSON, for other programs."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SleepWith(Sleep):
    """Two async functions of yours. A program that has not used the server does not know them, and stops it instead.

    Args:
        to_sleep: Returns when the server sleeps.
        to_wake: Returns when it is awake.
        timeout: How long either may take, in seconds.
    """

    to_sleep: Callable[[ReadinessView], Awaitable[object]]
    to_wake: Callable[[ReadinessView], Awaitable[object]]
    timeout: float = SECONDS

    async def sleep(self, server: ReadinessView, /) -> None:
        """Call the one."""
        await self.to_sleep(server)

    async def wake(self, server: ReadinessView, /) -> None:
        """Call the other."""
        await self.to_wake(server)


def _check(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        asked = f"{answer.request.method} {answer.request.url.raw_path.decode()}"
        raise RuntimeError(f"{asked} is answered with {answer.status_code}: {answer.text[:200]}")
    return answer


def sleep_told(told: Mapping[str, Any] | None) -> Sleep | None:
    """What another program has told of a server; `None` where it cannot be put to sleep from here."""
    return None if told is None else HTTPSleep(**told)
