"""``ServerModel``: a model on a server that was started here: an OpenAI-compatible model that knows its server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai

from ..servers._contract import Server, ServerLease
from .openai import OpenAIModel


class ServerModel(OpenAIModel):
    """One model on a server.

    Args:
        name: What requests call the model.
        client: The SDK's client.
        lease: The lease on the server.
        max_concurrency: How many requests the model takes at once.
        params: What every request is sent with.
    """

    def __init__(
        self,
        name: str,
        client: openai.AsyncOpenAI,
        *,
        lease: ServerLease,
        max_concurrency: int | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, client, max_concurrency=max_concurrency, params=params)
        self._lease = lease

    @property
    def lease(self) -> ServerLease:
        """The lease on the server."""
        return self._lease

    @property
    def server(self) -> Server:
        """The server: its process, port, log."""
        return self.lease.server

    @property
    def base_url(self) -> str:
        """Where the API is, such as ``http://127.0.0.1:40001/v1``."""
        return str(self.client.base_url).rstrip("/")
