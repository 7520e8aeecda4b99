"""``LocalLauncher``: starts servers on this machine, one supervisor each, or joins those that are there."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import CancelScope, current_time, sleep

from ..._errors import ServerLostError, ServerStartError
from .._contract import LeaseListener, Server, ServerLease, Terms
from .._description.causes import PORT_TAKEN
from .._description.command import LOOPBACK, CommandMissingError, ServerCommand
from .._description.failure import ServerFailure, advice, happened, report
from .._description.readiness import ReadinessView
from .._slots.locks import SlotLocks
from .._slots.queue import SlotQueue
from .connection import SUPERVISOR_KILLED, Connection, Message, SupervisorGoneError, join
from .holds import Holds
from .ports import free_port, is_free
from .room import make_room
from .runtime import MARKER, Runtime
from .starting import failure_facts, get_ready, name_of
from .supervisors import reap, start_supervisor, wait_for

_PORT_TRIES = 3
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
        self._share = share
        self._remember_failures = remember_failures
        self._drain_seconds = drain_seconds
        self._stay_seconds = stay_seconds
        self._failures: dict[str, tuple[float, ServerStartError]] = {}
        self._ends: dict[str, str] = {}  # why a server that was leased here has ended
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
            CapacityExceededError: It needs more slots than there are.
            ServerStartError: It did not get ready.
            ServerLostError: It ended while it was used.
        """
        server_id = self._server_id(command, terms)
        for attempt in range(1, _PORT_TRIES + 1):
            self._raise_remembered(server_id)
            began = current_time()
            connection, supervisor = await self._obtain(server_id, command, terms)
            is_ready = False
            try:
                async with connection.running(), self._leaving(connection, supervisor, terms):
                    if supervisor is not None:
                        await _confirm(connection, terms)
                    lease = _LocalLease(connection, command, terms, listener)
                    await get_ready(connection, command, terms, lease.view)
                    is_ready = True
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
                if exc.cause == PORT_TAKEN and terms.port is None and attempt < _PORT_TRIES:
                    self._ends[server_id] = "the port of the one before was taken"
                    continue
                if self._remember_failures:
                    self._failures[server_id] = time.monotonic() + self._remember_failures, _again(exc)
                raise

    # ---------------------------------------------------------------- find or start

    def _server_id(self, command: ServerCommand, terms: Terms) -> str:
        """What the server is called: the same for all who share it."""
        try:
            key = command.key(self._share, terms.slots.names, terms.count, terms.port)
        except CommandMissingError as exc:
            failure = ServerFailure(
                server=name_of(command),
                command=command.shown(),
                missing=exc.problem,
                install_hint=command.install_hint,
            )
            raise ServerStartError(command.spec, report(failure), advice(failure), cause="command missing") from exc
        return f"{command.kind}-{key[:12]}"

    def _raise_remembered(self, server_id: str) -> None:
        expires, failure = self._failures.get(server_id, (0.0, None))
        if failure is not None and time.monotonic() < expires:
            raise _again(failure)

    async def _obtain(self, server_id: str, command: ServerCommand, terms: Terms) -> tuple[Connection, int | None]:
        """A lease on the server, and the process id of its supervisor where it was started here."""

        async def come_early() -> Connection | None:
            connection = self.runtime.connect(server_id)
            return None if connection is None else await join(connection, terms.keep_alive)

        got = await SlotQueue(self.runtime.root).acquire(
            terms.slots.names,
            terms.count,
            resource_id=command.spec,
            make_room=partial(make_room, self.runtime, f"its slots are needed for '{command.spec}'"),
            come_early=come_early,
        )
        if isinstance(got, Connection):
            return got, None
        try:
            while (started := self._start(server_id, command, terms, got)) is None:
                await sleep(0.005)  # somebody is starting something else; only starting is locked, a few milliseconds
                joined = await come_early()
                if joined is not None:
                    return joined, None
        finally:
            got.close()  # the supervisor has inherited them
        return started

    def _start(
        self, server_id: str, command: ServerCommand, terms: Terms, locks: SlotLocks
    ) -> tuple[Connection, int] | None:
        directory = self.runtime.directory(server_id)
        port = terms.port or free_port()
        if terms.port is not None and not is_free(port):  # whoever has it may look like a server that is ready
            missing = f"port {port}, which port= asks for, is taken by another process"
            failure = ServerFailure(server=name_of(command), command=command.shown(), missing=missing)
            help_text = "End what uses the port, or leave port= out: then a free one is chosen."
            raise ServerStartError(command.spec, report(failure), help_text, cause=PORT_TAKEN)
        key = secrets.token_hex(24) if command.takes_api_key else None
        filled = command.filled(port=port, api_key=key or "", directory=directory)
        gpus = [gpu.lock_name for gpu in terms.slots.gpus if gpu.lock_name in locks.names]
        description = {
            "id": server_id,
            "kind": command.kind,
            "spec": command.spec,
            "port": port,
            "api_key": key,
            "slots": list(locks.names),
            "shown": filled.shown(),
        }
        job = {
            **description,
            "argv": list(filled.argv),
            "environment": {
                **filled.environment,
                **terms.slots.environment(locks.names),
                MARKER: str(directory),
            },
            "cwd": filled.cwd,
            "files": dict(filled.files),
            "directory": str(directory),
            "logs": str(self.runtime.logs),
            "log_bytes": terms.log_bytes,
            "secrets": sorted(filled.secrets),
            "gpus": gpus,
            "grace": terms.stop_grace,
            "drain_seconds": self._drain_seconds,
            "stay_seconds": self._stay_seconds,
        }
        started = start_supervisor(self.runtime, server_id, job, locks.fds)
        if started is None:
            return None
        connection = Connection(started[0])
        connection.described(
            {**description, "pid": None, "log": str(directory / "server.log"), "started": time.time(), "ready": False}
        )
        return connection, started[1]

    @asynccontextmanager
    async def _leaving(self, connection: Connection, supervisor: int | None, terms: Terms) -> AsyncGenerator[None]:
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)
            with CancelScope(shield=True, deadline=current_time() + terms.stop_grace + _LEAVE_SECONDS):
                await connection.leave()
                if supervisor is not None and connection.is_over.is_set():
                    await wait_for(supervisor)
                if connection.exit == SUPERVISOR_KILLED:
                    with self.runtime.locked() as lock:
                        if lock is not None:  # else whoever starts one now does it
                            self.runtime.bury_dead()

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


