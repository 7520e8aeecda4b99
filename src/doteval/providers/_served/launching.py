"""``LaunchingProvider``: what the providers that start servers have in common, whatever the servers are.

A subclass says what to run for a spec and a configuration, and what is made of the server. The launcher finds or starts
that server; the pool opens it once in this event loop. A resource that nobody leases here is a hold on the server, so
that others may have its slots.
"""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import hashlib
import os
import secrets
from abc import abstractmethod
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from anyio.to_thread import run_sync
from typing_extensions import Unpack

from ..._errors import CapacityDeadlockError, ModelSetupError
from ..._handle import ModelHandle
from ..._keywords import completed, takes, unexpected
from ..._pool.owners import resource_here
from ..._pool_options import LifecycleOptions
from ..._pooled import PooledProvider, include, runtime_of
from ..._server_errors import ServerLostError, ServerStartError
from ..._setup import enterable
from ..._spec import resource_id
from ...servers._contract import LeaseListener, ServerLease, Terms
from ...servers._description.command import ServerCommand
from ...servers._description.command_line import sensitive
from ...servers._description.readiness import Readiness
from ...servers._description.sleeping import Sleep
from ...servers._local.launcher import LocalLauncher
from ...servers._slots.gpus import SlotSet, check, choose, takes_time
from ...servers._supervisor.parts import WHOLE, amount_of
from .launch_settings import LaunchSettings
from .replicas import replicated
from .sleepers import Sleepers

ModelT = TypeVar("ModelT")


