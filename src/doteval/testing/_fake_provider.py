"""``FakeProvider``: leases fake models, opens and closes them as a script says, and notices every misuse."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from anyio import Event, create_task_group, sleep
from anyio.lowlevel import checkpoint

from .. import ModelHandle, PooledProvider, PoolEvent, Setup
from ._fake_model import FakeModel, Replies, check_replies

Failures = Mapping[str | int, Exception | Sequence[Exception]]


class FakeProvider(PooledProvider[FakeModel]):
    """Leases fake models.

    ::

        async with FakeProvider(replies=["Hello!"]) as provider:
            async with provider.setup("any-name") as handle:
                assert await handle.model.generate("Hi") == "Hello!"
        provider.assert_all_closed()

    Everything that ``setup(spec, **config)`` is given besides the arguments of `FakeModel` is part of the key and does
    nothing. Every resource is opened in a task group of its own, so it behaves like a real one that has background
    tasks.

    Args:
        replies: What every model answers; see `FakeModel`.
        latency: How long every reply takes, in seconds of the event loop's clock.
        max_concurrency: How many requests every model takes at once.
        open_latency: How long every opening takes, in seconds of the event loop's clock.
        close_latency: How long every closing takes, in seconds of the event loop's clock.
        open_failures: What openings raise: by spec, an exception for all of them, or a sequence for the next ones; by
            number, the n-th opening of all, the first being 1.
        close_failures: What closings raise, by spec.
        on_event: Called with every transition; see `PooledProvider`.
        options: What every `PooledProvider` takes, such as ``capacity``.
    """

    operational: ClassVar[frozenset[str]] = frozenset(
        {"latency", "max_concurrency", "open_latency", "close_latency", "open_failures", "close_failures", "on_event"}
    )

    def __init__(
        self,
        *,
        replies: Replies | None = None,
        latency: float = 0.0,
        max_concurrency: int | None = None,
        open_latency: float = 0.0,
        close_latency: float = 0.0,
        open_failures: Failures | None = None,
        close_failures: Mapping[str, Exception] | None = None,
        on_event: Callable[[PoolEvent], object] | None = None,
        **options: Any,  # passed on unread; the base class checks them
    ) -> None:
        check_replies(replies)
        super().__init__(on_event=self._saw, **options)
        self._settings: dict[str, Any] = {"replies": replies, "latency": latency, "max_concurrency": max_concurrency}
        self._open_latency = open_latency
        self._close_latency = close_latency
        self._open_failures = {
            key: list(what) if isinstance(what, Sequence) else what for key, what in (open_failures or {}).items()
        }
        self._close_failures = dict(close_failures or {})
        self._tell = on_event
        self._openings = 0
        self._live: dict[object, FakeModel | None] = {}
        self._by_id: dict[str, _Fuse] = {}
        self._fuses: dict[FakeModel, _Fuse] = {}
        self.misuses: list[str] = []
        """What no pool should ever do, such as two live resources of one key."""
        self.models: list[FakeModel] = []
        """Every model it has opened, in that order; those that are closed say so."""

    @property
    def openings(self) -> int:
        """How many openings were begun."""
        return self._openings

    @property
    def live(self) -> tuple[FakeModel, ...]:
        """The models that are open now."""
        return tuple(model for model in self.models if not model.is_closed)

    def assert_all_closed(self) -> None:
        """Fail unless all that was opened is closed, and there were never two live models of one key."""
        assert not self.misuses, "; ".join(self.misuses)
        assert not self.live, f"still open: {', '.join(model.name for model in self.live)}"
        now = self.statistics()
        assert now.opens == now.closes, f"{now.opens} opens, but {now.closes} closes"
        assert not now.active_leases, f"{now.active_leases} leases are still active"

    async def crash(self, resource_id: str, error: Exception | None = None) -> None:
        """Break an open resource, as if its server had died, and wait until the provider has noticed it.

        Whoever still asks the model gets a `ModelRequestError`, as of a server that has died.

        Args:
            resource_id: The resource, as its handle names it.
            error: What it breaks with; a `ConnectionError` where nothing is said.

        Raises:
            KeyError: No such resource is open.
        """
        fuse = self._by_id.get(resource_id)
        if fuse is None or fuse.gone.is_set():
            known = [name for name, other in self._by_id.items() if not other.gone.is_set()]
            raise KeyError(f"'{resource_id}' is not open; open are: {', '.join(known) or 'none'}")
        if error is None:
            error = ConnectionError(f"'{resource_id}' crashed, as the test asked for")
        for model, own in self._fuses.items():
            if own is fuse:
                model.crash(error)
        fuse.blow(error)
        await fuse.gone.wait()

    def setup(self, spec: str, /, **config: Any) -> Setup[FakeModel]:
        """Lease a fake model; see `PooledProvider.setup`."""
        return Setup(self._set_up(spec, config))

    async def _set_up(self, spec: str, config: dict[str, Any]) -> ModelHandle[FakeModel]:
        handle = await super().setup(spec, **config)
        self._note(handle)
        return handle

    _set_up.__qualname__ = "FakeProvider.setup"  # what Python calls it where it was never awaited

    async def setup_many(self, *specs: str, **config: Any) -> tuple[ModelHandle[FakeModel], ...]:
        """Lease several fake models at once; see `PooledProvider.setup_many`."""
        handles = await super().setup_many(*specs, **config)
        for handle in handles:
            self._note(handle)
        return handles

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[FakeModel]:
        """Open a fake model, as the script says.

        Args:
            spec: The model's name.
            config: Arguments of `FakeModel` for this one model; everything else is ignored.
        """
        key = (spec, repr(sorted((name, value) for name, value in config.items() if name != "slots")))
        self._openings += 1
        if key in self._live:
            self.misuses.append(f"'{spec}' was opened while it was open")
        failure = self._next_failure(spec)
        self._live[key] = None
        try:
            await (sleep(self._open_latency) if self._open_latency else checkpoint())
            if failure is not None:
                raise failure
            chosen = {name: value for name, value in config.items() if name in (*self._settings, "failures")}
            model = FakeModel(spec, **{**self._settings, **chosen})
            fuse = self._fuses[model] = _Fuse()
            async with create_task_group() as task_group:
                task_group.start_soon(fuse.burn)
                self.models.append(model)
                try:
                    yield model
                finally:
                    model.close()
                task_group.cancel_scope.cancel()
            await (sleep(self._close_latency) if self._close_latency else checkpoint())
        finally:
            self._live.pop(key, None)
        if spec in self._close_failures:
            raise self._close_failures[spec]

    async def healthy(self, model: FakeModel, /) -> bool:
        """Whether the model is open."""
        return not model.is_closed

    # ---------------------------------------------------------------- inside

    def _next_failure(self, spec: str) -> Exception | None:
        by_number = self._open_failures.get(self._openings)
        what = self._open_failures.get(spec) if by_number is None else by_number
        if isinstance(what, list):
            return what.pop(0) if what else None
        return what

    def _note(self, handle: ModelHandle[FakeModel]) -> None:
        """Remember which model is behind a resource id, for `crash`."""
        if handle.is_active:
            self._by_id[handle.resource_id] = self._fuses[handle.model]

    def _saw(self, event: PoolEvent) -> None:
        if event.kind in ("closed", "close_failed") and event.resource_id in self._by_id:
            self._by_id.pop(event.resource_id).gone.set()
        if self._tell is not None:
            self._tell(event)


class _Fuse:
    """Breaks a resource from outside."""

    def __init__(self) -> None:
        self._blown = Event()
        self._error: Exception | None = None
        self.gone = Event()
        """Set when the provider is done with the resource."""

    def blow(self, error: Exception) -> None:
        self._error = error
        self._blown.set()

    async def burn(self) -> None:
        await self._blown.wait()
        if self._error is not None:
            raise self._error
