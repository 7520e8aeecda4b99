"""``PooledProvider``, the base that keeps the contract for those who write one async context manager."""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from inspect import getattr_static
from types import TracebackType
from typing import Any, ClassVar, Never, Self, TypeVar

from anyio.lowlevel import checkpoint
from typing_extensions import Unpack

from ._context_managers import check_function
from ._handle import ModelHandle
from ._hooks_written import check_at_once
from ._keywords import completed, takes, unexpected
from ._pool.events import ProviderStatistics
from ._pool_options import LeaseOptions, check_slots
from ._provider import ModelProvider, ModelT, in_any_task, raise_all
from ._runtime import Asked, Runtime
from ._setup import Setup, marked
from ._undelivered import deliver_cancellation

PooledT = TypeVar("PooledT", bound="PooledProvider[Any]")


_RUNTIME = "_PooledProvider__runtime"


class _HasRuntime(ModelProvider[ModelT]):
    """Made with what a provider runs on, also where a subclass does not call `super().__init__()`.

    A class of its own, as a signature is that of ``__new__`` where a class has that and ``__init__``.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls, *args, **kwargs)
        options, _ = completed(LeaseOptions, {})
        vars(self)[_RUNTIME] = Runtime(cls.__name__, None, options, PooledProvider)
        return self


@takes(LeaseOptions)
class PooledProvider(_HasRuntime[ModelT]):
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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_at_once(cls, "is_broken", "breaks", "idle", "slots", "secrets")
        check_function(getattr_static(cls, "open"), f"{cls.__name__}.open")

    def __init__(
        self,
        *,
        capacity: int | Sequence[str] | None = None,
        **options: Unpack[LeaseOptions],
    ) -> None:
        check_slots(capacity)
        own, unknown = completed(LeaseOptions, options)
        if unknown:
            raise unexpected(type(self), unknown)
        runtime = Runtime[ModelT](type(self).__name__, capacity, own, PooledProvider)
        vars(self).update({"close_timeout": own["close_timeout"], _RUNTIME: runtime})  # it may be a frozen dataclass

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
        """Whether an open resource is still good; asked as `health_after` says. Raising counts as no, and is logged."""
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

    def slots(self, spec: str, /, *args: Any, **config: Any) -> int:
        """How many slots of `capacity` the resource occupies, at least 1; `args` as of `open`."""
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
        return Setup(self.__runtime.lease(self, spec, config))

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
        asked = tuple(Asked(spec, config) for spec in specs)
        del config  # a traceback would show it
        pool = self.__runtime.entered_pool()
        pool.check_loop()
        deliver_cancellation()
        if not self.__runtime.fast_acquire:
            await pool.checkpoint()
        if not specs:
            return ()
        leases = await pool.acquire(tuple(map(self.__runtime.want, asked)))
        if self.__runtime.traces:
            for lease in leases:
                pool.trace(lease)
        return tuple(self.__runtime.hand_out(lease, pool, self) for lease in leases)

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
        asked = Asked(spec, config)
        del config  # a traceback would show it
        return self.__runtime.entered_pool().preload(self.__runtime.want(asked))

    async def teardown(self, resource_id: str, /) -> None:
        """Close one resource now, whoever holds it; their handles become inactive. An unknown id does nothing.

        Raises:
            Exception: What closing it raised.
        """
        await self.__runtime.entered_pool().close(resource_id)

    async def teardown_all(self) -> None:
        """Close every resource now, all at the same time, each within `close_timeout`; the provider stays usable.

        The caller's cancellation is delivered when all are closed.

        Raises:
            ExceptionGroup: What went wrong, all of it, failures of earlier closings that nobody was told among them.
        """
        pool = self.__runtime.pool
        if pool is not None:
            failures = await pool.close_all()
            raise_all(f"closing resources of {type(self).__name__} failed", failures)
        await checkpoint()

    async def drain(self) -> None:
        """Give out no more leases, and wait until there is none any more; for a shutdown that hurts nobody.

        Who waits for a lease already still gets it. Everybody else gets a `ProviderClosedError` from now on, until the
        provider is closed and entered again. A cancelled caller stops waiting; the provider stays as it is.
        ::

            with move_on_after(30):
                await provider.drain()
            await provider.aclose()

        Raises:
            RuntimeError: The task or thread that calls it holds a lease itself; known only where there is a `capacity`.
            ProviderNotEnteredError: Used outside ``async with``.
            ProviderClosedError: The provider was closed.
            WrongEventLoopError: Used in another event loop than the one that entered it.
        """
        deliver_cancellation()
        await self.__runtime.entered_pool().drain()

    def resize(self, capacity: int | Sequence[str], /) -> None:
        """Have so many slots from now on, or those of these names; takes effect at once.

        What is leased stays leased. Where there are fewer slots than are occupied, idle resources are closed, and
        nothing is opened until leases have ended. Who waits for more slots than there are any more is told. What is on
        a slot whose name is gone is leased to nobody new, and closes after its last lease.

        Args:
            capacity: As in the constructor; a number where that was a number, names where it was names.

        Raises:
            ValueError: It cannot be meant, or the provider was made without a capacity.
            WrongEventLoopError: Used in another event loop than the one that entered it.
        """
        check_slots(capacity)
        self.__runtime.resize(capacity)

    def statistics(self) -> ProviderStatistics:
        """A snapshot of the counts since the provider was entered; after it was closed, the last one."""
        return self.__runtime.statistics()

    def __copy__(self) -> Never:
        """A copy would share what is open."""
        raise TypeError(
            f"{type(self).__name__} cannot be copied, as the copy would share its resources: make another one"
        )

    @in_any_task
    async def __aenter__(self) -> Self:
        """Enter the provider: from now on, and in this event loop, it may be used.

        Its tasks live in one of their own, so any task may leave it. A cancelled caller leaves nothing open.

        Raises:
            RuntimeError: It is entered already.
        """
        await self.__runtime.hold.open(self.__runtime.running(self))
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
        await self.__runtime.hold.close()
        if exc_type is None:
            await checkpoint()
        return None

    def __repr__(self) -> str:
        return repr(self.__runtime)

    __runtime: Runtime[ModelT]


def runtime_of(provider: PooledProvider[ModelT]) -> Runtime[ModelT]:
    """What a provider runs on."""
    runtime: Runtime[ModelT] = vars(provider)[_RUNTIME]
    return runtime


def include(provider: PooledProvider[Any], inner: PooledT) -> PooledT:
    """Start `inner` before a provider and stop it after; for its ``__init__``."""
    runtime_of(provider).include(inner, runtime_of(inner))
    return inner
