"""``LocalLauncher``: starts servers on this machine, one supervisor each, or joins those that are there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from anyio import CancelScope, current_time
from anyio.lowlevel import checkpoint

from ..._server_errors import ServerStartError
from .._contract import LeaseListener, Server, ServerLease, Terms
from .._description.causes import PORT_TAKEN
from .._description.command import CommandMissingError, ServerCommand
from .._description.failure import ServerFailure, advice, report
from .._supervisor.messages import Ask
from .._supervisor.protocol import PROTOCOL
from .account import Account, Failures, Start
from .connection import SUPERVISOR_KILLED, Connection, SupervisorGoneError
from .getting_ready import get_ready, name_of
from .holds import Holds
from .lease import LocalLease
from .runtime import Runtime
from .starting import Starter, confirm
from .supervisors import reap, wait_for
from .switching import KNOWN
from .waiting import USES

_PORT_TRIES = 3
_KIND = 20
"""How much of a server's kind is in its id, which names a socket: the system takes no long paths for those."""
_LEAVE_SECONDS = 20.0
"""How long leaving may take beyond the grace that a server has to end."""


class _AsleepError(Exception):
    """The server that was found did not wake up; the next one is another one."""


class LocalLauncher:
    """Starts servers on this machine.

    Args:
        runtime: The directory where servers find each other; `None`: the user's own.
        share: Who shares servers: ``"user"`` for all processes of this user, or any other text for all who give the
            same one.
        keeps: Whether a hold is kept on every server that was ready, until `close`.
        remember_failures: For how long a start that failed is answered from memory, in seconds.
        drain_seconds: For how long a server that is leased is leased to nobody new because somebody else waits for its
            slots, in seconds; after as long a pause that may happen again.
        stay_seconds: For how long a server that is used without a pause stays although somebody waits for its slots, in
            seconds; at least as long as its start took. A pause is half a second.

    Raises:
        RuntimeDirectoryError: The directory cannot be used.
        ServersUnsupportedError: The system has no process groups and no Unix sockets.
    """

    def __init__(
        self,
        runtime: Path | None = None,
        *,
        share: str = "user",
        keeps: bool = False,
        remember_failures: float = 0.0,
        drain_seconds: float = 10.0,
        stay_seconds: float = 0.0,
    ) -> None:
        self.runtime = Runtime(runtime)
        self.logs: dict[Path, None] = {}
        """Where the servers that were used here print to; where one failed, that is kept."""
        self.on_connected: Callable[[str, Path, bool], object] | None = None
        """Called in the event loop when there is a server, which may take minutes to get ready.

        It gets the server's id, where it prints to, and whether it was started for this. A start that is tried again
        on another port is one more call.
        """
        self._share = share
        self._starter = Starter(self.runtime, drain_seconds=drain_seconds, stay_seconds=stay_seconds)
        self._failures = Failures(remember_failures)
        self._holds = Holds(self.runtime) if keeps else None
        self._account = Account((lambda _: "") if self._holds is None else self._holds.why_ended)

    @property
    def starts(self) -> list[Start]:
        """What was started, oldest first."""
        return self._account.starts

    def close(self, patience: float = 0.0) -> None:
        """Let go of all servers that are held.

        Args:
            patience: How long to wait for those that end because of that, in seconds.
        """
        if self._holds is not None:
            self._holds.close(patience)
        reap()

    def abandon(self) -> None:
        """Let go of all servers at once and for good, whatever becomes of the event loops that use them.

        That includes those that are leased, and those that are just being started or joined. For a program that is
        interrupted, and may not come to leave its blocks.
        """
        self.runtime.abandon()
        self.close()

    @asynccontextmanager
    async def launch(
        self, command: ServerCommand, terms: Terms, listener: LeaseListener, /
    ) -> AsyncGenerator[ServerLease]:
        """Lease a server that runs `command`, starting it where there is none.

        Entered when the server is ready. Left when the supervisor knows that it is not used here any more, and, where
        that ends the server, when nothing of it is left; that happens in a shield, for at most `Terms.stop_grace` and
        20 seconds. Where the server ends by itself, the body is cancelled.

        Raises:
            CapacityDeadlockError: Those who hold the slots wait themselves, for ever.
            CapacityExceededError: It needs more slots than there are.
            ServerStartError: It did not get ready.
            ServerLostError: It ended while it was used.
        """
        server_id = self._server_id(command, terms)
        numbers = set(range(terms.replicas)) - {terms.replica}
        others = [self._server_id(command, replace(terms, replica=number)) for number in numbers]
        if terms.sleep is not None:
            KNOWN[server_id] = terms.sleep
        async with self._ready(server_id, command, terms, listener, others) as lease:
            if self._holds is not None:
                self._holds.hold(server_id, terms.keep_alive)
            with lease.watched():
                self.logs[lease.view.log_path] = None
                yield lease
            if lease.lost is not None:
                if lease.lost.log:
                    self.logs[Path(lease.lost.log)] = None
                self._account.ended(server_id, lease.end)
                raise lease.lost

    @asynccontextmanager
    async def _ready(
        self, server_id: str, command: ServerCommand, terms: Terms, listener: LeaseListener, others: list[str]
    ) -> AsyncGenerator[LocalLease]:
        """Lease one that is ready; tries again where that helps."""
        ports = 1
        async with AsyncExitStack() as stack:
            while True:
                self._failures.raise_known(server_id)
                try:
                    lease = await stack.enter_async_context(self._once(server_id, command, terms, listener, others))
                    break
                except _AsleepError:
                    self._account.ended(server_id, "the one before did not wake up")
                except ServerStartError as exc:
                    if exc.cause != PORT_TAKEN or terms.port is not None or ports == _PORT_TRIES:
                        raise
                    ports += 1
                    self._failures.forget(server_id)
                    self._account.ended(server_id, "the port of the one before was taken")
            yield lease

    @asynccontextmanager
    async def _once(
        self, server_id: str, command: ServerCommand, terms: Terms, listener: LeaseListener, others: list[str]
    ) -> AsyncGenerator[LocalLease]:
        """Lease one, whether it is found or has to be started, and wait until it is ready."""
        began = current_time()
        connection, supervisor = await self._starter.obtain(server_id, command, terms, listener, others)
        listener.on_found()
        async with connection.running(), self._leaving(connection, supervisor, terms, listener):
            if self.on_connected is not None:
                self.on_connected(server_id, Path(connection.server["log"]), supervisor is not None)
            if supervisor is not None:
                await confirm(connection, terms)
            if not connection.is_awake and not await connection.until_awake() and not _is_stopped(connection):
                raise _AsleepError
            lease = LocalLease(connection, command, terms, listener)
            try:
                await get_ready(connection, command, terms, lease.view)
            except ServerStartError as exc:
                self._failures.failed(server_id, exc, connection.exit)
                if supervisor is not None:
                    self._account.started(server_id, command, current_time() - began, ready=False)
                raise
            self._failures.forget(server_id)
            if supervisor is not None:
                self._account.started(server_id, command, current_time() - began, ready=True)
            yield lease

    @asynccontextmanager
    async def hold(self, server: Server, terms: Terms, /) -> AsyncGenerator[None]:
        """Keep a server, awake or asleep, which others may use meanwhile; does nothing where it ends.

        Left when the supervisor knows that, and, where it ends the server, when nothing of it is left; in a shield, as
        for `launch`.
        """
        found = self.runtime.connect(server.id)
        if found is None:
            await checkpoint()
            yield
            return
        connection = Connection(found)
        async with connection.running():
            try:
                with suppress(SupervisorGoneError):
                    await connection.ask(Ask.hold(terms.keep_alive))
                yield
            finally:
                with CancelScope(shield=True, deadline=current_time() + terms.stop_grace + _LEAVE_SECONDS):
                    await connection.leave()
                reap()

    def _server_id(self, command: ServerCommand, terms: Terms) -> str:
        """What the server is called: the same for all who share it."""
        if gone := [path for path in command.needs if not Path(path).exists()]:
            missing = f"there is no file or directory {gone[0]!r}"
            failure = ServerFailure(server=name_of(command), command=command.shown(), missing=missing)
            help_text = "Correct the path, or put there what belongs there; a name on a hub does not begin like a path."
            raise ServerStartError(command.spec, report(failure), help_text, cause="model not found")
        try:
            slots = terms.slots.names, terms.count, terms.fraction
            which = (terms.replica,) * (terms.replica > 0)
            key = command.key(PROTOCOL, self._share, *slots, terms.port, *which)
        except CommandMissingError as exc:
            failure = ServerFailure(
                server=name_of(command),
                command=command.shown(),
                missing=exc.problem,
                install_hint=command.install_hint,
            )
            raise ServerStartError(command.spec, report(failure), advice(failure), cause="command missing") from exc
        return f"{command.kind[:_KIND]}-{key[:12]}"

    @asynccontextmanager
    async def _leaving(
        self, connection: Connection, supervisor: int | None, terms: Terms, listener: LeaseListener
    ) -> AsyncGenerator[None]:
        USES.add(connection, listener)
        try:
            yield
        finally:
            USES.remove(connection)
            with CancelScope(shield=True, deadline=current_time() + terms.stop_grace + _LEAVE_SECONDS):
                if not connection.is_silent:  # else it sees that nobody is here once it goes on
                    await connection.leave()
                if (
                    supervisor is not None and connection.is_over.is_set() and not terms.slots.gpus
                ):  # else it stays a bit
                    await wait_for(supervisor)
                if connection.exit == SUPERVISOR_KILLED:
                    with self.runtime.locked() as lock:
                        if lock is not None:  # else whoever starts one now does it
                            self.runtime.bury_dead()
            reap()


def _is_stopped(connection: Connection) -> bool:
    """Whether the server has ended because somebody wanted that, whoever waits for it."""
    return connection.exit is not None and connection.exit.stopped
