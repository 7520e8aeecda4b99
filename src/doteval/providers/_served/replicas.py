"""``Replicas``: several servers of the same model as one lease. One that dies is replaced while the others serve.

Each is launched by a task of its own, under a number that is a part of what it is, so that all who ask for replicas
share them. They are open when one is ready, and lost when none is left and the next one does not start.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, sleep, sleep_forever

from ..._errors import CapacityDeadlockError
from ..._server_errors import ServerLostError, ServerStartError
from ...servers._contract import LeaseListener, Server, ServerLease

logger = logging.getLogger("doteval.servers")

Launch = Callable[[int, LeaseListener], AbstractAsyncContextManager[ServerLease]]
Tell = Callable[[Literal["replica_opened", "replica_lost"], str], object]

_LINE_END = "\n"
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 60.0
_NEWS_SECONDS = 1.0
_DOUBT_SECONDS = 2.0
"""How long a replica is asked last that has failed to answer; where it has died, that is known by then."""


class Replica:
    """One server that is ready.

    Args:
        number: Which one.
        lease: The lease on it.
    """

    def __init__(self, number: int, lease: ServerLease) -> None:
        self.number = number
        self.lease = lease
        self.busy = 0
        """How many requests it works on for this provider."""
        self.has_answered = False
        self._asked_at = 0
        self._doubted_until = 0.0

    def doubt(self) -> None:
        """It has failed to answer: for a moment, others are asked before it."""
        self._doubted_until = current_time() + _DOUBT_SECONDS

    async def has_ended(self) -> bool:
        """Whether it has; the news of that may take a moment to arrive."""
        with move_on_after(_NEWS_SECONDS):
            await self.lease.ended()
            return True
        return False

    def asked(self, turn: int) -> None:
        """A request is sent to it."""
        self.busy += 1
        self._asked_at = turn

    def done(self) -> None:
        """The request has ended."""
        self.busy -= 1

    def rank(self) -> tuple[bool, int, int]:
        """Who is asked first: the least busy one, and of several the one that was asked longest ago."""
        return self._doubted_until > current_time(), self.busy, self._asked_at


class Replicas:
    """The replicas of one resource: a lease on whichever there are.

    Args:
        launch: Launches one of them.
        number: How many there are to be.
        listener: Who is told what others want of them.
        tell: Is told what becomes of a single one.
    """

    def __init__(self, launch: Launch, number: int, listener: LeaseListener, tell: Tell) -> None:
        self.number = number
        self.sleeps = False
        self.lost: ServerLostError | None = None
        self.scope = CancelScope()
        """Around what uses them; cancelled when they are lost."""
        self._launch = launch
        self._listener = listener
        self._tell = tell
        self._living: list[Replica] = []
        self._last: Server | None = None
        self._failure: Exception | None = None
        self._turn = 0
        self._change = Event()
        self._end = Event()
        self._used = Event()
        self._used.set()
        self._rested = Event()
        self._stopped: set[int] = set()
        self._starting: set[_Listener] = set()
        self._retiring: set[_Listener] = set()

    # ---------------------------------------------------------------- as a lease

    @property
    def server(self) -> Server:
        """The one that would be asked next; where none is left, the last one."""
        if self._living:
            return min(self._living, key=Replica.rank).lease.server
        assert self._last is not None
        return self._last

    @property
    def directory(self) -> Path | None:
        """None of theirs is that of all."""
        return None

    async def lease(self) -> bool:
        """Use them again after `rest`; `False` where none can be."""
        self._used.set()
        self._rested = Event()
        return any([await each.lease.lease() for each in list(self._living)])

    def rest(self) -> None:
        """Keep them warm, until somebody else needs their slots; for those that have none yet, nothing waits."""
        self._used = Event()
        self._rested.set()
        for each in self._living:
            each.lease.rest()
        for listener in self._starting:
            listener.rest()

    async def ready(self) -> None:
        """Wait until one of them is ready, once more."""
        await (await self.next_one()).lease.ready()

    async def ended(self) -> None:
        """Wait until all of them have ended, and none takes their place."""
        await self._end.wait()

    # ---------------------------------------------------------------- for requests

    async def next_one(self, but: Collection[Replica] = ()) -> Replica:
        """The least busy one that is none of these, where there is one; waits where all are just being started.

        Raises:
            ServerLostError: None is left.
        """
        while not self._living:
            if self.lost is not None:
                raise self.lost
            await self._change.wait()
        others = [each for each in self._living if each not in but]
        return min(others or self._living, key=Replica.rank)

    def are_only(self, replica: Replica) -> bool:
        """Whether there is no other one now."""
        return all(each is replica for each in self._living)

    @contextmanager
    def asking(self, replica: Replica) -> Generator[Callable[[], None]]:
        """A request is under way; call what is yielded where it goes on after the block, until `Replica.done`."""
        self._turn += 1
        replica.asked(self._turn)
        goes_on: list[bool] = []
        try:
            yield lambda: goes_on.append(True)
        finally:
            if not goes_on:
                replica.done()

    # ---------------------------------------------------------------- for who opens them

    async def until_open(self) -> None:
        """Wait until one is ready.

        Raises:
            Exception: What one of them has failed with before any was ready; another one would as well.
        """
        while not self._living:
            if self._failure is not None:
                raise self._failure
            await self._change.wait()

    async def keep(self, number: int) -> None:
        """Have one, and another one in its place when it ends, until this is cancelled or all are lost.

        None is started while nobody uses them, nor in the place of one that was stopped for those who use them now.
        """
        pause = 0.0
        while self.lost is None:
            await self._used.wait()
            replica: Replica | None = None
            stopped: ServerLostError | ServerStartError | None = None
            with self._listening(number) as listener:
                try:
                    async with self._launch(number, listener) as lease:
                        replica = listener.replica = Replica(number, lease)
                        with self._living_as(replica):
                            await sleep_forever()
                except ServerLostError as exc:
                    self._tell("replica_lost", f"replica {number}: {exc.report.partition(_LINE_END)[0]}")
                    stopped = exc if exc.stopped else None
                except Exception as exc:
                    if isinstance(exc, ServerStartError) and exc.stopped:
                        stopped = exc
                    else:
                        self._failed(number, exc)
            if stopped is not None:
                await self._stays_stopped(number, stopped)
            elif self._used.is_set():
                pause = 0.0 if replica is not None and replica.has_answered else _longer(pause)
                await sleep(pause)

    @contextmanager
    def _listening(self, number: int) -> Generator[_Listener]:
        listener = _Listener(self._listener, lambda: number == 0 and self._last is None, self._retiring)
        self._starting.add(listener)
        try:
            with listener.scope:
                yield listener
        finally:
            self._starting.discard(listener)
            listener.on_resumed()

    @contextmanager
    def _living_as(self, replica: Replica) -> Generator[None]:
        if not self._used.is_set():
            replica.lease.rest()
        self._last = replica.lease.server
        self._living.append(replica)
        self._has_changed()
        self._tell("replica_opened", f"replica {replica.number}")
        try:
            yield
        finally:
            self._living.remove(replica)

    async def _stays_stopped(self, number: int, error: Exception) -> None:
        """Return when nobody uses them any more: somebody has stopped one, whoever used it."""
        self._stopped.add(number)
        if len(self._stopped) == self.number:
            self._failed(number, error)
        await self._rested.wait()
        self._stopped.discard(number)

    def _failed(self, number: int, error: Exception) -> None:
        if self._last is None:
            self._failure = error if self._failure is None else self._failure
        elif self._living:
            logger.warning("replica %d could not be started, which is tried again: %s", number, error)
        elif self.lost is None:
            self._lose(error)
        self._has_changed()

    def _lose(self, error: Exception) -> None:
        report, advice, code, log, stopped = str(error), "", None, None, False
        spec = self.server.spec
        if isinstance(error, (ServerStartError, ServerLostError)):
            report, advice, code, log = error.report, error.advice, error.exit_code, error.log
            stopped = error.stopped
        self.lost = ServerLostError(spec, report, advice, exit_code=code, log=log, stopped=stopped)
        self._listener.on_lost(self.lost)
        self._end.set()
        self.scope.cancel()

    def _has_changed(self) -> None:
        self._change.set()
        self._change = Event()


@asynccontextmanager
async def replicated(launch: Launch, number: int, listener: LeaseListener, tell: Tell) -> AsyncGenerator[Replicas]:
    """Lease several servers of the same as if they were one; left when all have been told that they are not used here.

    Raises:
        ServerStartError: None got ready.
        ServerLostError: All have ended, and the next one did not get ready.
    """
    replicas = Replicas(launch, number, listener, tell)
    problem: Exception | None = None
    async with create_task_group() as task_group:
        for each in range(number):
            task_group.start_soon(replicas.keep, each, name=f"doteval replica {each}")
        try:
            await replicas.until_open()
            with replicas.scope:
                yield replicas
        except Exception as exc:  # raised below, as it is, and not in a group
            problem = exc
        finally:
            task_group.cancel_scope.cancel()
    if problem is not None:
        raise problem
    if replicas.lost is not None:
        raise replicas.lost


class _Listener:
    """Of one replica: what others want of it is wanted of all, but its end is nobody else's.

    Args:
        listener: The listener of all.
        waits: Whether who uses the resource waits for this one; not where it is started beside others.
        retiring: The listeners to those that are to be let go.
    """

    def __init__(self, listener: LeaseListener, waits: Callable[[], bool], retiring: set[_Listener]) -> None:
        self.scope = CancelScope()
        """Around its launch."""
        self.replica: Replica | None = None
        """What has become of it."""
        self._listener = listener
        self._waits = waits
        self._retiring = retiring
        self._has_slots = False

    def rest(self) -> None:
        """Nobody uses the resource: it is not waited for, but where it is being started, it gets ready."""
        if not self._has_slots and self.replica is None:
            self.scope.cancel()

    def users(self) -> Collection[object]:
        return self._listener.users() if self.replica is not None or self._waits() else ()

    def on_found(self) -> None:
        self._has_slots = True

    def on_stuck(self, users: Collection[object], error: CapacityDeadlockError, /) -> None:
        self._listener.on_stuck(users, error)

    def on_retiring(self, reason: str, /) -> None:
        self._retiring.add(self)
        self._listener.on_retiring(reason)

    def on_resumed(self) -> None:
        """It is leased again, or has ended, and nobody needs its slots any more."""
        if self in self._retiring:
            self._retiring.discard(self)
            if not self._retiring:
                self._listener.on_resumed()

    def on_lost(self, error: ServerLostError, /) -> None:
        pass


def _longer(pause: float) -> float:
    return min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
