"""``Starter``: leases a server, whether one is found or has to be started."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from anyio import current_time, sleep

from ..._server_errors import ServerStartError
from .._contract import LeaseListener, Terms
from .._description.causes import PORT_TAKEN
from .._description.command import ServerCommand
from .._description.failure import ServerFailure, report
from .._description.sleeping import HTTPSleep, Sleep
from .._slots.locks import SlotLocks
from .._slots.queue import MAKE_ROOM, SlotQueue
from .._supervisor.messages import Ask
from .._supervisor.parts import amount_of
from .._supervisor.protocol import MARKER
from .connection import Connection, SupervisorGoneError, join, visit
from .getting_ready import name_of
from .ports import free_port, is_free
from .room import Room
from .runtime import Runtime
from .supervisors import start_supervisor
from .switching import wake_up
from .waiting import Waiting, Wish

CONFIRM_SECONDS = 10.0
"""How long a supervisor has at least to answer for the first time, however short the time for the start is."""


class Starter:
    """Finds servers, or starts them.

    Args:
        runtime: Where servers find each other.
        drain_seconds: For how long one that is leased is leased to nobody new where its slots are needed, in seconds.
        stay_seconds: For how long after it was ready that does not happen, in seconds.
    """

    def __init__(self, runtime: Runtime, *, drain_seconds: float, stay_seconds: float) -> None:
        self._runtime = runtime
        self._drain_seconds = drain_seconds
        self._stay_seconds = stay_seconds

    async def obtain(
        self,
        server_id: str,
        command: ServerCommand,
        terms: Terms,
        listener: LeaseListener,
        spared: Collection[str] = (),
    ) -> tuple[Connection, int | None]:
        """Lease a server, which may not be ready yet; where there is none, wait for slots and start one.

        Args:
            server_id: The server.
            command: What runs it.
            terms: Its slots, its port, and how long it is kept.
            listener: Who tells which tasks wait for it.
            spared: Servers that are never asked to make room.

        Returns:
            The lease, and the process id of the supervisor where that was started here.

        Raises:
            CapacityDeadlockError: Those who hold the slots wait themselves, for ever.
            CapacityExceededError: It needs more slots than there are.
            ServerStartError: The port that it is to have is taken.
        """
        waiting = Waiting(
            self._runtime, command.spec, Wish(terms.slots.names, terms.count, amount_of(terms.fraction)), listener
        )

        async def come_early() -> Connection | None:
            connection = self._runtime.connect(server_id)
            joined = None if connection is None else await join(connection, terms.keep_alive)
            if joined is None:
                await waiting.look()
            return joined

        try:
            return await self._obtain(server_id, command, terms, come_early, spared)
        finally:
            waiting.end()

    async def _obtain(
        self,
        server_id: str,
        command: ServerCommand,
        terms: Terms,
        come_early: Callable[[], Awaitable[Connection | None]],
        spared: Collection[str],
    ) -> tuple[Connection, int | None]:
        amount = amount_of(terms.fraction)
        room = Room(self._runtime, server_id, f"its slots are needed for '{command.spec}'", amount, spared)
        waking = _Waking(self._runtime, server_id, terms.sleep, room)
        got: SlotLocks | Connection
        if terms.count:
            got = await SlotQueue(self._runtime.root).acquire(
                terms.slots.names,
                terms.count,
                resource_id=command.spec,
                make_room=room.make,
                come_early=come_early,
                in_turn=waking.look,
                amount=amount,
            )
        else:
            got = await come_early() or SlotLocks({})
        if isinstance(got, Connection):
            return got, None
        try:
            while (started := self._start(server_id, command, terms, got)) is None:
                await waking.give_up()
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
        directory = self._runtime.directory(server_id)
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
            "fraction": terms.fraction,
            "shown": filled.shown(),
        }
        job = {
            **description,
            "argv": list(filled.ended_within(terms.stop_grace)),
            "environment": {
                **filled.environment,
                **terms.slots.environment(locks.names),
                MARKER: str(directory),
            },
            "cwd": filled.cwd,
            "files": dict(filled.files),
            "directory": str(directory),
            "logs": str(self._runtime.logs),
            "log_bytes": terms.log_bytes,
            "secrets": sorted(filled.secrets),
            "gpus": gpus,
            "slot_paths": [str(path) for path in locks.paths],
            "grace": terms.stop_grace,
            "drain_seconds": self._drain_seconds,
            "stay_seconds": self._stay_seconds,
            "beds": str(self._runtime.root / "beds"),
            "may_sleep": terms.max_sleeping if terms.sleep is not None else 0,
            "sleep": terms.sleep.told() if isinstance(terms.sleep, HTTPSleep) else None,
        }
        started = start_supervisor(self._runtime, server_id, job, locks.fds)
        if started is None:
            return None
        connection = Connection(started[0])
        connection.described(
            {**description, "pid": None, "log": str(directory / "server.log"), "started": time.time(), "met": []}
        )
        return connection, started[1]


class _Waking:
    """Wakes a server up that sleeps, once it is its turn; that has to have the slots that it had before.

    Args:
        runtime: Where it is.
        server_id: The server.
        how: How it is woken up; `None`: as its supervisor says.
        room: Who makes room for it.
    """

    def __init__(self, runtime: Runtime, server_id: str, how: Sleep | None, room: Room) -> None:
        self._runtime = runtime
        self._server_id = server_id
        self._how = how
        self._room = room
        self._ask_at = current_time()

    async def look(self) -> Collection[str] | None:
        """Begin to wake it up where it sleeps; call it again and again.

        Returns:
            The slots that are not to be taken: those of a server that sleeps, as somebody else leases them now. `None`
            where none is to be taken: it wakes up, or is about to.
        """
        connection = self._runtime.connect(self._server_id)
        answer = {} if connection is None else await wake_up(connection, self._how)
        if answer.get("granted"):
            return None
        if not answer.get("sleeps"):
            return ()
        if current_time() < self._ask_at:
            return None
        self._ask_at = current_time() + MAKE_ROOM
        return None if await self._room.make_all(answer["taken"]) else tuple(answer["slots"])

    async def give_up(self) -> None:
        """It is started with other slots: end the one that sleeps."""
        connection = self._runtime.connect(self._server_id)
        if connection is not None:
            await visit(connection, Ask.end_sleeping("it is started with other slots"))


async def confirm(connection: Connection, terms: Terms) -> None:
    """What the starter has is a lease anyway; the answer says with which process, and for how long it is kept.

    Where none comes within the time for the start, the connection is silent.
    """
    with suppress(SupervisorGoneError), connection.patient(max(terms.start_timeout, CONFIRM_SECONDS)):
        answer = await connection.lease(terms.keep_alive)
        if answer["granted"]:  # else it has ended already
            connection.described(answer["server"])
