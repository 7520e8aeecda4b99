"""``Sleepers``: the servers that a provider keeps while they sleep, because their slots were needed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from ..._pooled import PooledProvider
from ...servers._contract import Launcher, Server, Terms


class Sleepers(PooledProvider[Server]):
    """Keeps servers by the ids of their resources; each until it is leased again, or its provider closes.

    Args:
        launcher: What knows the servers.
        keep_alive: For how long each is kept, in seconds; `None`: until the provider closes.
    """

    def __init__(self, launcher: Launcher, *, keep_alive: float | None) -> None:
        super().__init__(keep_alive=keep_alive)
        self._launcher = launcher
        self._servers: dict[str, tuple[Server, Terms]] = {}

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Server]:
        """Hold the server."""
        server, terms = self._servers[spec]
        async with self._launcher.hold(server, terms):
            yield server

    async def keep(self, resource_id: str, server: Server, terms: Terms) -> None:
        """Keep a server from now on, asleep or still awake."""
        self._servers[resource_id] = server, terms
        try:
            await (await self.setup(resource_id)).teardown()
        finally:
            self._servers.pop(resource_id, None)

    async def let_go(self, resource_id: str) -> None:
        """Do not keep it any more; whoever leases it does."""
        await self.teardown(resource_id)
