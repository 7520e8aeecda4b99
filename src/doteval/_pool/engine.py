"""The engine: the tasks of the resources, and what the ledger wants done about them.

What a resource's task reports is entered in the books first, in one synchronous step, then told, and then all that
follows from it is done, one effect after the other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import copy_context
from functools import partial
from logging import DEBUG
from typing import Any, Generic, TypeVar

from anyio import Event, current_time, get_cancelled_exc_class
from anyio.abc import TaskGroup

from .._errors import CloseTimeoutError
from .._loop import HomeLoop
from .alarm import Alarm, Alarms
from .close_failures import CloseFailures
from .events import PoolEvent, ProviderStatistics
from .hooks import Hooks
from .inside import Inside
from .interrupts import uninterruptible
from .leaks import DROPPED, Leaks
from .ledger import Ledger
from .owners import resource_here
from .records import (
    CancelOpening,
    Check,
    Close,
    CloseFirst,
    Entry,
    Examine,
    Lease,
    Open,
    Phase,
    Released,
    Request,
    Rest,
    Retired,
    Settle,
    State,
    Want,
)
from .reporter import Reporter, logger
from .resource import Resource
from .snapshot import snapshot
from .turn import Turns
from .waits import ending_of

ModelT = TypeVar("ModelT")

_JITTER = 0.1
"""The part of `max_lifetime` by which a resource may end sooner, so that not all end together."""

_TURNS = 3
"""How many turns of the loop a task has for entering a handle that it was just given, as by a stream."""

is_logged = logger.isEnabledFor


@uninterruptible
class Engine(Generic[ModelT]):
    """The resource tasks of one entered provider.

    Args:
        provider: The provider's name, for messages.
        ledger: The books, new and empty.
        make: Makes the context manager that opens what is wanted; gets the want and the names of its slots.
        healthy: Tells whether a model is still good.
        explain: Says why an opening failed, in words that hold no secret; runs code of the provider's author.
        max_concurrent_opens: How many openings run at once.
        close_timeout: How long closing one resource may take, in seconds.
        leak_after: How long a lease may be held before somebody is told, in seconds; `None` for ever.
        max_lifetime: How long a resource is leased to newcomers, in seconds; `None` for ever.
        health_timeout: How long asking for the health of one may take, in seconds.
        setup_timeout: How long a request may wait, in seconds; `None` for ever.
        fast_acquire: Skip the checkpoints where nothing has to be waited for.
        timed: Whether the ledger is told the time; without timed rules that would only cost.
        on_idle: Gets the model when its last lease has ended, where the ledger tells.
        is_broken: Tells at a glance whether a model is of no use any more; `None` where nobody can.
        breaks: Tells whether an exception of a user shows the same.
        on_event: Gets every transition.
    """

    def __init__(
        self,
        provider: str,
        ledger: Ledger,
        *,
        make: Callable[[Want, tuple[str, ...]], AbstractAsyncContextManager[ModelT]],
        healthy: Callable[[ModelT], Awaitable[bool]],
        explain: Callable[[Want, BaseException], str],
        max_concurrent_opens: int,
        close_timeout: float,
        leak_after: float | None,
        max_lifetime: float | None,
        health_timeout: float,
        setup_timeout: float | None,
        fast_acquire: bool,
        timed: bool,
        on_idle: Callable[[ModelT], object],
        is_broken: Callable[[ModelT], bool] | None,
        breaks: Callable[[Exception], bool],
        on_event: Callable[[PoolEvent], object] | None,
    ) -> None:
        self._provider = provider
        self._ledger = ledger
        self._make = make
        self._new_resource = partial(
            Resource[ModelT],
            healthy=healthy,
            opens=Turns(max_concurrent_opens),
            close_timeout=close_timeout,
            health_timeout=health_timeout,
        )
        self._max_lifetime = max_lifetime
        self._setup_timeout = setup_timeout
        self._fast_acquire = fast_acquire
        self._timed = timed
        self._tells_time = timed or ledger.capacity is not None
        self._hooks = Hooks(provider, explain=explain, idle=on_idle, is_broken=is_broken, breaks=breaks)
        self._looks = is_broken is not None
        self._on_event = on_event
        self._emit = Reporter(provider, on_event).report
        self.loop = HomeLoop(provider)
        self._home, self._running = self.loop.native, self.loop.running
        self._time = self.loop.time
        self.check_loop, self.checkpoint, self.is_open = self.loop.check, self.loop.checkpoint, ledger.is_open
        self._task_group: TaskGroup | None = None
        # A resource belongs to nobody who leases it: their context variables would live, and be seen, as long as it.
        self._context = copy_context()
        self._leaks = Leaks(provider, leak_after, self.loop, partial(self.loop.call_soon, self._on_dropped))
        # One attribute for all: with 30, Python finds each of them more slowly.
        self._alarms = Alarms(
            expiry=Alarm(partial(self._on_time, ledger.expire), may_come_sooner=False),
            ageing=Alarm(partial(self._on_time, ledger.age), may_come_sooner=True),
            examining=Alarm(partial(self._on_time, ledger.examine), may_come_sooner=True),
            leaking=Alarm(partial(self._on_time, self._look_for_leaks), may_come_sooner=True),
        )
        self._close_failures = CloseFailures()
        self._drained: Event | None = None
        self._is_applying = False
        self._loop_ends = False
        self._is_loops_end: Callable[[], bool] = bool
        """Whether the event loop ends, which it does before the task is told that closes everything."""

    def statistics(self) -> ProviderStatistics:
        """A snapshot of the counts."""
        return snapshot(
            self._provider,
            self._ledger,
            close_failures=self._close_failures.count,
        )

    def _now(self) -> float:
        return self._time()

    def _apply(self) -> None:
        """Do what the ledger says is to be done now; nothing here awaits.

        An effect is in the books until it is done. An interrupt may come in between, so it may be done twice.
        """
        if self._is_applying:
            return  # a hook has called what led here; what it wants is done next
        effects = self._ledger.effects
        self._is_applying = True
        try:
            while effects:
                effect = effects[0]
                if isinstance(effect, Settle):  # first, as there may be a crowd of them
                    self._tell(effect.request)
                else:
                    self._act(effect)
                effects.popleft()
        finally:
            self._is_applying = False
        if self._timed and self._ledger.idle:
            self._alarms.expiry.poke()
        if self._drained is not None and self._ledger.is_drained:
            self._drained.set()

    def _ask(self, wants: tuple[Want, ...], owner: Hashable) -> Request:
        request = self._ledger.ask(wants, owner, self._now())
        self._apply()
        return request

    async def _ask_again(self, failed: Request) -> Request:
        """Where it would be a deadlock, when who was just given a handle has had the time to enter it."""
        for _ in range(_TURNS):
            if ending_of(failed) == "deadlock":
                moves = self._ledger.moves
                await self.checkpoint()
                if self._ledger.moves != moves:  # else it still would; a crowd of these asks long
                    failed = self._ask(failed.wants, failed.owner)
        return failed

    def _on_time(self, look: Callable[[float], float | None]) -> float | None:
        deadline = look(current_time())
        self._apply()
        return deadline

    def _on_dropped(self) -> None:
        if self._leaks.is_any_dropped and not self._loop_ends:
            with suppress(RuntimeError):  # the provider has just closed, and with it what was leased
                self._start_task(self._reclaim, f"doteval reclaim of {self._provider}")

    async def _reclaim(self) -> None:
        self._leaks.reclaim(self._release_dropped)

    def _release_dropped(self, lease: Lease) -> None:
        self._ledger.release(lease, DROPPED, self._now())
        self._emit("released", lease.entry, DROPPED)
        self._apply()

    def _look_for_leaks(self, now: float) -> float | None:
        return self._leaks.look(now, [lease for entry in self._ledger.entries for lease in entry.leases])

    def _tell(self, request: Request) -> None:
        if request.listener is not None:
            request.listener.set()
        if request.state is State.GRANTED and (self._on_event is not None or is_logged(DEBUG)):
            for lease in request.leases:
                lease.is_told = True
                self._emit("leased", lease.entry)

    def _act(
        self, effect: Open | CancelOpening | Check | Rest | Examine | Retired | Released | CloseFirst | Close
    ) -> None:
        """Do it, and then tell of it: an interrupt out of `on_event` must not keep it from being done."""
        if effect.entry.resource is None and not isinstance(effect, Open):
            return  # an interrupt came before it could be opened
        match effect:
            case Open(entry):
                if entry.resource is None:
                    with self.loop.recognised():
                        entry.resource = self._resource(entry)
                self._start_task(entry.resource.run, f"doteval {entry.want.label}", entry.inside)
                self._emit("opening", entry)
            case CancelOpening(entry):
                with self.loop.recognised():
                    entry.resource.abort()
            case Check(entry):
                entry.resource.check()
                self._emit("checking", entry)
            case Rest(entry):
                self._hooks.idle(entry)
            case Examine(entry):
                entry.resource.examine()
            case Retired(entry):
                self._emit("retiring", entry, entry.retiring)
            case Released(entry):
                if self._on_event is not None or is_logged(DEBUG):
                    self._emit("released", entry, entry.reason)
            case CloseFirst(entry):
                for dependent in tuple(entry.dependents):
                    then = partial(self._on_freed, entry, dependent)
                    dependent.close(then, f"'{entry.want.label}', which it leases, closes")
            case Close(entry):
                with self.loop.recognised():
                    entry.resource.close()
                self._emit("closing", entry, entry.reason)

    def _resource(self, entry: Entry) -> Resource[ModelT]:
        watch = _Watch(self, entry)
        entry.inside = Inside(entry, partial(self._close, entry))
        return self._new_resource(watch.make, watch, label=entry.want.label)

    def _close(self, entry: Entry, reason: str) -> None:
        self._ledger.close(entry, reason, self._now())
        self._apply()

    def _on_freed(self, entry: Entry, dependent: Inside) -> None:
        self._ledger.freed(entry, dependent, self._now())
        self._apply()

    def _lose(self, entry: Entry, error: BaseException | None) -> None:
        """The entry has broken off; why may only be known when its task is over."""
        if not entry.lost:
            reason = "it broke" if error is None else self._hooks.explain(entry.want, error)
            self._ledger.losing(entry, reason, self._now())
            self._emit("lost", entry, reason)
            self._apply()

    def _drop(self, entry: Entry, reason: str) -> None:
        """The entry is of no use any more; its task is told. One that closes anyway is not lost any more."""
        if entry.phase is Phase.CLOSING:
            return
        self._ledger.broken(entry, reason, self._now())
        self._emit("lost", entry, reason)
        self._apply()

    def _start_task(
        self, run: Callable[[], Coroutine[Any, Any, None]], name: str, resource: Inside | None = None
    ) -> None:
        assert self._task_group is not None
        context = self._context.copy()
        context.run(resource_here.set, resource)
        with self.loop.recognised():
            context.run(partial(self._task_group.start_soon, run, name=name))


@uninterruptible
class _Watch(Generic[ModelT]):
    """Enters in the books what one entry's task reports, then tells of it, and then does what follows."""

    def __init__(self, engine: Engine[ModelT], entry: Entry) -> None:
        self._engine = engine
        self._entry = entry
        self._started = current_time()

    def make(self) -> AbstractAsyncContextManager[ModelT]:
        return self._engine._make(self._entry.want, self._entry.slot_names)

    def on_opened(self) -> None:
        engine = self._engine
        now = current_time()
        engine._ledger.waits.opens.add(now - self._started)
        lifetime = engine._max_lifetime
        lives_for = math.inf if lifetime is None else lifetime * random.uniform(1 - _JITTER, 1)  # noqa: S311
        engine._ledger.opened(self._entry, now, lives_for)
        engine._alarms.ageing.poke()
        engine._alarms.examining.poke()
        engine._emit("opened", self._entry)
        engine._apply()

    def on_checked(self, healthy: bool, /) -> None:
        engine, entry = self._engine, self._entry
        if entry.phase is Phase.CHECKING:
            engine._ledger.checked(entry, healthy, engine._now())
            engine._apply()
        elif not healthy:  # it was asked for though it was leased
            engine._drop(entry, "it was found unhealthy")

    def on_check_raised(self, error: BaseException, /) -> None:
        self._engine._hooks.check_raised(self._entry, error)

    def on_losing(self, error: BaseException | None, /) -> None:
        self._engine._lose(self._entry, error)

    def on_ended(self, error: BaseException | None, /) -> None:
        try:
            self._ended(error)
        finally:
            self._entry.inside.end()

    def _ended(self, error: BaseException | None) -> None:
        engine, entry = self._engine, self._entry
        if isinstance(error, get_cancelled_exc_class()) and (engine._loop_ends or engine._is_loops_end()):
            error = None
        reason = "" if error is None else engine._hooks.explain(entry.want, error)
        was_opening = entry.phase is Phase.OPENING
        if entry.lost and reason:  # what broke it is often known only now; its handles show it
            entry.reason = f"{entry.reason}; {reason}" if isinstance(error, CloseTimeoutError) else reason
        engine._ledger.ended(entry, error, engine._now())
        if not entry.opened_before:
            engine._emit("open_failed" if error is not None and was_opening else "open_cancelled", entry, reason)
        elif error is None or entry.lost:
            engine._emit("closed", entry, reason or entry.reason)
        else:
            engine._close_failures.add(entry, error)
            logger.error("%s: closing '%s' failed: %s", engine._provider, entry.want.label, reason)
            engine._emit("close_failed", entry, reason)
        engine._apply()
