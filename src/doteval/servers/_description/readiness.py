"""When a server is ready: conditions that are waited for, and that combine with ``&`` and ``|``.

They look again and again, as no server tells. The pauses are so short that readiness is noticed within 30 ms in the
middle, and so long that looking takes 1 % of a processor while a model loads for minutes.
"""

from __future__ import annotations

import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
from anyio.lowlevel import checkpoint

from ..._printed import text_of
from .command import LOOPBACK
from .log_reader import LogReader
from .output import plain

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.02

_LONGEST_LINE = 1 << 16
_LINE_END = re.compile(r"\r\n|\n|\r")

_READY = "ready"


@dataclass(frozen=True, slots=True)
class ReadinessView:
    """What a condition gets to see of the server that is starting.

    Args:
        port: Where it is going to listen.
        log_path: Where its output goes; ``server.log`` becomes ``server.log.1`` when it is full.
        api_key: What it wants to be shown by its clients; `None` if nothing.
        pid: Its process.
        host: The address it is going to listen at.
        seen: What each condition saw when it last looked.
    """

    port: int
    log_path: Path
    api_key: str | None = field(default=None, repr=False)
    pid: int | None = None
    host: str = LOOPBACK
    seen: dict[Readiness, str] = field(default_factory=dict["Readiness", str], repr=False, compare=False)

    @property
    def base_url(self) -> str:
        """Where it is going to answer, such as ``http://127.0.0.1:40001``."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Readiness(ABC):
    """A condition that a server meets when it is ready; ``a & b`` is met when both are, ``a | b`` when one is.

    A condition keeps nothing of a wait in itself: the same object can serve many waits at once. It has to be hashable.
    """

    __slots__ = ()

    @abstractmethod
    async def wait(self, server: ReadinessView, /) -> None:
        """Return when the condition is met.

        There is no limit: whoever waits sets one. Cancelling leaves nothing open. It always checkpoints.
        """

    @abstractmethod
    def awaited(self, server: ReadinessView, /) -> str:
        """What is waited for, and what was seen last: ``"GET /health to answer 200; it answers 503"``."""

    def __and__(self, other: Readiness) -> Readiness:
        return _All(self, other)

    def __or__(self, other: Readiness) -> Readiness:
        return _Any(self, other)


@dataclass(frozen=True, slots=True)
class PortOpen(Readiness):
    """The server accepts connections.

    Args:
        timeout: How long one attempt may take, in seconds.
    """

    timeout: float = 5.0

    async def wait(self, server: ReadinessView, /) -> None:
        """Return when a connection was accepted; it is closed at once."""
        await _until(lambda: _accepts(server, self, self.timeout))

    def awaited(self, server: ReadinessView, /) -> str:
        return _with(f"port {server.port} to accept connections", server.seen.get(self))


@dataclass(frozen=True, slots=True)
class HTTPReady(Readiness):
    """The server answers a GET request with a status.

    Args:
        path: What is asked for, such as ``"/health"``.
        status: The status that means ready.
        with_api_key: Whether the request shows the server's API key. With a path that needs it, a foreign server that
            happens to listen at the port is not taken for this one.
        timeout: How long one request may take, in seconds; then the next one is sent.
    """

    path: str = "/health"
    status: int = 200
    with_api_key: bool = False
    timeout: float = 5.0

    async def wait(self, server: ReadinessView, /) -> None:
        """Return when the answer has the status."""
        # A connection takes a third of the time that a request does, and for most of a start nobody listens.
        await _until(lambda: _accepts(server, self, self.timeout))
        headers = {"Authorization": f"Bearer {server.api_key}"} if self.with_api_key and server.api_key else {}
        async with httpx.AsyncClient(
            base_url=server.base_url,
            headers=headers,
            timeout=None,  # noqa: S113 - the whole request has one
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loading certificates that nobody needs takes 50 ms
        ) as client:

            async def answers() -> bool:
                with anyio.move_on_after(self.timeout) as limit:
                    try:
                        answer = await client.get(self.path)
                    except httpx.TransportError as exc:
                        server.seen[self] = f"the connection fails ({type(exc).__name__})"
                    else:
                        server.seen[self] = f"it answers {answer.status_code}"
                        return answer.status_code == self.status
                if limit.cancelled_caught:
                    server.seen[self] = f"no answer within {self.timeout:g} s"
                return False

            await _until(answers)

    def awaited(self, server: ReadinessView, /) -> str:
        return _with(f"GET {self.path} to answer {self.status}", server.seen.get(self))


@dataclass(frozen=True, slots=True)
class LogLine(Readiness):
    """The server has printed a line.

    Args:
        pattern: A regular expression that is found somewhere in the line; colours do not matter.
    """

    pattern: str

    def __post_init__(self) -> None:
        re.compile(self.pattern)  # what is wrong with it is said now

    async def wait(self, server: ReadinessView, /) -> None:
        """Return when there is such a line; one that is there already counts."""
        pattern = re.compile(self.pattern)
        rest = ""
        with closing(LogReader(server.log_path)) as log:

            async def printed() -> bool:
                nonlocal rest
                # In this thread: what was just written is in memory, and a worker thread would take longer.
                while text := log.read():
                    lines = _LINE_END.split(rest + text)
                    if any(pattern.search(plain(line)) for line in lines):
                        return True
                    rest = lines[-1][-_LONGEST_LINE:]
                    await checkpoint()
                return False

            await _until(printed)

    def awaited(self, server: ReadinessView, /) -> str:
        return f"a line of output that matches {self.pattern!r}"


@dataclass(frozen=True, slots=True)
class ReadyWhen(Readiness):
    """A function says so.

    Args:
        function: It is called again and again until it returns something true. An `OSError` or an error of the
            connection from httpx means "not yet"; any other exception ends the wait.
        timeout: How long one call may take, in seconds; then it is cancelled and called again.
    """

    function: Callable[[ReadinessView], Awaitable[object]]
    timeout: float = 30.0

    async def wait(self, server: ReadinessView, /) -> None:
        """Return when the function returned something true."""

        async def agrees() -> bool:
            with anyio.move_on_after(self.timeout) as limit:
                try:
                    answer = await self.function(server)
                except (OSError, httpx.TransportError) as exc:
                    server.seen[self] = f"it raised {type(exc).__name__}: {text_of(exc)}"
                else:
                    server.seen[self] = f"it returned {answer!r}"
                    return bool(answer)
            if limit.cancelled_caught:
                server.seen[self] = f"it took longer than {self.timeout:g} s"
            return False

        await _until(agrees)

    def awaited(self, server: ReadinessView, /) -> str:
        name = getattr(self.function, "__qualname__", repr(self.function))
        return _with(f"{name}() to return something true", server.seen.get(self))


@dataclass(frozen=True, slots=True)
class _All(Readiness):
    first: Readiness
    second: Readiness

    async def wait(self, server: ReadinessView, /) -> None:
        """Return when both are met; both are looked at from the start."""
        await _both(server, self.first, self.second, one_is_enough=False)

    def awaited(self, server: ReadinessView, /) -> str:
        open_ones = [one for one in (self.first, self.second) if server.seen.get(one) != _READY]
        return " and ".join(_inner(one, server) for one in open_ones)


@dataclass(frozen=True, slots=True)
class _Any(Readiness):
    first: Readiness
    second: Readiness

    async def wait(self, server: ReadinessView, /) -> None:
        """Return when one is met; the other one is cancelled."""
        await _both(server, self.first, self.second, one_is_enough=True)

    def awaited(self, server: ReadinessView, /) -> str:
        return " or ".join(_inner(one, server) for one in (self.first, self.second))


async def _both(server: ReadinessView, first: Readiness, second: Readiness, *, one_is_enough: bool) -> None:
    problem: Exception | None = None
    met = False

    async def wait(condition: Readiness) -> None:
        nonlocal problem, met
        try:
            await condition.wait(server)
        except Exception as exc:  # raised below, as it is, and not in a group
            problem = exc if problem is None else problem
            task_group.cancel_scope.cancel()
        else:
            server.seen[condition] = _READY
            if one_is_enough:
                met = True
                task_group.cancel_scope.cancel()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(wait, first)
        task_group.start_soon(wait, second)
    if problem is not None and not met:
        raise problem


async def _accepts(server: ReadinessView, condition: Readiness, timeout: float) -> bool:  # noqa: ASYNC109
    with anyio.move_on_after(timeout) as limit:
        try:
            async with await anyio.connect_tcp(server.host, server.port):
                return True
        except OSError:
            server.seen[condition] = f"port {server.port} refuses connections"
    if limit.cancelled_caught:
        server.seen[condition] = f"port {server.port} takes no connection within {timeout:g} s"
    return False


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    await checkpoint()
    pause = _FIRST_PAUSE
    while not await condition():
        await anyio.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _with(awaited: str, seen: str | None) -> str:
    return f"{awaited}; {seen}" if seen else awaited


def _inner(condition: Readiness, server: ReadinessView) -> str:
    awaited = condition.awaited(server)
    return f"({awaited})" if isinstance(condition, (_All, _Any)) else awaited