async def _confirm(connection: Connection, terms: Terms) -> None:
    """What the starter has is a lease anyway; the answer says with which process, and for how long it is kept."""
    with suppress(SupervisorGoneError):  # then the connection knows how that came about
        answer = await connection.lease(terms.keep_alive)
        if answer["granted"]:  # else it has ended already
            connection.described(answer["server"])


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


class _LocalLease:
    """A lease on a server of this machine."""

    def __init__(self, connection: Connection, command: ServerCommand, terms: Terms, listener: LeaseListener) -> None:
        self._connection = connection
        self._command = command
        self._terms = terms
        self._listener = listener
        self._rest: object | None = None  # a new object for each rest: an answer that is out of date ends no other one
        self._ready_since = 0.0
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
        )

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
        """Use the server again after `rest`; `False` where it is about to end."""
        rest = self._rest
        try:
            answer = await self._connection.lease(self._terms.keep_alive)
        except SupervisorGoneError:
            return False
        if answer["granted"] and self._rest is rest:
            self._rest = None
        return bool(answer["granted"])

    def rest(self) -> None:
        """Keep the server warm, but let it go when somebody else needs its slots; takes effect at once."""
        self._rest = object()
        self._connection.hold(self._terms.keep_alive)

    def _on_exit(self, scope: CancelScope) -> None:
        how = self._connection.exit
        assert how is not None
        if not (how.expected and self._rest):
            facts = failure_facts(self._command, self._connection)
            failure = ServerFailure(**facts, ready_after=0.0, lasted=current_time() - self._ready_since)
            self.end = f"the one before {happened(failure)}"
            self.lost = ServerLostError(
                self._command.spec, report(failure), advice(failure), exit_code=how.code, log=how.log
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
