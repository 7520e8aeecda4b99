"""``ModelHandle``: one lease on one resource, given out by a provider."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Generic, Never, Protocol, Self, cast

from anyio import CancelScope, current_time
from anyio.lowlevel import checkpoint
from typing_extensions import TypeVar

from ._errors import CloseTimeoutError, HandleInactiveError
from ._hooks_written import checked_identity, checked_manager, to_await
from ._pool.pool import Pool
from ._pool.records import Lease

ModelT_co = TypeVar("ModelT_co", covariant=True, default=Any)

CLOSE_TIMEOUT = 30.0
"""How long closing one resource may take, in seconds, where nobody says otherwise."""


class HandleManager(Protocol):
    """What a handle needs of whoever made it; every `ModelProvider` is one, and so is any class with this method."""

    async def teardown(self, resource_id: str, /) -> None:
        """Tear down the resource."""
        ...


class ModelHandle(Generic[ModelT_co]):
    """One lease on one resource.

    Args:
        resource_id: The readable name of the resource.
        model: What is leased.
        manager: The provider that gives the handle out; tearing the handle down calls its ``teardown(resource_id)``.

    Use it with ``async with``, or call `teardown` when you are done::

        async with provider.setup("gpt-4o") as handle:
            reply = await handle.model.generate("Hello")
    """

    __slots__ = ("__weakref__", "_ended", "_manager", "_model", "_resource_id")

    def __init__(self, resource_id: str, model: ModelT_co, manager: HandleManager) -> None:
        self._resource_id = resource_id
        self._model: ModelT_co | None = model
        self._manager = manager
        self._ended = ""
        checked_manager(manager, resource_id)
        _given_out_by(manager)[id(self)] = self

    @property
    def resource_id(self) -> str:
        """The readable name of the resource; it never holds a secret."""
        return self._resource_id

    @property
    def manager(self) -> HandleManager:
        """The provider that gave the handle out."""
        return self._manager

    @property
    def is_active(self) -> bool:
        """Whether the lease still holds."""
        return not self._why_inactive()

    @property
    def model(self) -> ModelT_co:
        """What is leased.

        Raises:
            HandleInactiveError: The lease has ended; the message says why.
        """
        reason = self._why_inactive()
        if reason:
            raise HandleInactiveError(self._resource_id, reason)
        return self._get_model()

    async def teardown(self) -> None:
        """End the lease.

        It takes effect before the first await, and a second call does nothing. The manager's own teardown then runs
        in a shield, for at most the manager's ``close_timeout`` seconds, so that a cancelled caller leaves nothing
        open; the cancellation is delivered afterwards. Always a checkpoint.

        Raises:
            CloseTimeoutError: The manager's teardown took too long and was cancelled.
        """
        if not self._ended:
            self._end("you tore it down")
            seconds = getattr(self._manager, "close_timeout", CLOSE_TIMEOUT)
            if not isinstance(seconds, (int, float)):  # a mock has everything
                seconds = CLOSE_TIMEOUT
            with CancelScope(shield=True, deadline=current_time() + seconds) as scope:
                await to_await(self._manager.teardown(self._resource_id), self._manager, "teardown")
            if scope.cancelled_caught:
                raise CloseTimeoutError(self._resource_id, seconds)
        await checkpoint()

    def report_broken(self, error: BaseException) -> None:
        """Say that the resource is of no use to anybody any more, because of `error`; neither waits nor raises it.

        Where the resource is shared, every lease on it ends at once, with `error` as the reason, and the next
        ``setup()`` opens a new one. What opens a resource for each handle has nobody else to protect: there it does
        nothing. Of a lease that has ended it does nothing either, so a late report hurts no later resource.

        Args:
            error: What has shown it, such as the ``ConnectionError`` of a call.

        Raises:
            WrongEventLoopError: Called in another event loop than the one that gave out the handle.
        """

    def __doteval_identity__(self) -> Mapping[str, Any]:
        """All that an answer of the model depends on; see `ModelProvider.identity`."""
        return self._identity_of(self._resource_id, {})

    def _identity_of(self, spec: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
        identity = getattr(type(self._manager), "identity", None)
        if identity is not None:
            return checked_identity(identity(self._manager, spec, **config), self._manager)
        kind = type(self._manager)
        return {"provider": f"{kind.__module__}.{kind.__qualname__}", "spec": spec, **config}

    def _why_inactive(self) -> str:
        return self._ended

    def _get_model(self) -> ModelT_co:
        return cast(ModelT_co, self._model)

    def _end(self, reason: str) -> None:
        self._ended = reason
        self._model = None
        _given_out_by(self._manager).pop(id(self), None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.teardown()

    def __repr__(self) -> str:
        reason = self._why_inactive()
        return f"<ModelHandle {self.resource_id!r} {f'inactive: {reason}' if reason else 'active'}>"


def _given_out_by(manager: HandleManager) -> dict[int, ModelHandle[Any]]:
    """The handles that a `ModelProvider` keeps account of; what a mock answers itself is no account."""
    found = getattr(manager, "_ModelProvider__given_out", None)
    return cast("dict[int, ModelHandle[Any]]", found) if isinstance(found, dict) else {}


class LeasedHandle(ModelHandle[ModelT_co]):
    """A handle on a resource of a pool: its state is the lease's state, so that it ends with the resource."""

    __slots__ = ("_lease", "_pool")

    def __init__(self, lease: Lease, pool: Pool[Any], manager: HandleManager) -> None:
        self._manager = manager
        self._lease = lease
        self._pool = pool

    @property
    def resource_id(self) -> str:
        """The readable name of the resource; it never holds a secret."""
        return self._lease.entry.want.label

    @property
    def model(self) -> ModelT_co:
        """What is leased.

        Raises:
            HandleInactiveError: The lease has ended; the message says why.
        """
        lease = self._lease
        if lease.ended:
            raise HandleInactiveError(self.resource_id, self._why_inactive())
        model: ModelT_co = lease.entry.resource.model
        return model

    async def teardown(self) -> None:
        """End the lease; it takes effect before the first await, and a second call does nothing.

        A checkpoint, unless the provider was made with ``fast_acquire=True``.

        Where the provider closes what nobody uses (``keep_alive=0``) and this was the last lease, waits for the closing
        and raises what it raised. A cancelled caller stops waiting; the closing goes on.

        Raises:
            WrongEventLoopError: Called in another event loop than the one that gave out the handle.
        """
        rest = self._pool.release(self._lease)
        if rest is not None:
            await rest

    def __reduce__(self) -> Never:
        raise TypeError("a handle is one lease, and cannot be copied or pickled: call setup() once more")

    def report_broken(self, error: BaseException) -> None:
        self._pool.report_broken(self._lease, error)

    async def __aenter__(self) -> Self:
        """Make the current task the one that is responsible for the lease."""
        self._pool.adopt(self._lease)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the lease; the provider's ``breaks`` says whether the block's exception means the end of the resource."""
        if exc_value is not None and isinstance(exc_value, Exception) and self._pool.breaks(exc_value):
            self.report_broken(exc_value)
        await self.teardown()

    def __doteval_identity__(self) -> Mapping[str, Any]:
        asked = self._lease.entry.want.payload
        return self._identity_of(asked.spec, asked.config)

    def _why_inactive(self) -> str:
        lease = self._lease
        if lease.ended and lease.entry.lost:
            return f"{lease.ended} ({lease.entry.reason})"
        return lease.ended

    def _get_model(self) -> ModelT_co:
        return cast(ModelT_co, self._lease.entry.resource.model)


class ReclaimedHandle(LeasedHandle[ModelT_co]):
    """One whose lease ends where the handle is dropped without a teardown."""

    __slots__ = ()

    async def teardown(self) -> None:
        """As of any other handle; what has no lease any more needs no finaliser, which would cost more than this."""
        rest = self._pool.release(self._lease)
        self.__class__ = LeasedHandle  # type: ignore[assignment]
        if rest is not None:
            await rest

    def __del__(self) -> None:
        """Tell the pool of a lease that nobody can end any more; never more than that."""
        try:
            lease = self._lease
        except AttributeError:  # an interrupt came while it was made
            return
        if not lease.ended:
            self._pool.on_dropped(lease)
