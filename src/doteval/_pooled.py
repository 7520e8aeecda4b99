"""``PooledProvider``, the base that keeps the contract for those who write one async context manager."""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Collection, Hashable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from anyio import create_task_group, get_cancelled_exc_class
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from typing_extensions import Unpack

from ._errors import ProviderClosedError, ProviderNotEnteredError
from ._explained import reason_of
from ._handle import LeasedHandle, ModelHandle
from ._hold import Hold
from ._keywords import completed, takes, unexpected
from ._pool.events import ProviderStatistics
from ._pool.ledger import Ledger
from ._pool.pool import Pool
from ._pool.records import Want
from ._pool_options import LeaseOptions, check_slots
from ._provider import ModelProvider, ModelT, in_any_task, raise_all
from ._setup import Setup, marked
from ._spec import check_spec, masked, resource_id, resource_key, secrets_of

PooledT = TypeVar("PooledT", bound="PooledProvider[Any]")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the opener of a resource needs to know."""

    spec: str
    config: dict[str, Any]


@takes(LeaseOptions)
class PooledProvider(ModelProvider[ModelT]):
    """A provider that opens each resource once and leases it to whoever asks.

    A subclass writes one async context manager, `open`; sharing, single flight, limits, health, eviction, recovery and
    teardown come from here::

        class DatabaseProvider(PooledProvider[Connection]):
            @asynccontextmanager
            async def open(self, spec: str, **config: Any) -> AsyncIterator[Connection]:
                async with connect(spec, **config) as connection:
                    yield connection

        async with DatabaseProvider() as provider:
            async with provider.setup("results.db") as handle:
                await handle.model.execute("...")

    The provider belongs to the run of the event loop in which it was entered. After ``async with`` it may be entered
    again, in this run or another.

    Args:
        capacity: How many slots there are, or their names (GPU ids); every open resource occupies `slots` of them.
            At the limit the least recently used idle resource is closed; one in use never is. `None`: no limit.
    """

    operational: ClassVar[frozenset[str]] = frozenset({"capacity"})

    def __init__(
        self,
        *,
        capacity: int | Sequence[str] | None = None,
        **options: Unpack[LeaseOptions],
    ) -> None:
        check_slots(capacity)
        self._pool_options, unknown = completed(LeaseOptions, options)
        if unknown:
            raise unexpected(type(self), unknown)
        self.close_timeout = self._pool_options["close_timeout"]
        self._fast_acquire = self._pool_options["fast_acquire"]
        self._capacity = capacity if capacity is None or isinstance(capacity, int) else tuple(capacity)
        self._included: list[PooledProvider[Any]] = []
        self._pool: Pool[ModelT] | None = None
        self._is_closed = False
        self._statistics = ProviderStatistics(self._display_name)
        self._hold = Hold(self._display_name)

    # ---------------------------------------------------------------- what authors write

    @abstractmethod
    def open(self, spec: str, /, *args: Any, **config: Any) -> AbstractAsyncContextManager[ModelT]:
        """Make the async context manager that opens the resource, yields the model, and closes it.

        It is entered and exited in one task of its own, so it may hold task groups and cancel scopes open. Whatever it
        raises while it is open makes the resource *lost*: its handles become inactive, the next `setup` opens a new
        one.

        When the last caller that waits for the opening leaves, the opening is cancelled; that may arrive as late as at
        the first checkpoint after the ``yield``, so what must not be left behind is cleaned up in a shield. A close
        that takes longer than `close_timeout` is cancelled in the same way.

        Args:
            spec: What was asked for.
            args: Never given; it is here so that a subclass may name the configuration it takes.
            config: The configuration given to `setup`. Where `capacity` is a list of names, also ``slots``, the tuple
                of those the resource may use.
        """

    async def healthy(self, model: ModelT, /) -> bool:
        """Whether an open resource is still good; asked as `health_after` says. Raising counts as no."""
        return True

    def is_broken(self, model: ModelT, /) -> bool:
        """Whether an open resource is of no use any more, as far as can be told at a glance.

        Asked at each lease and each release, also while others use it, so it must not block: a client that knows that
        it is closed, a process that has an exit code. Raising counts as yes. Its leases then end, and the next `setup`
        opens a new one. Where it is not overridden, nothing is asked.
        """
        return False

    def breaks(self, error: Exception, /) -> bool:
        """Whether an exception that leaves ``async with handle`` shows that the resource is of no use any more.

        If so, it is as if the block had called `ModelHandle.report_broken`. Raising counts as no.
        """
        return False

    def idle(self, model: ModelT, /) -> None:
        """The last lease has ended, and the resource stays open; must neither block nor raise.

        The counterpart is `healthy`: with ``health_after=0`` it is asked before every lease on an idle resource.
        """

    def slots(self, spec: str, /, **config: Any) -> int:
        """How many slots of `capacity` the resource occupies, at least 1."""
        return 1

    def secrets(self) -> Collection[str]:
        """Values that messages must not show, besides those in a resource's configuration."""
        return ()

    # ---------------------------------------------------------------- what users call

    @marked
    def setup(self, spec: str, /, **config: Any) -> Setup[ModelT]:
        """Lease the resource for `spec` and `config`; opens it where it is not open.

        Enter what it returns, and the handle is torn down at the end of the block; or await it::

            async with provider.setup("gpt-4o") as handle: ...

            handle = await provider.setup("gpt-4o")

        A checkpoint, unless ``fast_acquire=True`` and the resource is open. A cancelled caller just leaves: the opening
        goes on for the others, and is cancelled when nobody waits for it any more.

        Args:
            spec: What to lease, in the provider's own terms.
            config: How to open it. Spec and configuration together are the resource's key: the same ones share it.

        Returns:
            A handle of its own; tearing it down does not hurt anybody else.

        Raises:
            ModelSetupError: The resource could not be opened; the cause is attached.
            SpecError: `spec` cannot name a resource.
            SetupTimeoutError: `setup_timeout` passed; says who holds what.
            CapacityDeadlockError: Waiting could never end, as those who hold the slots wait themselves.
            CapacityExceededError: The resource needs more slots than there are.
            ProviderNotEnteredError: Used outside ``async with``.
            ProviderClosedError: The provider was closed, before or while waiting.
            WrongEventLoopError: Used in another event loop than the one that entered it.
        """
        return Setup(self._lease(spec, config))

    async def _lease(self, spec: str, config: dict[str, Any]) -> ModelHandle[ModelT]:
        pool = self._pool or self._entered_pool()
        want = None
        if config or type(spec) is not str:
            want = self._want(spec, config)
        key = spec if want is None else want.key
        lease = None
        if self._fast_acquire:
            lease = pool.lease_now(key)
        else:
            pool.check_loop()
            if pool.is_open(key):
                await pool.checkpoint()
                lease = pool.lease_now(key)
        if lease is None:  # what follows waits
            (lease,) = await (pool.join(key) or pool.acquire((want or self._want(spec, config),)))
        return LeasedHandle(lease, pool, self)

    _lease.__qualname__ = "PooledProvider.setup"  # what Python calls it where it was never awaited

    async def setup_many(self, *specs: str, **config: Any) -> tuple[ModelHandle[ModelT], ...]:
        """Lease several resources at once, all or nothing, so that two callers cannot wait for each other.

        Args:
            specs: What to lease; the same one twice gives two handles on one resource.
            config: How to open them; the same for all.

        Returns:
            The handles, in the order of `specs`.

        Raises:
            Exception: As `setup`.
        """
        pool = self._entered_pool()
        pool.check_loop()
        if not self._fast_acquire:
            await pool.checkpoint()
        if not specs:
            return ()
        leases = await pool.acquire(tuple(self._want(spec, config) for spec in specs))
        return tuple(LeasedHandle[ModelT](lease, pool, self) for lease in leases)

    def preload(self, spec: str, /, **config: Any) -> bool:
        """Begin to open a resource that will be needed soon; does not wait for it.

        Nobody is hurt by it: it is not begun where it would need slots that are leased or waited for. Then, and with
        ``keep_alive=0``, the answer is `False`. Else the resource is open, or being opened, and then idle; where the
        opening fails, the next `setup` tries it again and says why.

        Args:
            spec: As for `setup`.
            config: As for `setup`.

        Raises:
            SpecError: `spec` cannot name a resource.
            ProviderNotEnteredError: Used outside ``async with``.
            ProviderClosedError: The provider was closed.
            WrongEventLoopError: Used in another event loop than the one that entered it.
        """
        return self._entered_pool().preload(self._want(spec, config))

    async def teardown(self, resource_id: str, /) -> None:
        """Close one resource now, whoever holds it; their handles become inactive. An unknown id does nothing.

        Raises:
            Exception: What closing it raised.
        """
        await self._entered_pool().close(resource_id)

    async def teardown_all(self) -> None:
        """Close every resource now, all at the same time, each within `close_timeout`; the provider stays usable.

        The caller's cancellation is delivered when all are closed.

        Raises:
            ExceptionGroup: What went wrong, all of it, failures of earlier closings that nobody was told among them.
        """
        if self._pool is not None:
            failures = await self._pool.close_all()
            raise_all(f"closing resources of {type(self).__name__} failed", failures)
        await checkpoint()

    def statistics(self) -> ProviderStatistics:
        """A snapshot of the counts since the provider was entered; after it was closed, the last one."""
        return self._statistics if self._pool is None else self._pool.statistics()

    @in_any_task
    async def __aenter__(self) -> Self:
        """Enter the provider: from now on, and in this event loop, it may be used.

        Its tasks live in one of their own, so any task may leave it. A cancelled caller leaves nothing open.

        Raises:
            RuntimeError: It is entered already.
        """
        await self._hold.open(self._running())
        return self

    @in_any_task
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close every resource, all at the same time, each within `close_timeout`, whatever is cancelled meanwhile.

        Raises:
            ExceptionGroup: What went wrong while closing.
        """
        await self._hold.close()
        if exc_type is None:
            await checkpoint()
        return None

    def __repr__(self) -> str:
        name = self._display_name
        if self._pool is None:
            return f"<{name} {'closed' if self._is_closed else 'not entered'}>"
        now = self._pool.statistics()
        limit = "" if now.capacity is None else f", {now.free_slots} of {now.capacity} slots free"
        return (
            f"<{name} open={now.open} (idle={now.idle}) opening={now.opening} closing={now.closing} "
            f"leases={now.active_leases} waiting={now.waiting}{limit}>"
        )

    # ---------------------------------------------------------------- inside

    @property
    def _display_name(self) -> str:
        """What it is called in statistics, events and logs."""
        return type(self).__name__

    @property
    def _is_running(self) -> bool:
        """Whether it is entered, in an event loop that has not been closed."""
        return self._pool is not None and not self._pool.loop.is_closed

    def _include(self, inner: PooledT) -> PooledT:
        """Start `inner` before this provider and stop it after; call it in ``__init__``."""
        self._included.append(inner)
        return inner

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        """The provider's life; what goes wrong is not wrapped in a group of the task group's."""
        failure: BaseException | None = None  # raised when the group, which would wrap it, is left
        async with create_task_group() as task_group:
            try:
                self._start(task_group)
            except Exception as exc:
                failure = exc
            else:
                loop_ends = False
                try:
                    yield
                except get_cancelled_exc_class():
                    loop_ends = True
                    raise
                finally:
                    try:
                        await self._stop(loop_ends=loop_ends)
                    except BaseExceptionGroup as exc:
                        failure = exc
                    except (KeyboardInterrupt, SystemExit) as exc:
                        failure = exc
                        self._give_up()
        if failure is not None:
            raise failure

    def _start(self, task_group: TaskGroup) -> None:
        """Bind the provider to this run; its tasks live in `task_group`. Synchronous, so it can be done on demand."""
        if self._is_running:
            raise RuntimeError(f"{type(self).__name__} is entered already; share it instead of entering it twice")
        for inner in self._included:
            inner._start(task_group)
        options = self._pool_options
        timed = options["keep_alive"] or options["health_after"] is not None or options["remember_failures"]
        ledger = Ledger(
            self._display_name,
            capacity=self._capacity,
            keep_alive=options["keep_alive"],
            health_after=options["health_after"],
            remember_failures=options["remember_failures"],
            tells_idle=type(self).idle is not PooledProvider.idle,
        )
        self._pool = Pool(
            self._display_name,
            ledger,
            make=self._make,
            healthy=self.healthy,
            explain=self._explain,
            max_concurrent_opens=options["max_concurrent_opens"],
            close_timeout=self.close_timeout,
            setup_timeout=options["setup_timeout"],
            fast_acquire=self._fast_acquire,
            timed=bool(timed),
            on_idle=self.idle,
            is_broken=None if type(self).is_broken is PooledProvider.is_broken else self.is_broken,
            breaks=self.breaks,
            on_event=options["on_event"],
        )
        self._pool.start(task_group)
        self._is_closed = False

    async def _stop(self, *, loop_ends: bool = False) -> None:
        """Close everything for good; raises an ``ExceptionGroup`` of what went wrong."""
        if self._pool is None:
            return
        failures = await self._pool.stop(loop_ends=loop_ends)
        for inner in reversed(self._included):
            try:
                await inner._stop(loop_ends=loop_ends)
            except Exception as exc:
                failures.append(exc)
        self._statistics = self._pool.statistics()
        self._pool = None
        self._is_closed = True
        raise_all(f"closing {type(self).__name__} failed", failures)

    def _give_up(self) -> None:
        """Call off what is open or being closed, where an interrupt has broken off `_stop`."""
        for provider in (self, *self._included):
            if provider._pool is not None:
                provider._pool.give_up()

    def _entered_pool(self) -> Pool[ModelT]:
        if self._pool is None:
            name = type(self).__name__
            raise ProviderClosedError(name) if self._is_closed else ProviderNotEnteredError(name)
        return self._pool

    def _want(self, spec: str, config: dict[str, Any]) -> Want:
        check_spec(spec)
        slots = self.slots(spec, **config)
        if slots < 1:
            raise ValueError(f"{type(self).__name__}.slots({spec!r}) must be at least 1, not {slots!r}")
        key: Hashable = resource_key(spec, config)
        return Want(key, resource_id(spec, config), slots, _Asked(spec, config))

    def _users(self, resource_id: str) -> Collection[object]:
        """The tasks that lease the resource or wait for its opening; none where nobody does."""
        return () if self._pool is None else self._pool.users(resource_id)

    def _retire(self, resource_id: str, reason: str) -> None:
        """Lease the resource to nobody new from now on, and close it after its last lease; an idle one now.

        For `open`, where what it opened is about to be needed elsewhere; only where `capacity` is limited.
        """
        if self._pool is not None:
            self._pool.retire(resource_id, reason)

    def _resume(self, resource_id: str) -> None:
        """Lease the resource again, unless it is closing already."""
        if self._pool is not None:
            self._pool.resume(resource_id)

    def _lose(self, resource_id: str, error: BaseException) -> None:
        """End every lease on the resource, because of `error`; for `open`, which is about to raise it.

        What it raises later would say the same, but only when all is cleaned up.
        """
        if self._pool is not None:
            self._pool.lose(resource_id, error)

    def _make(self, want: Want, slot_names: tuple[str, ...]) -> AbstractAsyncContextManager[ModelT]:
        asked: _Asked = want.payload
        if slot_names:
            return self.open(asked.spec, slots=slot_names, **asked.config)
        return self.open(asked.spec, **asked.config)

    def _explain(self, want: Want, error: BaseException) -> str:
        asked: _Asked = want.payload
        return masked(reason_of(error), {*self.secrets(), *secrets_of(asked.config)})
