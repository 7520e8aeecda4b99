"""``LocalLauncher``: starts servers on this machine, one supervisor each, or joins those that are there."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
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
from .connection import SUPERVISOR_KILLED, Connection, Exit, SupervisorGoneError
from .getting_ready import get_ready, name_of
from .holds import Holds
from .lease import LocalLease
from .runtime import Runtime
from .starting import Starter, confirm
from .supervisors import reap, wait_for
from .switching import KNOWN
from .waiting import USES

_FROM_OUTSIDE = frozenset(-getattr(signal, name, 0) for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")) - {0}
_PORT_TRIES = 3
_KIND = 20
"""How much of a server's kind is in its id, which names a socket: the system takes no long paths for those."""
_LEAVE_SECONDS = 20.0
"""How long leaving may take beyond the grace that a server has to end."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a server, for the account at the end of a run.

    Args:
        kind: What it is, such as ``"vllm"``.
        spec: The model it serves.
        reason: Why it was started.
        seconds: How long it took until it was ready, or had failed, in seconds.
        ready: Whether it got ready.
    """

    kind: str
    spec: str
    reason: str
    seconds: float
    ready: bool


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
        self.starts: list[Start] = []
        """What was started, oldest first."""
        self.logs: dict[Path, None] = {}
        """Where the servers that were used here print to; where one failed, that is kept."""
        self.on_connected: Callable[[str, Path, bool], object] | None = None
        """Called in the event loop when there is a server, which may take minutes to get ready.

        It gets the server's id, where it prints to, and whether it was started for this. A start that is tried again
        on another port is one more call.
        """
        self._share = share
        self._remember_failures = remember_failures
        self._starter = Starter(self.runtime, drain_seconds=drain_seconds, stay_seconds=stay_seconds)
        self._failures: dict[str, tuple[float, ServerStartError]] = {}
        self._ends: dict[str, str] = {}  # why a server that was leased here has ended
        self._killed: set[str] = set()  # whose last start was killed from outside
        self._holds = Holds(self.runtime) if keeps else None
        self._connections: set[Connection] = set()

    def close(self, patience: float = 0.0) -> None:
        """Let go of all servers that are held.

        Args:
            patience: How long to wait for those that end because of that, in seconds.
        """
        if self._holds is not None:
            self._holds.close(patience)
        reap()

    def abandon(self) -> None:
        """Let go of all servers at once, the leased ones among them, whatever becomes of the event loops that use them.

        For a program that is interrupted, and may not come to leave its blocks.
        """
        for connection in self._connections:
            connection.hang_up()
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
        ports = 0
        while True:
            self._raise_remembered(server_id)
            began = current_time()
            connection, supervisor = await self._starter.obtain(server_id, command, terms, listener, others)
            is_ready = False
            try:
                async with connection.running(), self._leaving(connection, supervisor, terms, listener):
                    if self.on_connected is not None:
                        self.on_connected(server_id, Path(connection.server["log"]), supervisor is not None)
                    if supervisor is not None:
                        await confirm(connection, terms)
                    if not connection.is_awake and not await connection.until_awake():
                        self._ends[server_id] = "the one before did not wake up"
                        continue
                    lease = LocalLease(connection, command, terms, listener)
                    await get_ready(connection, command, terms, lease.view)
                    is_ready = True
                    self._killed.discard(server_id)
                    self._note(server_id, command, supervisor, current_time() - began, ready=True)
                    if self._holds is not None:
                        self._holds.hold(server_id, terms.keep_alive)
                    with lease.watched():
                        self.logs[lease.view.log_path] = None
                        yield lease
                    if lease.lost is not None:
                        if lease.lost.log:
                            self.logs[Path(lease.lost.log)] = None
                        self._ends[server_id] = lease.end
                        raise lease.lost
                    return
            except ServerStartError as exc:
                if is_ready:
                    raise  # it comes from the block, and is about another server
                self._note(server_id, command, supervisor, current_time() - began, ready=False)
                ports += 1
                if exc.cause == PORT_TAKEN and terms.port is None and ports < _PORT_TRIES:
                    self._ends[server_id] = "the port of the one before was taken"
                    continue
                if self._remember_failures and not self._is_first_kill(server_id, connection.exit):
                    self._failures[server_id] = time.monotonic() + self._remember_failures, _again(exc)
                raise

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
            self._connections.add(connection)
            try:
                with suppress(SupervisorGoneError):
                    await connection.ask(Ask.hold(terms.keep_alive))
                yield
            finally:
                self._connections.discard(connection)
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

    def _is_first_kill(self, server_id: str, how: Exit | None) -> bool:
        """Whether a start was killed from outside, and the one before was not: that is no failure of the model.

        Twice in a row it may be, where memory runs out.
        """
        was_killed = how == SUPERVISOR_KILLED or (how is not None and not how.expected and how.code in _FROM_OUTSIDE)
        is_first = was_killed and server_id not in self._killed
        self._killed.discard(server_id)
        if is_first:
            self._killed.add(server_id)
        return is_first

    def _raise_remembered(self, server_id: str) -> None:
        expires, failure = self._failures.get(server_id, (0.0, None))
        if failure is not None and time.monotonic() < expires:
            raise _again(failure)

    @asynccontextmanager
    async def _leaving(
        self, connection: Connection, supervisor: int | None, terms: Terms, listener: LeaseListener
    ) -> AsyncGenerator[None]:
        self._connections.add(connection)
        USES.add(connection, listener)
        try:
            yield
        finally:
            self._connections.discard(connection)
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

    def _note(
        self, server_id: str, command: ServerCommand, supervisor: int | None, seconds: float, *, ready: bool
    ) -> None:
        """Remember a start of ours, and why there had to be one."""
        if supervisor is None:
            return
        reason = self._ends.pop(server_id, "")
        if self._holds is not None:
            reason = reason or self._holds.why_ended(server_id)
        self.starts.append(Start(command.kind, command.spec, reason or "it was not running", seconds, ready))


def _again(failure: ServerStartError) -> ServerStartError:
    """The same failure without a traceback, which would keep alive what it passed through."""
    again = ServerStartError(
        failure.spec,
        failure.report,
        failure.advice,
        cause=failure.cause,
        exit_code=failure.exit_code,
        log=failure.log,
    )
    again.__cause__ = failure.__cause__
    return again
