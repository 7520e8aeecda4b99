"""``ServerProviderBase``: what the providers that start servers have in common.

A subclass says what to run for a spec and a configuration. The launcher finds or starts that server; the pool opens it
once in this event loop. A resource that nobody leases here is a hold on the server, so that others may have its slots.
"""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import os
import secrets
import ssl
from abc import abstractmethod
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import httpx2
import openai
from anyio import CancelScope, current_time
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
from ...servers._contract import Terms
from ...servers._description.command import ServerCommand
from ...servers._description.command_line import sensitive
from ...servers._description.readiness import Readiness
from ...servers._description.sleeping import Sleep
from ...servers._local.launcher import LocalLauncher
from ...servers._slots.gpus import SlotSet, check, choose, takes_time
from .._sdk.attempts import hooks_of_attempts
from .._sdk.openai import NO_KEY, CompatibleClient
from .model import ServerModel
from .restarting import RestartingHandle
from .settings import ServerSettings
from .sleepers import Sleepers

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@takes(ServerSettings)
class ServerProviderBase(PooledProvider[ServerModel]):
    """Leases models of servers that it starts; `ServerProvider` says what the arguments mean."""

    is_scarce: ClassVar[bool] = True
    api_path: ClassVar[str] = "/v1"
    """Where the OpenAI-compatible API of the servers begins."""
    can_sleep: ClassVar[bool] = False
    """Whether `sleep` may return something."""

    def __init__(self, ready: Readiness, **settings: Unpack[ServerSettings]) -> None:
        if decided := settings.keys() & {"health_after", "fast_acquire"}:  # by this class
            raise unexpected(type(self), decided)
        own, others = completed(ServerSettings, settings, LifecycleOptions)
        share = own["share"]
        if own["launcher"] is not None and share is not None:
            raise ValueError("share= is of no use beside launcher=, which decides who shares; pass one of the two")
        self._launcher = own["launcher"] or LocalLauncher(
            share=secrets.token_hex(8) if share == "off" else share or "user"
        )
        self._wishes = own["gpus"], own["capacity"]
        check(*self._wishes)
        self._has_slots = not takes_time(own["gpus"], os.environ)
        slots = choose(*self._wishes, os.environ) if self._has_slots else None
        super().__init__(capacity=1 if slots is None else len(slots.names), health_after=0.0, **others)
        self._terms = Terms(
            ready=ready,
            slots=slots or SlotSet(("slot-0",)),
            start_timeout=own["start_timeout"],
            stall_timeout=own["stall_timeout"],
            stop_grace=own["stop_grace"],
            keep_alive=own["server_keep_alive"],
            port=own["port"],
            log_bytes=own["log_bytes"],
            max_sleeping=own["max_sleeping"],
        )
        if own["max_sleeping"] and not self.can_sleep:
            raise ValueError(f"max_sleeping= is of no use for {type(self).__name__}: its servers cannot sleep")
        self._sleepers = include(self, Sleepers(self._launcher, keep_alive=others.get("keep_alive")))
        self._environment = dict(own["environment"] or {})
        self._cwd = None if own["cwd"] is None else os.fspath(own["cwd"])
        self._restarts = own["restarts"]
        self._served: WeakKeyDictionary[ServerModel, tuple[ServerCommand, list[tuple[str, int, int]]]]
        self._served = WeakKeyDictionary()
        self._max_concurrency = own["max_concurrency"]
        self._params = dict(own["params"] or {})
        given = {"timeout": own["timeout"], "max_retries": own["max_retries"]}
        self._client_settings = {name: value for name, value in given.items() if value is not None}

    # ---------------------------------------------------------------- what a subclass writes

    @abstractmethod
    def command(self, spec: str, /, **config: Any) -> ServerCommand:
        """What to run for `spec` and the configuration given to `setup`."""

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """How many slots the server takes."""
        return 1

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model."""
        return spec

    def sleep(self, spec: str, /, **config: Any) -> Sleep | None:
        """How the server is put to sleep and woken up; `None`: it cannot sleep. Asked only with ``max_sleeping``."""
        return None

    # ---------------------------------------------------------------- what the pool asks

    def slots(self, spec: str, /, **config: Any) -> int:
        """How many slots the server takes."""
        return self.server_slots(spec, **config)

    def secrets(self) -> Collection[str]:
        """The values of secret environment variables, which no message shows."""
        return sensitive(self._environment)

    async def healthy(self, model: ServerModel, /) -> bool:
        """Whether the server may be used again: its supervisor decides, and its model must still be what it was."""
        command, weights = self._served[model]
        return await model.lease.lease() and command.weights() == weights

    def idle(self, model: ServerModel, /) -> None:
        """Keep the server warm, until somebody else needs its slots."""
        model.lease.rest()

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[ServerModel]:
        """Lease the server, and put the model on a client of its own.

        Raises:
            ModelSetupError: The server did not get ready; the cause is a `ServerStartError` that says why.
        """
        await self._find_slots(spec)
        label = resource_id(spec, config)
        command = self.command(spec, **config)
        weights = command.weights()
        how = self.sleep(spec, **config) if self._terms.max_sleeping else None
        terms = replace(self._terms, count=self.server_slots(spec, **config), sleep=how)
        listener = _Listener(self, label)
        try:
            async with self._launcher.launch(command, terms, listener) as lease:
                server = lease.server
                await self._sleepers.let_go(label)
                client = CompatibleClient(
                    base_url=server.url + self.api_path,
                    api_key=server.api_key or NO_KEY,
                    http_client=_http_client(server.url),
                    **self._client_settings,
                )
                try:
                    model = ServerModel(
                        self.model_name(spec, **config),
                        client,
                        lease=lease,
                        identity=self.identity(spec, **config),
                        max_concurrency=self._max_concurrency,
                        params=self._params,
                    )
                    model.stay_here(type(self).__name__)
                    self._served[model] = command, weights
                    yield model
                    if how is not None and (lease.sleeps or listener.makes_way):
                        await self._sleepers.keep(label, server, terms)
                finally:
                    with CancelScope(shield=True, deadline=current_time() + self.close_timeout):
                        await client.close()
        except ServerStartError as exc:
            raise ModelSetupError(label, exc.report, exc.advice) from exc

    # ---------------------------------------------------------------- what users call

    @enterable
    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[ServerModel]:
        """Lease the model, starting its server where there is none; as `PooledProvider.setup`.

        With ``restarts``, the handle survives the end of its server: `generate` starts it again and sends again.
        """
        await self._find_slots(spec)
        handle = await self._lease(spec, config)
        if not self._restarts:
            return handle
        return RestartingHandle(handle, lambda: self._lease(spec, config), self._restarts)

    async def _lease(self, spec: str, config: Mapping[str, Any]) -> ModelHandle[ServerModel]:
        """Lease what `spec` means on its server."""
        return await super().setup(spec, **config)

    async def setup_many(self, *specs: str, **config: Any) -> tuple[ModelHandle[ServerModel], ...]:
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
            self.resize(len(slots.names))


class _Listener:
    """Passes on to the pool what others want of a server."""

    def __init__(self, provider: ServerProviderBase, label: str) -> None:
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


def _http_client(url: str) -> openai.DefaultAsyncHttpxClient:
    """For a server on this machine, without a proxy; for plain HTTP, without certificates, which take 20 ms to load."""
    address = httpx2.URL(url)
    return openai.DefaultAsyncHttpxClient(
        event_hooks=hooks_of_attempts(),
        trust_env=address.host not in _THIS_MACHINE,
        verify=True if address.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
