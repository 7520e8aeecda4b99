"""What a provider needs of whoever starts servers: ``Launcher``, and what it takes and gives.

`LocalLauncher` starts them on this machine; another one may start them elsewhere. A launcher belongs to no event loop.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .._errors import CapacityDeadlockError
from .._server_errors import ServerLostError
from ._description.command import ServerCommand
from ._description.readiness import Readiness
from ._description.sleeping import Sleep
from ._slots.gpus import SlotSet


@dataclass(frozen=True, slots=True)
class Terms:
    """How a server is started, kept, and ended.

    Args:
        ready: When it is ready.
        slots: The slots it may have.
        count: How many of them it needs.
        fraction: How much of each, above 0 and at most 1; others may have the rest.
        start_timeout: How long it may take to get ready, in seconds.
        stall_timeout: How long it may print nothing while it gets ready, in seconds; `None`: no limit.
        stop_grace: How long it may take to end when it is told to, before it is killed, in seconds; half of it
            while it is not ready.
        keep_alive: How long it stays when nobody is connected any more, in seconds.
        port: Where it listens; `None`: a port that is free.
        log_bytes: How much of its output is kept, in bytes.
        sleep: How it is put to sleep and woken up; `None`: it cannot sleep.
        max_sleeping: How many servers of this machine may sleep when this one does, itself included.
        replica: Which one of several servers of the same it is.
        replicas: How many of them there are; one makes no room for another.
    """

    ready: Readiness
    slots: SlotSet
    count: int = 1
    fraction: float = 1.0
    start_timeout: float = 1800.0
    stall_timeout: float | None = 300.0
    stop_grace: float = 10.0
    keep_alive: float = 0.0
    port: int | None = None
    log_bytes: int = 16 << 20
    sleep: Sleep | None = None
    max_sleeping: int = 0
    replica: int = 0
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready, as far as its users have to know it.

    Args:
        id: What `doteval servers` calls it.
        kind: What it is, such as ``"vllm"``.
        spec: The model it serves.
        pid: Its process, the leader of its process group; `None` where the launcher has none to show.
        host: Where it listens.
        port: Where it listens.
        api_key: What it wants to be shown by its clients.
        log: Where its output goes; `None` where it cannot be read from here.
        slots: The names of its slots.
        command: The command that runs it, without secrets.
        started: When it was started, in seconds since the epoch.
        fraction: How much it has of each of its slots; 1: all of it.
    """

    id: str
    kind: str
    spec: str
    pid: int | None
    host: str
    port: int
    api_key: str | None = field(repr=False)
    log: Path | None
    slots: tuple[str, ...]
    command: str
    started: float
    fraction: float = 1.0

    @property
    def url(self) -> str:
        """Its address, such as ``http://127.0.0.1:40001``."""
        return f"http://{self.host}:{self.port}"


class ServerLease(Protocol):
    """A lease on a server, for as long as its context manager is open."""

    @property
    def server(self) -> Server:
        """The server."""
        ...

    @property
    def directory(self) -> Path | None:
        """The server's own directory, in which its users find what they leave each other; `None` where it has none."""
        ...

    @property
    def lost(self) -> ServerLostError | None:
        """How the server ended, where it ended while it was used here."""
        ...

    @property
    def sleeps(self) -> bool:
        """Whether the last `lease` was refused because the server sleeps; whoever launches it wakes it up."""
        ...

    async def lease(self) -> bool:
        """Use the server again after `rest`; `False` where it is about to end, or sleeps."""
        ...

    def rest(self) -> None:
        """Keep the server warm, but let it go when somebody else needs its slots; takes effect at once."""
        ...

    async def ready(self) -> None:
        """Wait until the server meets its condition for being ready, once more."""
        ...

    async def ended(self) -> None:
        """Wait until the server has ended, and its leases with it."""
        ...


class LeaseListener(Protocol):
    """Who is told what others want of a server, and asked who uses it; called in the event loop, synchronously."""

    def users(self) -> Collection[object]:
        """Which tasks lease it or wait for it here."""
        ...

    def on_found(self) -> None:
        """There is a server, which has its slots, and may take minutes to get ready."""

    def on_stuck(self, users: Collection[object], error: CapacityDeadlockError, /) -> None:
        """These of the tasks that wait for it would do so for ever, and others would not: `error` is for them only."""

    def on_retiring(self, reason: str, /) -> None:
        """Its slots are needed: use it for what is under way, and then let it go."""

    def on_resumed(self) -> None:
        """It may be used as before."""

    def on_lost(self, error: ServerLostError, /) -> None:
        """It has ended while it was used; the context manager raises `error` when nothing of it is left."""


class Launcher(Protocol):
    """Starts servers where there is none, and joins those that there are."""

    def launch(
        self, command: ServerCommand, terms: Terms, listener: LeaseListener, /
    ) -> AbstractAsyncContextManager[ServerLease]:
        """Lease a server that runs `command`.

        The context manager is entered when the server is ready, and is left when it has been told that nobody here
        uses it any more; where that ends it, when nothing of it is left. Where the server ends by itself, the body is
        cancelled and `ServerLostError` raised.

        Raises:
            ServerStartError: It did not get ready.
            ServerLostError: It ended while it was leased.
        """
        ...

    def hold(self, server: Server, terms: Terms, /) -> AbstractAsyncContextManager[None]:
        """Keep a server, awake or asleep, which others may use meanwhile; does nothing where it ends.

        The context manager is left when the server has been told so, and, where that ends it, when nothing of it is
        left.
        """
        ...
