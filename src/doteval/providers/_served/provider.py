"""``ServerProviderBase``: what the providers that start servers of models have in common."""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import httpx2
import openai
from anyio import CancelScope, current_time
from typing_extensions import Unpack

from ..._handle import ModelHandle
from ..._keywords import completed, takes
from ..._setup import enterable
from ..._spec import resource_id
from ...servers._contract import ServerLease
from ...servers._description.readiness import Readiness
from .._connections import pool_connections
from .._environment import named_where_unusable
from .._sdk.attempts import hooks_of_attempts
from .._sdk.openai import NO_KEY, CompatibleClient
from .balancing import Balancer
from .launch_settings import LaunchSettings
from .launching import LaunchingProvider
from .model import ServerModel
from .replicas import Replicas
from .restarting import RestartingHandle
from .settings import ServerSettings

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@takes(ServerSettings)
class ServerProviderBase(LaunchingProvider[ServerModel]):
    """Leases models of servers that it starts; `ServerProvider` says what the arguments mean."""

    is_scarce: ClassVar[bool] = True
    _serves_models: ClassVar[bool] = True
    api_path: ClassVar[str] = "/v1"
    """Where the OpenAI-compatible API of the servers begins."""
    can_sleep: ClassVar[bool] = False
    """Whether `sleep` may return something."""

    def __init__(self, ready: Readiness, **settings: Unpack[ServerSettings]) -> None:
        own, others = completed(ServerSettings, settings, LaunchSettings)
        if own["max_sleeping"] and not self.can_sleep:
            raise ValueError(f"max_sleeping= is of no use for {type(self).__name__}: its servers cannot sleep")
        if own["replicas"] > 1 and (own["max_sleeping"] or others.get("port") is not None):
            one = "max_sleeping=" if own["max_sleeping"] else "port="
            raise ValueError(f"{one} is for one server of a model: leave it or replicas= out")
        super().__init__(
            ready,
            max_sleeping=own["max_sleeping"],
            sleep_timeout=own["sleep_timeout"],
            replicas=own["replicas"],
            **others,
        )
        self._restarts = own["restarts"]
        self._max_concurrency = own["max_concurrency"]
        self._params = dict(own["params"] or {})
        given = {"timeout": own["timeout"], "max_retries": own["max_retries"]}
        self._client_settings = {name: value for name, value in given.items() if value is not None}

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model."""
        return spec

    @asynccontextmanager
    async def model(self, lease: ServerLease, spec: str, /, **config: Any) -> AsyncGenerator[ServerModel]:
        """A model on a client of its own."""
        server = lease.server
        with named_where_unusable(resource_id(spec, config)):
            http_client = _http_client(server.url, Balancer(lease) if isinstance(lease, Replicas) else None)
        client = CompatibleClient(
            base_url=server.url + self.api_path,
            api_key=server.api_key or NO_KEY,
            http_client=http_client,
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
            yield model
        finally:
            with CancelScope(shield=True, deadline=current_time() + self.close_timeout):
                await client.close()

    @enterable
    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[ServerModel]:
        """Lease the model, starting its server where there is none; as `PooledProvider.setup`.

        With ``restarts``, the handle survives the end of its server: `generate` starts it again and sends again.
        """
        handle = await self._lease(spec, config)
        if not self._restarts:
            return handle
        return RestartingHandle(handle, lambda: self._lease(spec, config), self._restarts)

    async def _lease(self, spec: str, config: Mapping[str, Any]) -> ModelHandle[ServerModel]:
        """Lease what `spec` means on its server."""
        return await super().setup(spec, **config)


def _http_client(url: str, transport: httpx2.AsyncBaseTransport | None) -> openai.DefaultAsyncHttpxClient:
    """For a server on this machine, without a proxy; for plain HTTP, without certificates, which take 20 ms to load."""
    address = httpx2.URL(url)
    client = openai.DefaultAsyncHttpxClient(
        event_hooks=hooks_of_attempts(),
        transport=transport,
        trust_env=address.host not in _THIS_MACHINE,
        verify=True if address.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    pool_connections(client)
    return client