@takes(LaunchSettings)
class LaunchingProvider(PooledProvider[ModelT], Generic[ModelT]):
    """Leases what it makes of servers that it starts.

    Args:
        ready: When a server is ready.
        needs_slots: Whether a server takes slots; if not, there may be any number at once.
        max_sleeping: How many servers of this machine may sleep when one of these does, itself included.
        sleep_timeout: How long one may take to fall asleep, and to wake up, in seconds; `None`: as `sleep` says.
        replicas: How many servers there are of each resource.
    """

    _serves_models: ClassVar[bool] = False
    """Whether what it leases are chat models of these servers."""

    def __init__(
        self,
        ready: Readiness,
        needs_slots: bool = True,
        max_sleeping: int = 0,
        sleep_timeout: float | None = None,
        replicas: int = 1,
        **settings: Unpack[LaunchSettings],
    ) -> None:
        if decided := settings.keys() & {"health_after", "fast_acquire"}:  # by this class
            raise unexpected(type(self), decided)
        own, others = completed(LaunchSettings, settings, LifecycleOptions)
        share = own["share"]
        if own["launcher"] is not None and share is not None:
            raise ValueError("share= is of no use beside launcher=, which decides who shares; pass one of the two")
        launcher = own["launcher"]
        if launcher is None:
            launcher = LocalLauncher(share=secrets.token_hex(8) if share == "off" else share or "user")
        self._launcher = launcher
        self._wishes = own["gpus"], own["capacity"]
        check(*self._wishes)
        self._has_slots = not (needs_slots and takes_time(own["gpus"], os.environ))
        slots = SlotSet(()) if not needs_slots else choose(*self._wishes, os.environ) if self._has_slots else None
        fraction = float(own["gpu_fraction"])
        self._servers_per_slot = WHOLE // amount_of(fraction)
        capacity = 1 if slots is None else len(slots.names) * self._servers_per_slot or None
        super().__init__(capacity=capacity, health_after=0.0, **others)
        self._terms = Terms(
            ready=ready,
            slots=slots or SlotSet(("slot-0",)),
            fraction=fraction,
            start_timeout=float(own["start_timeout"]),
            stall_timeout=own["stall_timeout"],
            stop_grace=float(own["stop_grace"]),
            keep_alive=float(own["server_keep_alive"]),
            port=own["port"],
            log_bytes=int(own["log_bytes"]),
            max_sleeping=int(max_sleeping),
            replicas=replicas,
        )
        self._sleep_timeout = None if sleep_timeout is None else float(sleep_timeout)
        self._sleepers = include(self, Sleepers(self._launcher, keep_alive=others.get("keep_alive")))
        self._environment = dict(own["environment"] or {})
        self._cwd = None if own["cwd"] is None else os.fspath(own["cwd"])
        self._served: dict[int, _Served] = {}  # by what is leased, which need not be hashable

    # ---------------------------------------------------------------- what a subclass writes

    @abstractmethod
    def command(self, spec: str, /, **config: Any) -> ServerCommand:
        """What to run for `spec` and the configuration given to `setup`."""

    @abstractmethod
    def model(self, lease: ServerLease, spec: str, /, **config: Any) -> AbstractAsyncContextManager[ModelT]:
        """What is made of a server that is ready, for as long as it is leased here."""

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """How many slots the server takes."""
        return 1

    def sleep(self, spec: str, /, **config: Any) -> Sleep | None:
        """How the server is put to sleep and woken up; `None`: it cannot sleep. Asked only with ``max_sleeping``."""
        return None

    # ---------------------------------------------------------------- what the pool asks

    def slots(self, spec: str, /, **config: Any) -> int:
        """How many slots the server takes; one that takes none counts as one of any number.

        Raises:
            ModelSetupError: So many replicas do not fit on the slots, though there are enough parts of them.
        """
        each, replicas = self.server_slots(spec, **config), self._terms.replicas
        names = len(self._terms.slots.names)
        if 1 < each <= names and replicas > 1:
            fit = names // each * self._servers_per_slot
            if fit < replicas <= names * self._servers_per_slot // each:
                what = f"replicas={replicas} with {self._terms.fraction:g} of each of {each} slots do not all fit"
                problem = f"{what}: on the {names} slots that there are, it is {fit}"
                raise ModelSetupError(resource_id(spec, config), problem, "Lower replicas=, or give them more slots.")
        return max(1, each) * replicas

    def secrets(self) -> Collection[str]:
        """The values of secret environment variables, which no message shows."""
        return sensitive(self._environment)

    def identity(self, spec: str = "", /, **config: Any) -> Mapping[str, Any]:
        """All that an answer depends on, the files of a local model and of the server's program among it."""
        found = super().identity(spec, **config)
        files = self.local_files(spec, **config) if spec else []
        return {**found, "files": hashlib.sha256(repr(files).encode()).hexdigest()[:12]} if files else found

    def local_files(self, spec: str, /, **config: Any) -> list[tuple[str, int, int]]:
        """The files of this machine that the command names; none where there is no command for `spec`."""
        try:
            return self.command(spec, **config).named_files()
        except Exception:  # `setup` says what is wrong with it
            return []

    async def healthy(self, model: ModelT, /) -> bool:
        """Whether the server may be used again: its supervisor decides, and its files must still be what they were."""
        served = self._served[id(model)]
        return await served.lease.lease() and served.command.named_files() == served.files

    def idle(self, model: ModelT, /) -> None:
        """Keep the server warm, until somebody else needs its slots."""
        self._served[id(model)].lease.rest()

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[ModelT]:
        """Lease the server, and make of it what is leased.

        Raises:
            ModelSetupError: The server did not get ready; the cause is a `ServerStartError` that says why.
        """
        await self._find_slots(spec)
        label = resource_id(spec, config)
        command = self.command(spec, **config)
        files = command.named_files()
        how = self.sleep(spec, **config) if self._terms.max_sleeping else None
        if how is not None and self._sleep_timeout is not None:
            how = how.within(self._sleep_timeout)
        terms = replace(self._terms, count=self.server_slots(spec, **config), sleep=how)
        listener = _Listener(self, label)
        is_closing = False
        try:
            async with self._leased(command, terms, listener) as lease:
                await self._sleepers.let_go(label)
                async with self.model(lease, spec, **config) as model:
                    if id(model) in self._served:
                        raise ValueError(f"each server has to have a model of its own, and {model!r} is another one's")
                    self._served[id(model)] = _Served(lease, command, files)
                    try:
                        yield model
                        is_closing = True
                    finally:
                        del self._served[id(model)]
                    if how is not None and (lease.sleeps or listener.makes_way):
                        await self._sleepers.keep(label, lease.server, terms)
        except ServerStartError as exc:
            raise ModelSetupError(label, exc.report, exc.advice) from exc
        except ServerLostError:
            if not is_closing:  # else it has ended a bit earlier than it was about to
                raise

    def _leased(
        self, command: ServerCommand, terms: Terms, listener: LeaseListener
    ) -> AbstractAsyncContextManager[ServerLease]:
        """The server, or its replicas."""
        if terms.replicas == 1:
            return self._launcher.launch(command, terms, listener)

        def launch(number: int, listener: LeaseListener) -> AbstractAsyncContextManager[ServerLease]:
            return self._launcher.launch(command, replace(terms, replica=number), listener)

        resource = resource_here.get()
        return replicated(launch, terms.replicas, listener, partial(runtime_of(self).tell_of_replica, resource))

    # ---------------------------------------------------------------- what users call

    @enterable
    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[ModelT]:
        """Lease what is made of the server, starting that where there is none; as `PooledProvider.setup`."""
        await self._find_slots(spec)
        return await super().setup(spec, **config)

    async def setup_many(self, *specs: str, **config: Any) -> tuple[ModelHandle[ModelT], ...]:
        """Lease several models at once, all or nothing; as `PooledProvider.setup_many`."""
        await self._find_slots(*specs[:1])
        return await super().setup_many(*specs, **config)

    async def teardown(self, resource_id: str, /) -> None:
        """Close one resource now, also one whose server sleeps; as `PooledProvider.teardown`."""
        await super().teardown(resource_id)
        await self._sleepers.let_go(resource_id)

    async def teardown_all(self) -> None:
        """Close every resource now, also those whose servers sleep; as `PooledProvider.teardown_all`."""
        try:
            await super().teardown_all()
        finally:
            await self._sleepers.teardown_all()

    async def _find_slots(self, spec: str = "") -> None:
        """Find out which GPUs there are, where that takes time; after a failure, whoever comes next tries it again.

        Raises:
            ModelSetupError: ``nvidia-smi`` does not tell, or they are not those of ``gpus=``, or too few.
        """
        if self._has_slots:
            return
        try:
            slots = await run_sync(choose, *self._wishes, dict(os.environ), abandon_on_cancel=True)
        except (RuntimeError, ValueError) as exc:
            advice = "Correct gpus= or capacity=, or what nvidia-smi has to say."
            raise ModelSetupError(spec, str(exc), advice) from exc
        if not self._has_slots:  # else somebody else was faster
            self._has_slots = True
            self._terms = replace(self._terms, slots=slots)
            self.resize(len(slots.names) * self._servers_per_slot)


