"""What the tests of `ServerProvider` share: commands for the light server, events to wait for, other processes."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio
import httpx
from anyio import to_thread
from tests.forks import Forks

from doteval import PoolEvent
from doteval.servers import Server

PATIENCE = 60.0
"""How long anything may take, in seconds; only ever waited for where something is wrong."""

KEYED = {"LIGHT_KEY": "{api_key}"}
"""The secret environment with which the light server wants to see its key."""

_HERE = Path(__file__).parent


def light(*options: str) -> list[str]:
    """The command of a light server; `options` as in ``light_service.OPTIONS``."""
    return [sys.executable, "-I", "-S", str(_HERE / "light_server.py"), "{port}", "model={spec}", *options]


class Events:
    """What a provider reports: an ``on_event`` that can be waited for."""

    def __init__(self) -> None:
        self.all: list[PoolEvent] = []
        self._more = anyio.Event()

    def __call__(self, event: PoolEvent) -> None:
        self.all.append(event)
        self._more.set()
        self._more = anyio.Event()

    def of(self, kind: str) -> list[PoolEvent]:
        """Those of one kind, oldest first."""
        return [event for event in self.all if event.kind == kind]

    async def until(self, kind: str, count: int = 1) -> PoolEvent:
        """Wait for the `count`-th event of a kind."""
        with anyio.fail_after(PATIENCE):
            while len(self.of(kind)) < count:
                await self._more.wait()
        return self.of(kind)[count - 1]


async def get(server: Server, path: str) -> Any:
    """What the light server answers."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as client:
        return (await client.get(path)).json()


class Player:
    """Another process with a `ServerProvider` of its own (see ``player.py``).

    Args:
        connection: Its standard input and output.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    async def send(self, op: str, *arguments: object) -> None:
        """Ask for something; `answer` waits for what comes of it."""
        self._connection.sendall(json.dumps([op, *arguments]).encode() + b"\n")

    async def answer(self, patience: float = PATIENCE) -> Any:
        """The next answer."""
        with anyio.fail_after(patience):
            while b"\n" not in self._received:
                await anyio.wait_readable(self._connection)
                data = self._connection.recv(1 << 16)
                assert data, "the other process has ended"
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        answer = json.loads(line)
        assert not isinstance(answer, dict) or "error" not in answer, answer["error"]
        return answer

    async def ask(self, op: str, *arguments: object) -> Any:
        """Ask for something and wait for the answer."""
        await self.send(op, *arguments)
        return await self.answer()


class StartPlayer(Protocol):
    """Starts another process; it ends with the block, and closes its provider before. The fixture is ``player``."""

    def __call__(
        self, root: Path, backend: str, command: list[str], **settings: Any
    ) -> AbstractAsyncContextManager[Player]:
        """Start it.

        Args:
            root: The runtime directory.
            backend: What its event loop is.
            command: What its provider runs.
            settings: The other arguments of its provider; ``drain_seconds`` goes to the launcher.
        """
        ...


def players(forks: Forks) -> StartPlayer:
    """How to start other processes."""

    @asynccontextmanager
    async def player(root: Path, backend: str, command: list[str], **settings: Any) -> AsyncIterator[Player]:
        arguments = [str(root), backend, json.dumps(command), json.dumps(settings)]
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                fork = forks.start(
                    str(_HERE / "player.py"), *arguments, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=2
                )
            with fork:
                try:
                    yield Player(ours)
                    ours.shutdown(socket.SHUT_WR)
                    assert await to_thread.run_sync(fork.wait, PATIENCE) == 0
                finally:
                    fork.kill()

    return player
