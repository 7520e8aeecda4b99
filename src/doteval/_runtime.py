"""``Runtime``: what a pooled provider needs while it runs, in one place, so that no name of an author's is taken."""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from anyio import create_task_group, get_cancelled_exc_class
from anyio.abc import TaskGroup

from ._context_managers import check_made
from ._errors import ProviderClosedError, ProviderNotEnteredError
from ._explained import reason_of
from ._handle import HandleManager, LeasedHandle, ModelHandle, ReclaimedHandle
from ._hold import Hold
from ._hooks_written import checked_slots
from ._pool.events import ProviderStatistics
from ._pool.inside import Inside
from ._pool.leaks import recording
from ._pool.ledger import Ledger
from ._pool.pool import Pool
from ._pool.records import Want
from ._pool_options import LeaseOptions
from ._provider import raise_all
from ._secrets import masked, secrets_of
from ._spec import check_spec, identified
from ._undelivered import deliver_cancellation

ModelT = TypeVar("ModelT")


class Author(HandleManager, Protocol[ModelT]):
    """What the author of a provider has written, or its base for them."""

    close_timeout: float

    def open(self, spec: str, /, *args: Any, **config: Any) -> AbstractAsyncContextManager[ModelT]: ...
    def healthy(self, model: ModelT, /) -> Awaitable[bool]: ...
    def is_broken(self, model: ModelT, /) -> bool: ...
    def breaks(self, error: Exception, /) -> bool: ...
    def idle(self, model: ModelT, /) -> None: ...
    def slots(self, spec: str, /, *args: Any, **config: Any) -> int: ...
    def secrets(self) -> Collection[str]: ...


@dataclass(frozen=True, slots=True, repr=False)
class Asked:
    """What the opener of a resource needs to know; no `repr` shows it, as it may hold a key."""

    spec: str
    config: dict[str, Any]


