"""``ServerModel``: a model on a server that was started here: an OpenAI-compatible model that knows its server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from typing import Any

import openai
from anyio import move_on_after

from ..._errors import ModelRequestError
from ..._messages import Prompt
from ..._model import Completion, CompletionStream
from ..._replies.form import without_credentials
from ...servers._contract import Server, ServerLease
from .._sdk.failures import Explaining
from .._sdk.openai import OpenAIModel

_NEWS_SECONDS = 1.0
"""How long the news of a server's end may take to arrive after the failure of a request that it caused."""


class ServerModel(OpenAIModel):
    """One model on a server.

    Args:
        name: What requests call the model.
        client: The SDK's client.
        lease: The lease on the server.
        identity: All that its answers depend on; see `ModelProvider.identity`.
        max_concurrency: How many requests the model takes at once.
        params: What every request is sent with.
    """

    def __init__(
        self,
        name: str,
        client: openai.AsyncOpenAI,
        *,
        lease: ServerLease,
        identity: Mapping[str, Any],
        max_concurrency: int | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, client, max_concurrency=max_concurrency, params=params)
        self._lease = lease
        self._identity = identity

    def called(self, name: str, identity: Mapping[str, Any]) -> ServerModel:
        """What the same server serves under another name; requests to both count for the same limit.

        Args:
            name: What requests call it.
            identity: All that its answers depend on.
        """
        other = copy(self)
        other._name = name
        other._identity = identity
        other._explaining = Explaining(self.sdk, name, self._client)
        return other

    @property
    def lease(self) -> ServerLease:
        """The lease on the server."""
        return self._lease

    @property
    def server(self) -> Server:
        """The server: its process, port, log."""
        return self.lease.server

    def __doteval_identity__(self) -> Mapping[str, Any]:
        """All that its answers depend on, but not its server's port, which is another one each time."""
        return {**super().__doteval_identity__(), "base_url": None}

    def _whom(self) -> Mapping[str, Any]:
        """The server by what it was started with: its address and its key are others each time."""
        return {**super()._whom(), "base_url": None, "server": without_credentials(self._identity)}

    async def generate(self, prompt: Prompt, /, **params: Any) -> Completion:
        """Ask for a reply; as for every model of the OpenAI API, except that the end of the server is told as such.

        Raises:
            ModelRequestError: The request failed; where the server has ended, the cause is a `ServerLostError`.
            TypeError: `prompt` is neither a text nor a conversation, or the SDK knows no such parameter.
        """
        try:
            return await super().generate(prompt, **params)
        except ModelRequestError as exc:
            told = await self._explained(exc)
            if told is exc:
                raise
            raise told from told.__cause__

    @asynccontextmanager
    async def stream(self, prompt: Prompt, /, **params: Any) -> AsyncGenerator[CompletionStream]:
        """Ask for a reply that is read while it is made; as `generate` where that cannot begin, or breaks off."""
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(super().stream(prompt, **params))
            except ModelRequestError as exc:
                told = await self._explained(exc)
                if told is exc:
                    raise
                raise told from told.__cause__
            yield stream

    async def _explained(self, error: ModelRequestError) -> ModelRequestError:
        """What tells of the server's end, if that is why a request failed."""
        if error.status is None:
            with move_on_after(_NEWS_SECONDS):
                await self.lease.ended()
        lost = self.lease.lost
        if lost is None:
            return error
        what = lost.report.partition("\n")[0].rstrip(".")
        told = ModelRequestError(self.name, what[:1].lower() + what[1:], lost.advice, retries=error.retries)
        told.__cause__ = lost
        return told
