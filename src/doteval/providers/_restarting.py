"""``RestartingHandle``: a lease that survives the end of its server, so that a request can be sent again.

A server that dies takes all leases with it; the next `setup` starts another one. This does that for the user: the
handle stays active, and its model opens the next generation when it is used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import openai
from anyio import CapacityLimiter, Lock, create_task_group, move_on_after

from .._errors import HandleInactiveError, ModelRequestError
from .._handle import ModelHandle
from .._model import Completion, CompletionStream, Prompt
from ..servers._contract import ServerLease
from ._server_model import ServerModel

_NEWS_SECONDS = 1.0
"""How long the news of a server's end may take to arrive after the failure of a request that it caused."""
_DYING_SECONDS = 15.0
"""How long a server that is not ready any more may take to end."""


class RestartingHandle(ModelHandle[ServerModel]):
    """A handle on a model whose server may be started again.

    Args:
        handle: The first lease.
        again: Makes the next one.
        restarts: How often.
    """

    __slots__ = ("_again", "_current", "_lock", "_restarting_model", "restarts_left")

    def __init__(
        self,
        handle: ModelHandle[ServerModel],
        again: Callable[[], Awaitable[ModelHandle[ServerModel]]],
        restarts: int,
    ) -> None:
        self._current = handle
        self._again = again
        self._lock = Lock()
        self._ended = ""
        self._resource_id = handle.resource_id
        self._manager = handle.manager
        self._restarting_model = RestartingModel(self)
        self.restarts_left = restarts
        """How often the server may still be started again."""

    async def teardown(self) -> None:
        """End the lease; it takes effect before the first await, and a second call does nothing."""
        self._ended = self._ended or "you tore it down"
        await self._current.teardown()

    async def __aenter__(self) -> Self:
        """Make the current task the one that is responsible for the lease."""
        await self._current.__aenter__()
        return self

    def now(self) -> ModelHandle[ServerModel]:
        """The lease on the present generation.

        Raises:
            HandleInactiveError: The handle was torn down.
        """
        if self._ended:
            raise HandleInactiveError(self._resource_id, self._ended)
        return self._current

    async def reopened(self, failed: ModelHandle[ServerModel], model: ServerModel | None) -> bool:
        """Start the server again, if that is why a request failed.

        Args:
            failed: The lease that the request was sent on.
            model: Its model, to be asked whether its server is dying; `None` where the lease had ended before.

        Returns:
            Whether there is a new generation to send the request to.

        Raises:
            ModelSetupError: The server did not get ready again.
            HandleInactiveError: The handle was torn down meanwhile.
        """
        if model is not None and failed.is_active and not await _is_lost(failed, model.lease):
            return False
        async with self._lock:
            if self.now() is not failed:
                return True  # another task has done it
            if not self.restarts_left:
                return False
            self.restarts_left -= 1
            handle = await self._again()
            if self._ended:
                await handle.teardown()
                raise HandleInactiveError(self._resource_id, self._ended)
            self._current = handle
            return True

    def _why_inactive(self) -> str:
        if self._ended or self.restarts_left:
            return self._ended
        return self._current._why_inactive()

    def _get_model(self) -> ServerModel:
        return self._restarting_model


async def _is_lost(handle: ModelHandle[ServerModel], lease: ServerLease) -> bool:
    """Whether the server has ended, or is about to: it is not ready any more, and then ends."""
    with move_on_after(_NEWS_SECONDS):
        await lease.ended()
    if handle.is_active:
        with move_on_after(_DYING_SECONDS):
            async with create_task_group() as race:

                async def first(wait: Callable[[], Awaitable[object]]) -> None:
                    await wait()
                    race.cancel_scope.cancel()

                race.start_soon(first, lease.ended)
                race.start_soon(first, lease.ready)
    return not handle.is_active


class RestartingModel(ServerModel):
    """The model of whichever generation there is."""

    def __init__(self, handle: RestartingHandle) -> None:
        self._handle = handle

    @property
    def name(self) -> str:
        """What requests call the model."""
        return self._handle.now().model.name

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The SDK's client of the present generation; do not keep it."""
        return self._handle.now().model.client

    @property
    def limiter(self) -> CapacityLimiter | None:
        """What limits the requests at once."""
        return self._handle.now().model.limiter

    @property
    def lease(self) -> ServerLease:
        """The lease on the present server."""
        return self._handle.now().model.lease

    async def generate(self, prompt: Prompt, /, **params: Any) -> Completion:
        """Ask for a reply; where the server dies, start it again and ask again, as often as `restarts` says.

        Raises:
            ModelRequestError: The request failed, and not because the server died; or it has died too often.
            ModelSetupError: The server did not get ready again.
        """
        while True:
            handle = self._handle.now()
            model = await self._model_of(handle)
            if model is None:
                continue
            try:
                return await model.generate(prompt, **params)
            except ModelRequestError as exc:
                is_servers_fault = exc.status is None or exc.status >= 500
                if not is_servers_fault or not await self._handle.reopened(handle, model):
                    raise

    @asynccontextmanager
    async def stream(self, prompt: Prompt, /, **params: Any) -> AsyncGenerator[CompletionStream]:
        """Ask for a reply that is read while it is made; the server is started again where it has died before that."""
        model = None
        while model is None:
            model = await self._model_of(self._handle.now())
        async with model.stream(prompt, **params) as stream:
            yield stream

    async def _model_of(self, handle: ModelHandle[ServerModel]) -> ServerModel | None:
        """The model of a generation; `None` where there is a new one to be asked for instead."""
        if not handle.is_active and await self._handle.reopened(handle, None):
            return None
        return handle.model

    def __repr__(self) -> str:
        try:
            return f"<{type(self).__name__} of {self._handle.now().model!r}>"
        except HandleInactiveError as exc:
            return f"<{type(self).__name__} inactive: {exc.reason}>"
