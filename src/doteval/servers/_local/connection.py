"""``Connection``: one client's end of the line to a supervisor (see ``_supervisor``): a lease, a hold, or a visit.

It is a `Wire` and one task, `Connection.run`, that reads what comes back.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio

from .._supervisor.messages import Ask, Message
from .wire import Wire

_VISIT_SECONDS = 2.0


class SupervisorGoneError(Exception):
    """The server, or the connection, ended before the answer came; `Connection.exit` may know why."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a server ended.

    Args:
        code: The exit code, negative for the number of a signal; `None` where it is not known.
        reason: Why it ended, as half a sentence.
        expected: Whether the supervisor ended it.
        stopped: Whether it did because somebody has asked for that, whoever used it.
        tail: The last lines it printed.
        log: Where the rest of what it printed is.
    """

    code: int | None = None
    reason: str = "its supervisor was killed"
    expected: bool = False
    stopped: bool = False
    tail: tuple[str, ...] = ()
    log: str | None = None

    @classmethod
    def told(cls, message: Message) -> Exit:
        """What the event says."""
        code, reason, expected = (message[name] for name in ("code", "reason", "expected"))
        stopped = message.get("stopped", False)  # a supervisor of another version does not tell
        return cls(code, reason, expected, stopped, tuple(message["tail"]), message["log"])


SUPERVISOR_KILLED = Exit()
"""What is known where nobody is left to tell."""


@dataclass(slots=True)
class _Question:
    answered: anyio.Event = field(default_factory=anyio.Event)
    answer: Message | None = None


class Connection:
    """A connection to a supervisor.

    Args:
        connection: A connected socket; it is non-blocking from now on and closed by `close`.
        on_event: Gets every event, in the task that reads, besides what is kept here; may be set later.
    """

    def __init__(self, connection: socket.socket, on_event: Callable[[Message], object] | None = None) -> None:
        self._wire = Wire(connection)
        self._questions: dict[int, _Question] = {}
        self.on_event = on_event
        self.on_exit: Callable[[], object] | None = None
        """Called once it is known how the server ended."""
        self.server: Message = {}
        """What the supervisor says of its server, from the moment of the first lease."""
        self.pid: int | None = None
        """The server's process, once it has started."""
        self.last_output = 0.0
        """When it was last known to have printed something, on the event loop's clock."""
        self.output_bytes = 0
        """How much it has printed, as far as it is known during the start."""
        self.met: set[str] = set()
        """The conditions for being ready that somebody has seen it meet."""
        self._has_met_more = anyio.Event()
        self.is_awake = True
        """Whether it can be used; one that is leased may still be about to wake up."""
        self._has_woken = anyio.Event()
        self.retiring = ""
        """Why it is to be let go soon; empty while it is not."""
        self.exit: Exit | None = None
        """How the server ended, once it is known."""
        self.has_exited = anyio.Event()
        self.is_silent = False
        """The supervisor has left something unanswered for longer than anybody waits."""
        self.is_over = anyio.Event()
        """The supervisor has closed the connection: nothing of the server is left."""

    @property
    def supervisor(self) -> int | None:
        """The process at the other end, where the system tells; nobody has to answer for that.

        `None` also where it is in a pid namespace that cannot be seen from here, for which the system says 0.
        """
        if not hasattr(socket, "SO_PEERCRED"):
            return None
        pid = int(struct.unpack("3i", self._credentials())[0])
        return pid if pid > 0 else None

    def _credentials(self) -> bytes:
        return self._wire.credentials()

    def send(self, request: Message) -> None:
        """Send a request, one of `Ask`, whose answer nobody waits for; to a supervisor that is gone it goes nowhere."""
        self._wire.send(request)

    async def ask(self, request: Message) -> Message:
        """Send a request, one of `Ask`, and wait for its answer; `run` must be running.

        Raises:
            SupervisorGoneError: The server or the connection ended instead.
        """
        question = _Question()
        number = self._wire.send(request)
        self._questions[number] = question
        try:
            if self.exit is not None or self._wire.is_broken:
                raise SupervisorGoneError
            await question.answered.wait()
        finally:
            del self._questions[number]
        if question.answer is None:
            raise SupervisorGoneError
        return question.answer

    async def ask_alone(self, request: Message) -> Message:
        """As `ask`, where `run` is not running (yet)."""
        number = self._wire.send(request)
        question = self._questions[number] = _Question()
        try:
            while question.answer is None:
                if not await self._read():
                    raise SupervisorGoneError
        finally:
            del self._questions[number]
        return question.answer

    @contextmanager
    def patient(self, seconds: float) -> Generator[None]:
        """Wait for an answer in the block for so long; the block is left then, and the connection is silent."""
        with anyio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            self.is_silent = True

    async def lease(self, keep_alive: float) -> Message:
        """Become a lease; the answer has ``granted``, and ``server`` or ``reason``."""
        return await self.ask(Ask.lease(keep_alive))

    def hold(self, keep_alive: float) -> None:
        """Become a hold, at once."""
        self.send(Ask.hold(keep_alive))

    def described(self, server: Message) -> None:
        """Keep what the supervisor says of its server."""
        self.server = server
        self.pid = server["pid"]
        self.met.update(server["met"])

    async def until_awake(self) -> bool:
        """Wait until the server is awake; whether it is, and has not ended instead."""
        while not self.is_awake and self.exit is None:
            await self._has_woken.wait()
        return self.exit is None

    async def until_met(self, condition: str) -> None:
        """Wait until somebody has seen the server meet a condition for being ready."""
        while condition not in self.met:
            await self._has_met_more.wait()

    async def leave(self) -> None:
        """Be neither lease nor hold any more; where that ends the server, wait until nothing of it is left."""
        try:
            if (await self.ask(Ask.leave())).get("ending"):
                await self.is_over.wait()
        except SupervisorGoneError:
            await self.is_over.wait()

    async def run(self) -> None:
        """Read until the supervisor closes the connection."""
        while await self._read():
            pass

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """`run` in a task of its own; closes the connection at the end. What the block raises stays what it is.

        A cancellation of the block does not end the reading: on its way out the block still waits for an answer.
        """
        problem: Exception | None = None
        reading = anyio.CancelScope(shield=True)

        async def read() -> None:
            with reading:
                await self.run()

        try:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(read, name="doteval connection to a supervisor")
                try:
                    yield
                except Exception as exc:  # raised below, as it is, and not in a group
                    problem = exc
                finally:
                    reading.cancel()
        finally:
            self.close()
        if problem is not None:
            raise problem

    async def _read(self) -> bool:
        """Take in what comes next; whether something may come after it."""
        await anyio.wait_readable(self._wire.socket)
        messages = self._wire.take()
        for message in messages or ():
            self._take(message)
        if messages is None:
            self._set_exit(SUPERVISOR_KILLED)
            self.is_over.set()
        return messages is not None

    def _take(self, message: Message) -> None:
        if "id" in message:
            question = self._questions.get(message["id"])
            if "server" in message:  # here, as the next message may say otherwise
                self.is_awake = not message["server"]["sleeps"]
            if question is not None:
                question.answer = message
                question.answered.set()
            return
        match message["event"]:
            case "started":
                self.pid = message["pid"]
            case "output":
                self.output_bytes = message["bytes"]
                self.last_output = anyio.current_time()
            case "ready":
                self.met.add(message["condition"])
                self._has_met_more.set()
                self._has_met_more = anyio.Event()
            case "awake":
                self.is_awake = True
                self._wake()
            case "retiring" | "ending":
                self.retiring = message["reason"]
            case "resumed":
                self.retiring = ""
            case "exited":
                self._set_exit(Exit.told(message))
            case _:
                pass
        if self.on_event is not None:
            self.on_event(message)

    def _set_exit(self, how: Exit) -> None:
        if self.exit is None:
            self.exit = how
            self.has_exited.set()
            self._wake()
            for question in self._questions.values():  # nothing that is asked for makes sense any more
                question.answered.set()
            if self.on_exit is not None:
                self.on_exit()

    def _wake(self) -> None:
        self._has_woken.set()
        self._has_woken = anyio.Event()

    def close(self) -> None:
        """Close the connection; call it when `run` has ended or was cancelled."""
        self._wire.close()


