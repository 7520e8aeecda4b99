"""The pool: enters in the ledger what callers want and what resource tasks report, and acts on the ledger's effects.

Every method that changes the books does so in one synchronous step (`Ledger`, then `_apply`) and only then awaits. That
is why a cancellation at any checkpoint finds the books in order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import AbstractAsyncContextManager
from contextvars import copy_context
from functools import partial
from logging import DEBUG
from typing import Any, Generic, TypeVar

from anyio import CancelScope, CapacityLimiter, Event, current_time, get_cancelled_exc_class, move_on_after, sleep_until
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from .._errors import (
    CapacityDeadlockError,
    DotevalError,
    ModelSetupError,
    ProviderClosedError,
    SetupTimeoutError,
    WrongEventLoopError,
)
from .._hold import wait_out
from .._loop import HomeLoop
from .events import PoolEvent, ProviderStatistics
from .ledger import Ledger
from .owners import Preloading, TaskOwner
from .records import CancelOpening, Check, Close, Entry, Lease, Open, Phase, Request, Rest, Settle, State, Want
from .reporter import Reporter, logger
from .resource import Resource
from .snapshot import snapshot

ModelT = TypeVar("ModelT")

_UNDECIDED = (State.QUEUED, State.ADMITTED)
_is_logged = logger.isEnabledFor


class Pool(Generic[ModelT]):
    """The engine under one entered provider.

    Args:
        provider: The provider's name, for messages.
        ledger: The books, new and empty.
        make: Makes the context manager that opens what is wanted; gets the want and the names of its slots.
        healthy: Tells whether a model is still good.
        explain: Says why an opening failed, in words that hold no secret.
        max_concurrent_opens: How many openings run at once.
        close_timeout: How long closing one resource may take, in seconds.
        setup_timeout: How long a request may wait, in seconds; `None` for ever.
        fast_acquire: Skip the checkpoints where nothing has to be waited for.
        timed: Whether the ledger is told the time; without timed rules that would only cost.
        on_idle: Gets the model when its last lease has ended, where the ledger tells.
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
        setup_timeout: float | None,
        fast_acquire: bool,
        timed: bool,
        on_idle: Callable[[ModelT], object],
        on_event: Callable[[PoolEvent], object] | None,
    ) -> None:
        self._provider = provider
        self._ledger = ledger
        self._make = make
        self._healthy = healthy
        self._explain = explain
        self._opens = CapacityLimiter(max_concurrent_opens)
        self._close_timeout = close_timeout
        self._setup_timeout = setup_timeout
        self._fast_acquire = fast_acquire
        self._timed = timed
        self._on_idle = on_idle
        self._on_event = on_event
        self._emit = Reporter(provider, on_event).report
        self.loop = HomeLoop(provider)
        self._home, self._running = self.loop.native, self.loop.running
        self.check_loop, self.checkpoint = self.loop.check, self.loop.checkpoint
        self._task_group: TaskGroup | None = None
        self._context = copy_context()
        self._expiry_scope = CancelScope(shield=True)
        self._became_idle = Event()
        self._loop_ends = False
        self._close_failures: dict[Entry, BaseException] = {}
        self._close_failure_count = 0
        self._setup_seconds = 0.0

    def start(self, task_group: TaskGroup) -> None:
        """Run the resource tasks in `task_group` from now on, each in a copy of the context the pool was made in."""
        self._task_group = task_group
        if self._ledger.keeps_for_a_while:
            task_group.start_soon(self._expire, name=f"doteval expiry of {self._provider}")

    # ---------------------------------------------------------------- leasing

    def lease_now(self, key: Hashable) -> Lease | None:
        """Lease what is open, or return `None` where that takes more than a look."""
        try:  # as `check_loop`, without the call
            is_home = self._running() is self._home
        except RuntimeError:
            is_home = False
        if not is_home:
            raise WrongEventLoopError(self._provider)
        ledger = self._ledger
        owner = None if ledger.capacity is None else TaskOwner()
        lease = ledger.lease_now(key, owner, current_time() if self._timed else 0.0)
        if lease is not None and (self._on_event is not None or _is_logged(DEBUG)):
            self._emit("leased", lease.entry)
        return lease

    def is_open(self, key: Hashable) -> bool:
        """Whether something is open under the key; whether it can be leased now is another question."""
        return self._ledger.is_open(key)

    def join(self, key: Hashable) -> Awaitable[tuple[Lease, ...]] | None:
        """Lease what is being opened already, or return `None` where nothing is; otherwise as `acquire`.

        A crowd of newcomers need not work out again what it wants, and is woken by one event.
        """
        request = self._ledger.join(key, None if self._ledger.capacity is None else TaskOwner())
        if request is None:
            return None
        entry = request.leases[0].entry
        if entry.crowd is None:
            entry.crowd = Event()
        request.listener = entry.crowd
        return self._granted(request)

    async def acquire(self, wants: tuple[Want, ...]) -> tuple[Lease, ...]:
        """Lease everything wanted, or nothing. Call `check_loop` before. A checkpoint, unless what is wanted is open.

        A caller cancelled while it waits leaves the queue; what was granted to it in the same moment is released again.
        """
        if not self._fast_acquire:
            await self.loop.checkpoint_if_cancelled()
        owner = None if self._ledger.capacity is None else TaskOwner()
        request = self._ledger.ask(wants, owner, self._now())
        self._apply()
        return await self._granted(request)

    async def _granted(self, request: Request) -> tuple[Lease, ...]:
        """Wait until the request is decided; one coroutine, as a crowd may wait here."""
        account: list[str] = []
        try:
            if self._setup_timeout is None:  # without a scope, which costs as much as all the rest of waiting
                if request.state in _UNDECIDED:
                    await _listener(request).wait()
            else:
                with move_on_after(self._setup_timeout):
                    if request.state in _UNDECIDED:
                        await _listener(request).wait()
                if request.state in _UNDECIDED:
                    account = self._ledger.account()
        except BaseException:
            self._ledger.abandon(request, self._now())
            self._apply()
            raise
        if request.state in _UNDECIDED:
            self._ledger.abandon(request, self._now())
            self._apply()
            assert self._setup_timeout is not None
            raise SetupTimeoutError([want.label for want in request.wants], self._setup_timeout, account)
        if request.state is State.FAILED:
            self._raise_failure(request)
        return request.leases

    def preload(self, want: Want) -> bool:
        """Begin to open what is wanted, where there is room for it; whether it is open or being opened."""
        self.check_loop()
        if self._ledger.closes_at_once or not self._ledger.has_room(want):
            return False
        request = self._ledger.ask((want,), Preloading(), self._now())
        self._apply()
        self._start_task(partial(self._rest, request), f"doteval preload of {want.label}")
        return True

    async def _rest(self, request: Request) -> None:
        """Wait for a lease that nobody uses, and end it. Why there is none, the next one who asks is told."""
        try:
            leases = await self._granted(request)
        except DotevalError:
            return
        for lease in leases:
            if not lease.ended:
                self._ledger.release(lease, "it was opened ahead", self._now())
                self._emit("released", lease.entry)
        self._apply()

    def release(self, lease: Lease) -> Awaitable[None] | None:
        """End a lease, at once; the caller awaits what is returned, if anything is.

        Where that closes the resource (``keep_alive=0``), it waits for the closing and raises what it raised. A
        cancelled caller stops waiting; the closing goes on in its own task.
        """
        if lease.ended:
            return checkpoint()  # of whatever loop: the provider's may be over
        try:  # as `check_loop`, without the call
            is_home = self._running() is self._home
        except RuntimeError:
            is_home = False
        if not is_home:
            raise WrongEventLoopError(self._provider)
        entry, ledger = lease.entry, self._ledger
        ledger.release(lease, "you tore it down", current_time() if self._timed else 0.0)
        if self._on_event is not None or _is_logged(DEBUG):
            self._emit("released", entry)
        if ledger.effects or self._timed:
            self._apply()
        if ledger.closes_at_once and entry.phase is Phase.CLOSING:
            return self._wait_until_closed(entry)
        return None if self._fast_acquire else self.checkpoint()

    def adopt(self, lease: Lease) -> None:
        """The current task is responsible for the lease from now on."""
        if self._ledger.capacity is not None:
            self._ledger.adopt(lease, TaskOwner())

    # ---------------------------------------------------------------- closing

    async def close(self, label: str) -> None:
        """Close the resource with this id now, whoever holds it; does nothing where there is none."""
        self.check_loop()
        entry = self._ledger.find(label)
        if entry is not None:
            self._ledger.close(entry, "its provider's teardown() was called", self._now())
            self._apply()
            await self._wait_until_closed(entry)
        await checkpoint()

    def retire(self, label: str, reason: str) -> None:
        """Lease the resource with this id to nobody new and close it after its last lease; takes effect at once."""
        entry = self._ledger.find(label)
        if entry is not None and not entry.retiring and entry.phase is not Phase.CLOSING:
            self._emit("retiring", entry, reason)
            self._ledger.retire(entry, reason, self._now())
            self._apply()

    def resume(self, label: str) -> None:
        """Lease the resource with this id again, unless it is closing already; takes effect at once."""
        entry = self._ledger.find(label)
        if entry is not None:
            self._ledger.resume(entry, self._now())
            self._apply()

    def lose(self, label: str, error: BaseException) -> None:
        """The resource with this id has broken off: end its leases now, and open the next one when its task is over."""
        entry = self._ledger.find(label)
        if entry is not None and entry.phase in (Phase.OPEN, Phase.CHECKING):
            self._lose(entry, self._explain(entry.want, error))

    def _lose(self, entry: Entry, reason: str) -> None:
        if entry.lost:
            return
        self._ledger.losing(entry, reason, self._now())
        self._emit("lost", entry, reason)
        self._apply()

    async def close_all(self) -> list[BaseException]:
        """Close every resource, all at once, in a shield; return what went wrong, that of earlier closings included."""
        self.check_loop()
        for entry in list(self._ledger.entries):
            self._ledger.close(entry, "its provider's teardown_all() was called", self._now())
        cancellation = await self._finish()
        if cancellation is not None:
            raise cancellation
        return self._take_failures()

    async def stop(self, *, loop_ends: bool = False) -> list[BaseException]:
        """Close every resource for good, all at once, in a shield; return what went wrong.

        Only for a task of ours: where asyncio cancels that, its event loop ends, and it ends after this anyway.

        Args:
            loop_ends: It is closed because the event loop ends, so asyncio has cancelled the resources' tasks, too.
        """
        self._loop_ends = loop_ends
        self._ledger.shut(self._now())
        self._expiry_scope.cancel()
        await self._finish()
        return self._take_failures()

    async def _finish(self) -> BaseException | None:
        self._apply()
        # Bounded: every resource has a close_timeout of its own.
        return await wait_out(*(entry.resource.done for entry in self._ledger.entries))

    def _take_failures(self) -> list[BaseException]:
        failures = list(self._close_failures.values())
        self._close_failures.clear()
        return failures

    # ---------------------------------------------------------------- looking

    def statistics(self) -> ProviderStatistics:
        """A snapshot of the counts."""
        return snapshot(
            self._provider, self._ledger, close_failures=self._close_failure_count, setup_seconds=self._setup_seconds
        )

    # ---------------------------------------------------------------- inside

    def _now(self) -> float:
        return current_time() if self._timed else 0.0

    def _raise_failure(self, request: Request) -> None:
        """Every request gets an exception of its own; the original is shared as the cause."""
        error = request.error
        if isinstance(error, CapacityDeadlockError):
            raise error
        if isinstance(error, ProviderClosedError):
            raise ProviderClosedError(self._provider)
        want = request.failed_want or request.wants[0]
        if isinstance(error, ModelSetupError) and error.resource_id == want.label:
            raise ModelSetupError(error.resource_id, error.reason, error.advice) from error.__cause__
        assert error is not None
        raise ModelSetupError(want.label, self._explain(want, error)) from error

    async def _wait_until_closed(self, entry: Entry) -> None:
        await entry.resource.done.wait()
        failure = self._close_failures.pop(entry, None)
        if failure is not None:
            raise failure

    async def _expire(self) -> None:
        with self._expiry_scope:
            while True:
                deadline = self._ledger.expire(current_time())
                self._apply()
                if deadline is None:
                    self._became_idle = Event()
                    await self._became_idle.wait()
                else:
                    await sleep_until(deadline)

    def _apply(self) -> None:
        """Do what the ledger says is to be done now; nothing here awaits."""
        while self._ledger.effects:
            for effect in self._ledger.take_effects():
                if isinstance(effect, Settle):  # first, as there may be a crowd of them
                    self._tell(effect.request)
                else:
                    self._act(effect)
        if self._timed and self._ledger.idle:
            self._became_idle.set()

    def _tell(self, request: Request) -> None:
        if request.state is State.GRANTED and (self._on_event is not None or _is_logged(DEBUG)):
            for lease in request.leases:
                self._emit("leased", lease.entry)
        if request.listener is not None:
            request.listener.set()

    def _act(self, effect: Open | CancelOpening | Check | Rest | Close) -> None:
        match effect:
            case Open(entry):
                self._emit("opening", entry)
                watch = _Watch(self, entry)
                entry.resource = Resource(
                    watch.make,
                    self._healthy,
                    watch,
                    label=entry.want.label,
                    opens=self._opens,
                    close_timeout=self._close_timeout,
                )
                self._start_task(entry.resource.run, f"doteval {entry.want.label}")
            case CancelOpening(entry):
                entry.resource.abort()
            case Check(entry):
                self._emit("checking", entry)
                entry.resource.check()
            case Rest(entry):
                self._on_idle(entry.resource.model)
            case Close(entry):
                self._emit("closing", entry, entry.reason)
                entry.resource.close()

    def _start_task(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        assert self._task_group is not None
        # In a copy of a copy, as a task that is started eagerly may get here again.
        self._context.copy().run(partial(self._task_group.start_soon, run, name=name))


def _listener(request: Request) -> Event:
    """What is set when it is decided what becomes of the request, and of its crowd."""
    if request.listener is None:
        request.listener = Event()
    listener: Event = request.listener
    return listener


class _Watch(Generic[ModelT]):
    """Passes on to the pool and its ledger what one entry's task reports."""

    def __init__(self, pool: Pool[ModelT], entry: Entry) -> None:
        self._pool = pool
        self._entry = entry
        self._started = current_time()

    def make(self) -> AbstractAsyncContextManager[ModelT]:
        return self._pool._make(self._entry.want, self._entry.slot_names)

    def on_opened(self) -> None:
        self._pool._setup_seconds += current_time() - self._started
        self._pool._emit("opened", self._entry)
        self._pool._ledger.opened(self._entry)
        self._pool._apply()

    def on_checked(self, healthy: bool, /) -> None:
        self._pool._ledger.checked(self._entry, healthy, self._pool._now())
        self._pool._apply()

    def on_losing(self, error: BaseException | None, /) -> None:
        reason = "it broke" if error is None else self._pool._explain(self._entry.want, error)
        self._pool._lose(self._entry, reason)

    def on_ended(self, error: BaseException | None, /) -> None:
        pool, entry = self._pool, self._entry
        if pool._loop_ends and isinstance(error, get_cancelled_exc_class()):
            error = None
        reason = "" if error is None else pool._explain(entry.want, error)
        if not entry.opened_before:
            opened = entry.phase is Phase.OPENING
            pool._emit("open_failed" if error is not None and opened else "open_cancelled", entry, reason)
        elif error is None or entry.lost:
            pool._emit("closed", entry, reason or entry.reason)
        else:
            pool._close_failures[entry] = error
            pool._close_failure_count += 1
            logger.error("%s: closing '%s' failed: %s", pool._provider, entry.want.label, reason)
            pool._emit("close_failed", entry, reason)
        if entry.lost and reason:
            entry.reason = reason  # what broke it is often known only now; its handles show it
        pool._ledger.ended(entry, error, pool._now())
        pool._apply()