@dataclass(frozen=True, slots=True)
class _Served:
    """What is behind something that is leased."""

    lease: ServerLease
    command: ServerCommand
    files: list[tuple[str, int, int]]


class _Listener:
    """Passes on to the pool what others want of a server."""

    def __init__(self, provider: LaunchingProvider[Any], label: str) -> None:
        self._provider = provider
        self._label = label
        self._resource = resource_here.get()
        self._is_retiring = False

    @property
    def makes_way(self) -> bool:
        """Whether the resource closes because somebody needs its slots, in this provider or elsewhere."""
        return self._is_retiring or (self._resource is not None and self._resource.is_evicted)

    def users(self) -> Collection[object]:
        return runtime_of(self._provider).users(self._label)

    def on_found(self) -> None:
        pass

    def on_stuck(self, users: Collection[object], error: CapacityDeadlockError, /) -> None:
        runtime_of(self._provider).refuse(self._label, users, error)

    def on_retiring(self, reason: str, /) -> None:
        self._is_retiring = True
        runtime_of(self._provider).retire(self._label, reason)

    def on_resumed(self) -> None:
        self._is_retiring = False
        runtime_of(self._provider).resume(self._label)

    def on_lost(self, error: ServerLostError, /) -> None:
        runtime_of(self._provider).lose(self._resource, error)
