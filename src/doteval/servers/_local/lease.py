"""``LocalLease``: a lease on a server of this machine, over one connection to its supervisor."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from anyio import CancelScope, current_time

from ..._server_errors import ServerLostError
from .._contract import LeaseListener, Server, Terms
from .._description.command import LOOPBACK, ServerCommand
from .._description.failure import ServerFailure, advice, happened, report
from .._description.readiness import ReadinessView
from .._supervisor.messages import Message
from .connection import Connection, SupervisorGoneError
from .getting_ready import failure_facts
from .log_search import searched_at_its_end


class LocalLease:
    """A lease on a server of this machine; what it is and does is said in the contract.

    Args:
        connection: What leases it.
        command: What runs it.
        terms: When it is ready, and how long it is kept.
        listener: Who is told what happens while `watched` is entered.
    """

    def __init__(self, connection: Connection, command: ServerCommand, terms: Terms, listener: LeaseListener) -> None:
        self._connection = connection
        self._command = command
        self._terms = terms
        self._listener = listener
        self._rest: object | None = None  # a new object for each rest: an answer that is out of date ends no other one
        self._ready_since = 0.0
        self.sleeps = False
        """Whether the last `lease` was refused because the server sleeps."""
        self.lost: ServerLostError | None = None
        """How the server ended, where it ended while it was used here, or without being told to."""
        self.end = ""
        """The same in a few words."""
        said = connection.server
        self.view = ReadinessView(
            port=said["port"], log_path=Path(said["log"]), api_key=said["api_key"], pid=connection.pid
        )

    @property
    def server(self) -> Server:
        """The server, as its supervisor describes it."""
        said = self._connection.server
        return Server(
            id=said["id"],
            kind=said["kind"],
            spec=said["spec"],
            pid=self._connection.pid,
            host=LOOPBACK,
            port=said["port"],
            api_key=said["api_key"],
            log=Path(said["log"]),
            slots=tuple(said["slots"]),
            command=said["shown"],
            started=said["started"],
            fraction=said["fraction"],
        )

    @property
    def directory(self) -> Path:
        """The server's own directory."""
        return self.view.log_path.parent

    @contextmanager
    def watched(self) -> Generator[None]:
        """The server is used in this block, which is cancelled when it ends."""
        connection = self._connection
        self._ready_since = current_time()
        with CancelScope() as scope:
            connection.on_event, connection.on_exit = self._on_event, partial(self._on_exit, scope)
            try:
                if connection.retiring:
                    self._listener.on_retiring(connection.retiring)
                if connection.exit is not None:
                    self._on_exit(scope)
                yield
            finally:
                connection.on_event = connection.on_exit = None  # from now on it may end

    async def ready(self) -> None:
        """Wait until the server meets its condition for being ready, once more."""
        await self._terms.ready.wait(self.view)

    async def ended(self) -> None:
        """Wait until the server has ended."""
        await self._connection.has_exited.wait()

    async def lease(self) -> bool:
        """Use the server again after `rest`; `False` where it is about to end, or sleeps."""
        rest = self._rest
        try:
            answer = await self._connection.lease(self._terms.keep_alive)
        except SupervisorGoneError:
            return False
        self.sleeps = bool(answer.get("sleeps"))
        if not answer["granted"] or not await self._connection.until_awake():
            return False
        if self._rest is rest:
            self._rest = None
        return True

    def rest(self) -> None:
        """Keep the server warm, but let it go when somebody else needs its slots; takes effect at once."""
        self._rest = object()
        self._connection.hold(self._terms.keep_alive)

    def _on_exit(self, scope: CancelScope) -> None:
        how = self._connection.exit
        assert how is not None
        if not (how.expected and self._rest):
            facts = failure_facts(self._command, self._connection)
            found = None if how.log is None else searched_at_its_end(how.log, self._command.causes)
            lasted = current_time() - self._ready_since
            failure = ServerFailure(**facts, found=found, ready_after=0.0, lasted=lasted)
            self.end = f"the one before {happened(failure)}"
            self.lost = ServerLostError(
                self._command.spec,
                report(failure),
                advice(failure),
                exit_code=how.code,
                log=how.log,
                stopped=how.stopped,
            )
            self._listener.on_lost(self.lost)
        scope.cancel()

    def _on_event(self, event: Message) -> None:
        match event["event"]:
            case "retiring" | "ending":
                self._listener.on_retiring(event["reason"])
            case "resumed":
                self._listener.on_resumed()
            case _:
                pass
