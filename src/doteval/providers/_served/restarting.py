"""``RestartingHandle``: a lease that survives the end of its server, so that a request can be sent again.

A server that dies takes all leases with it; the next `setup` starts another one. This does that for the user: the
handle stays active, and its model opens the next generation when it is used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Self

import openai
from anyio import CapacityLimiter, Lock, create_task_group, get_cancelled_exc_class, move_on_after

from ..._errors import HandleInactiveError, ModelRequestError
from ..._handle import ModelHandle
from ..._messages import Prompt
from ..._model import Completion, CompletionStream
from ..._undelivered import deliver_cancellation
from ...servers._contract import ServerLease
from .model import ServerModel

_DYING_SECONDS = 15.0
"""How long a server that is not ready any more may take to end."""


class RestartingHandle(ModelHandle[ServerModel]):
    """A handle on a model whose server may be started again.

    Args:
        handle: The first lease.
        again: Makes the next one.
        restarts: How often.
    """

    __slots__ = ("_again", "_current", "_lock", "_present", "_restarting_model", "restarts_left")

    def __init__(
        self,
        handle: ModelHandle[ServerModel],
        again: Callable[[], Awaitable[ModelHandle[ServerModel]]],
        restarts: int,
    ) -> None:
        self._current = handle
        self._present = handle._get_model()  # its server may have ended already
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

    def __doteval_identity__(self) -> Mapping[str, Any]:
        return self._current.__doteval_identity__()

    async def __aenter__(self) -> Self:
        """Make the current task the one that is responsible for the lease."""
        await self._current.__aenter__()
        return self

    @property
    def present(self) -> ServerModel:
        """The model of the present generation, whether its server lives or not."""
        return self._present

    def check(self) -> None:
        """Raise `HandleInactiveError` unless the present generation is leased."""
        reason = self._ended or self._current._why_inactive()
        if reason:
            raise HandleInactiveError(self._resource_id, reason)

    async def living(self) -> ServerModel:
        """The model of the present generation; where its server has ended, start it again before.

        Raises:
            ModelSetupError: The server did not get ready again.
            HandleInactiveError: The handle was torn down, or the server has ended too often.
        """
        if self._may_start_again():
            deliver_cancellation()
            async with self._lock:
                if self._may_start_again():  # else another task has done it
                    await self._start_again()
        self.check()
        return self._present

    async def may_try_again(self, model: ServerModel) -> bool:
        """Whether a request that failed may be sent again: its server has ended, and there is or will be another one.

        Args:
            model: What it was sent with. Its server may be dying: it is not ready any more, and then ends.
        """
        if model.lease.lost is None:
            with move_on_after(_DYING_SECONDS):
                async with create_task_group() as race:

                    async def first(wait: Callable[[], Awaitable[object]]) -> None:
                        with suppress(Exception):  # what is told by an error is not ready
                            await wait()
                        race.cancel_scope.cancel()

                    race.start_soon(first, model.lease.ended)
                    race.start_soon(first, model.lease.ready)
        async with self._lock:  # another task may be starting it at this moment
            return model.lease.lost is not None and (model is not self._present or self._may_start_again())

    def _may_start_again(self) -> bool:
        lost = self._present.lease.lost
        return not self._ended and self.restarts_left > 0 and lost is not None and not lost.stopped

    async def _start_again(self) -> None:
        self.restarts_left -= 1
        try:
            handle = await self._again()
        except get_cancelled_exc_class():
            self.restarts_left += 1
            raise
        self._current, self._present = handle, handle._get_model()
        if self._ended:
            await handle.teardown()

    def _why_inactive(self) -> str:
        return "" if self._may_start_again() else self._ended or self._current._why_inactive()

    def _get_model(self) -> ServerModel:
        return self._restarting_model


class RestartingModel(ServerModel):
    """The model of whichever generation there is."""

    def __init__(self, handle: RestartingHandle) -> None:
        self._handle = handle

    @property
    def name(self) -> str:
        """What requests call the model."""
        return self._handle.present.name

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The SDK's client of the present generation; do not keep it."""
        self._handle.check()
        return self._handle.present.client

    @property
    def limiter(self) -> CapacityLimiter | None:
        """What limits the requests at once."""
        return self._handle.present.limiter

    @property
    def lease(self) -> ServerLease:
        """The lease on the present server."""
        return self._handle.present.lease

    async def generate(self, prompt: Prompt, /, **params: Any) -> Completion:
        """Ask for a reply; where the server dies, start it again and ask again, as often as `restarts` says.

        Raises:
            ModelRequestError: The request failed, and not because the server died; or it has died too often.
            ModelSetupError: The server did not get ready again.
        """
        while True:
            model = await self._handle.living()
            try:
                return await model.generate(prompt, **params)
            except ModelRequestError as exc:
                if not await self._may_try_again(exc, model):
                    raise

    @asynccontextmanager
    async def stream(self, prompt: Prompt, /, **params: Any) -> AsyncGenerator[CompletionStream]:
        """Ask for a reply that is read while it is made; as `generate` where that cannot begin.

        What has begun is not asked for again: the reader has seen a part of it.
        """
        async with AsyncExitStack() as stack:
            stream = None
            while stream is None:
                model = await self._handle.living()
                try:
                    stream = await stack.enter_async_context(model.stream(prompt, **params))
                except ModelRequestError as exc:
                    if not await self._may_try_again(exc, model):
                        raise
            yield stream

    async def _may_try_again(self, error: ModelRequestError, model: ServerModel) -> bool:
        is_servers_fault = error.status is None or error.status >= 500
        return is_servers_fault and await self._handle.may_try_again(model)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._handle.present!r}>"