async def visit(connection: socket.socket, request: Message) -> Message | None:
    """Ask a supervisor one thing and hang up; `None` where no answer came in two seconds.

    Args:
        connection: A connected socket; closed at the end, also when cancelled.
        request: What to ask, one of `Ask`.
    """
    visitor = Connection(connection)
    try:
        with anyio.move_on_after(_VISIT_SECONDS):
            return await visitor.ask_alone(request)
    except SupervisorGoneError:
        pass
    finally:
        visitor.close()
    return None


_UNTOLD: Message = {
    "protocol": 0,
    "kind": "server",
    "spec": "?",
    "pid": None,
    "supervisor": None,
    "port": 0,
    "state": "unknown",
    "slots": [],
    "fraction": 1.0,
    "leases": 0,
    "holds": 0,
    "waits": [],
    "started": 0.0,
    "last_used": 0.0,
    "keep_alive": 0.0,
    "memory": None,
    "shown": "",
    "log": "",
    "ended_by": [],
    "sleep": None,
    "bed": None,
    "beds": 0,
}


async def status_of(connection: socket.socket, server_id: str, *, memory: bool = True) -> Message | None:
    """What a supervisor says of its server; `None` where no answer came in two seconds.

    Args:
        connection: A connected socket; closed at the end, also when cancelled.
        server_id: The server. What the supervisor of another version does not tell has a value that says nothing.
        memory: Whether it is to find out how much memory the server has, which takes time.
    """
    answer = await visit(connection, Ask.status(memory=memory))
    return None if answer is None else {**_UNTOLD, **answer.get("status", {}), "id": server_id}


async def join(connection: socket.socket, keep_alive: float) -> Connection | None:
    """Lease the server behind a connected socket; `None`, and hung up, where it is about to end or does not answer."""
    joined = Connection(connection)
    try:
        with anyio.move_on_after(_VISIT_SECONDS):
            answer = await joined.ask_alone(Ask.lease(keep_alive))
            if answer["granted"]:
                joined.described(answer["server"])
                return joined
    except SupervisorGoneError:
        pass
    except BaseException:
        joined.close()
        raise
    joined.close()
    return None