class Runtime(Generic[ModelT]):
    """What one provider runs on, time and again.

    Args:
        name: What the provider is called in statistics, events and logs.
        capacity: How many slots there are, or their names.
        options: All the others.
        base: The class that the author's hooks are compared with: what is not overridden is not asked.
    """

    def __init__(
        self, name: str, capacity: int | Sequence[str] | None, options: LeaseOptions, base: type[object]
    ) -> None:
        self._capacity = capacity if capacity is None or isinstance(capacity, int) else tuple(capacity)
        self._options = options
        self._base = base
        self.fast_acquire: bool = options["fast_acquire"]
        self._included: list[tuple[Author[Any], Runtime[Any]]] = []
        self.pool: Pool[ModelT] | None = None
        self._author: Author[ModelT] | None = None
        self._is_closed = self._loop_ended = False
        self.traces = False
        """Whether it is remembered where each lease is set up."""
        self.hand_out: type[LeasedHandle[ModelT]] = LeasedHandle
        """Makes the handles."""
        self.rename(name)

    def rename(self, name: str) -> None:
        """Call the provider something else from now on."""
        self.name = name
        self._statistics = ProviderStatistics(name)
        self.hold = Hold(name)

    @property
    def is_running(self) -> bool:
        """Whether it is entered, in an event loop that has not been closed."""
        return self.pool is not None and not self.pool.loop.is_closed

    def include(self, author: Author[Any], inner: Runtime[Any]) -> None:
        """Start another provider before this one, and stop it after."""
        self._included.append((author, inner))

    # ---------------------------------------------------------------- its life

    @asynccontextmanager
    async def running(self, author: Author[ModelT]) -> AsyncGenerator[None]:
        """The provider's life; what goes wrong is not wrapped in a group of the task group's."""
        failure: BaseException | None = None  # raised when the group, which would wrap it, is left
        async with create_task_group() as task_group:
            try:
                self.start(author, task_group)
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
                        await self.stop(loop_ends=loop_ends)
                    except BaseExceptionGroup as exc:
                        failure = exc
                    except (KeyboardInterrupt, SystemExit) as exc:
                        failure = exc
                        self.give_up()
        if failure is not None:
            raise failure

    def start(self, author: Author[ModelT], task_group: TaskGroup) -> None:
        """Bind the provider to this run; its tasks live in `task_group`. Synchronous, so it can be done on demand."""
        if self.is_running:
            raise RuntimeError(f"{self.name} is entered already; share it instead of entering it twice")
        for other, inner in self._included:
            inner.start(other, task_group)
        options = self._options
        is_limited = self._capacity is not None
        timed = options["keep_alive"] or options["health_after"] is not None or options["remember_failures"]
        ledger = Ledger(
            self.name,
            capacity=self._capacity,
            keep_alive=options["keep_alive"],
            health_after=options["health_after"],
            max_waiting=options["max_waiting"],
            health_every=options["health_every"],
            remember_failures=options["remember_failures"],
            tells_idle=self._is_overridden(author, "idle"),
        )
        self._author = author
        self.pool = Pool(
            self.name,
            ledger,
            make=self._make,
            healthy=author.healthy,
            explain=self._explain,
            max_concurrent_opens=options["max_concurrent_opens"],
            close_timeout=author.close_timeout,
            leak_after=options["leak_after"],
            max_lifetime=options["max_lifetime"],
            health_timeout=options["health_timeout"],
            setup_timeout=options["setup_timeout"],
            fast_acquire=self.fast_acquire,
            timed=bool(timed),
            on_idle=author.idle,
            is_broken=author.is_broken if self._is_overridden(author, "is_broken") else None,
            breaks=author.breaks,
            on_event=options["on_event"],
        )
        self.pool.start(task_group)
        self._is_closed = self._loop_ended = False
        asked = sys.flags.dev_mode if options["trace_leases"] is None else options["trace_leases"]
        self.traces = asked or options["leak_after"] is not None or recording.is_on
        # Where neither slots nor time are short, a dropped handle takes nothing from anybody, and to notice it costs.
        reclaims = self.traces or is_limited or options["keep_alive"] is not None
        self.hand_out = ReclaimedHandle if reclaims else LeasedHandle

    async def stop(self, *, loop_ends: bool = False) -> None:
        """Close everything for good; raises an ``ExceptionGroup`` of what went wrong."""
        if self.pool is None:
            return
        failures = await self.pool.stop(loop_ends=loop_ends)
        for _, inner in reversed(self._included):
            try:
                await inner.stop(loop_ends=loop_ends)
            except Exception as exc:
                failures.append(exc)
        self._statistics = self.pool.statistics()
        self.pool = self._author = None
        self._is_closed, self._loop_ended = True, loop_ends
        raise_all(f"closing {self.name} failed", failures)

    def give_up(self) -> None:
        """Call off what is open or being closed, where an interrupt has broken off `stop`."""
        for runtime in (self, *(inner for _, inner in self._included)):
            if runtime.pool is not None:
                runtime.pool.give_up()

    # ---------------------------------------------------------------- what is asked of it

    def entered_pool(self) -> Pool[ModelT]:
        """The pool.

        Raises:
            ProviderNotEnteredError: There is none yet.
            ProviderClosedError: There is none any more.
        """
        if self.pool is None:
            if not self._is_closed:
                raise ProviderNotEnteredError(self.name)
            raise ProviderClosedError(self.name, loop_ended=self._loop_ended)
        return self.pool

    def resize(self, capacity: int | Sequence[str]) -> None:
        """Have so many slots from now on, also when it is entered again."""
        if self._capacity is None:
            raise ValueError(f"{self.name} was made without capacity=, so it keeps no account of slots")
        if isinstance(self._capacity, int) is not isinstance(capacity, int):
            raise ValueError("slots that have names stay so: pass the list of their names")
        slots = capacity if isinstance(capacity, int) else tuple(capacity)
        if self.pool is not None:
            self.pool.resize(slots)  # where it raises, nothing has changed
        self._capacity = slots

    def statistics(self) -> ProviderStatistics:
        """A snapshot of the counts; after the provider was closed, the last one."""
        return self._statistics if self.pool is None else self.pool.statistics()

    async def lease(self, manager: HandleManager, spec: str, config: dict[str, Any]) -> ModelHandle[ModelT]:
        """Lease the resource for `spec` and `config`."""
        if self.pool is None:
            config = {}  # a traceback would show it
        pool = self.pool or self.entered_pool()
        want = None
        if config or type(spec) is not str:
            asked = Asked(spec, config)
            config = {}  # as above
            want = self.want(asked)
        key = spec if want is None else want.key
        lease = None
        if self.fast_acquire:
            lease = pool.lease_now(key)
        else:
            pool.check_loop()
            if pool.is_open(key):
                await pool.checkpoint()
                lease = pool.lease_now(key)
        if lease is None:  # what follows waits
            deliver_cancellation()
            (lease,) = await (pool.join(key) or pool.acquire((want or self.want(Asked(spec, config)),)))
        if self.traces:
            pool.trace(lease)
        return self.hand_out(lease, pool, manager)

    lease.__qualname__ = "PooledProvider.setup"  # what Python calls it where it was never awaited

    def want(self, asked: Asked) -> Want:
        """What is asked for.

        Raises:
            SpecError: `spec` cannot name a resource.
            ProviderClosedError: The provider was closed.
        """
        check_spec(asked.spec)
        author = self._author
        if author is None:  # since the caller looked, there was a checkpoint
            raise ProviderClosedError(self.name)
        slots = checked_slots(author.slots(asked.spec, **asked.config), author, asked.spec)
        key, label = identified(asked.spec, asked.config)
        return Want(key, label, slots, asked)

    def __repr__(self) -> str:
        if self.pool is None:
            return f"<{self.name} {'closed' if self._is_closed else 'not entered'}>"
        now = self.pool.statistics()
        limit = "" if now.capacity is None else f", {now.free_slots} of {now.capacity} slots free"
        return (
            f"<{self.name} open={now.open} (idle={now.idle}) opening={now.opening} closing={now.closing} "
            f"leases={now.active_leases} waiting={now.waiting}{limit}>"
        )

    # ---------------------------------------------------------------- what open() asks of it

    def users(self, resource_id: str) -> Collection[object]:
        """The tasks that lease the resource or wait for its opening; none where nobody does."""
        return () if self.pool is None else self.pool.users(resource_id)

    def refuse(self, resource_id: str, users: Collection[object], error: BaseException) -> None:
        """Some of the tasks that wait for the opening get an error at once; for the others it goes on."""
        if self.pool is not None:
            self.pool.refuse(resource_id, users, error)

    def retire(self, resource_id: str, reason: str) -> None:
        """Lease the resource to nobody new from now on, and close it after its last lease; an idle one now.

        For `open`, where what it opened is about to be needed elsewhere; only where `capacity` is limited.
        """
        if self.pool is not None:
            self.pool.retire(resource_id, reason)

    def resume(self, resource_id: str) -> None:
        """Lease the resource again, unless it is closing already."""
        if self.pool is not None:
            self.pool.resume(resource_id)

    def lose(self, resource: Inside | None, error: BaseException) -> None:
        """End every lease on the resource, because of `error`; for `open`, which is about to raise it.

        What it raises later would say the same, but only when all is cleaned up.

        Args:
            resource: What `resource_here` has in ``open``; of several generations it is the one that breaks.
            error: Why.
        """
        if self.pool is not None and resource is not None:
            self.pool.lose(resource, error)

    def tell_of_replica(
        self, resource: Inside | None, kind: Literal["replica_opened", "replica_lost"], reason: str
    ) -> None:
        """Tell that a part of a resource has opened, or has broken off while the rest goes on; for `open`."""
        if self.pool is not None and resource is not None:
            self.pool.tell_of_replica(resource, kind, reason)

    # ---------------------------------------------------------------- what the pool asks

    def _is_overridden(self, author: Author[ModelT], hook: str) -> bool:
        return getattr(type(author), hook) is not getattr(self._base, hook)

    def _make(self, want: Want, slot_names: tuple[str, ...]) -> AbstractAsyncContextManager[ModelT]:
        assert self._author is not None
        asked: Asked = want.payload
        more: dict[str, Any] = {"slots": slot_names} if slot_names else {}
        made = self._author.open(asked.spec, **more, **asked.config)
        check_made(made, f"{type(self._author).__name__}.open")
        return made

    def _explain(self, want: Want, error: BaseException) -> str:
        asked: Asked = want.payload
        own = () if self._author is None else self._author.secrets()
        own = (own,) if isinstance(own, str) else own  # a text is one secret, and none of its letters is
        return masked(reason_of(error), {*own, *secrets_of(asked.config)})
