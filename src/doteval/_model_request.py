"""``ModelRequest`` tells what a request has cost; ``counting_requests`` is told of all that are made in a block."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from ._errors import ModelRequestError
from ._model import Completion, CompletionStream, Usage, later

_COUNTING: ContextVar[tuple[list[ModelRequest], ...]] = ContextVar("doteval_counting", default=())
"""The lists of those who count where this code runs."""


class ModelRequest:
    """One request to a model. When its block ends, those are told who count requests where it was made.

    The models of doteval's providers do this by themselves. A model of your own does it like this, around what is sent
    and nothing else::

        with ModelRequest(self.name) as request:
            answer = await self._ask(prompt)
            reply = Completion(answer.text, usage=Usage(answer.prompt_tokens, answer.reply_tokens))
            request.replied(reply)

    A block that raises a `ModelRequestError` is a request that failed; one that raises any other `Exception` sent none.

    Args:
        model: The model's name.
    """

    __slots__ = ("_counting", "_is_told", "failed", "is_known", "model", "reply", "retries", "usage")

    def __init__(self, model: str) -> None:
        self.model = model
        """The model's name."""
        self.reply: Completion | None = None
        """What the model replied, where it was not streamed."""
        self.usage: Usage | None = None
        """What it cost, as far as its server said so."""
        self.failed = False
        """Whether it failed."""
        self.is_known = False
        """Whether that is all: its server said so, or refused it. Not of a stream that was left early."""
        self.retries = 0
        """How often it was sent again; only the last of them may have cost anything."""
        self._counting = _COUNTING.get()
        self._is_told = False

    def replied(self, reply: Completion) -> None:
        """The reply is there."""
        self.reply = reply
        self.usage = reply.usage
        self.is_known = reply.usage is not None
        self.retries = reply.retries
        self._is_told = True

    def streamed(self, stream: CompletionStream) -> None:
        """The block of the stream is left, wherever the stream is."""
        self.usage = later(self.usage, stream.usage)
        self.failed = stream._failed
        self.is_known = stream._ended and self.usage is not None
        self.retries = stream._retries
        self._is_told = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._counting:
            return
        if not self._is_told and isinstance(exc_value, Exception):
            if not isinstance(exc_value, ModelRequestError):
                return
            self.failed = True
            self.is_known = self.usage is not None or exc_value.status is not None
            self.retries = exc_value.retries
        for requests in self._counting:
            requests.append(self)

    def __repr__(self) -> str:
        state = "failed, " if self.failed else ""
        return f"<ModelRequest to '{self.model}' {state}{self.usage}>"


def counting_requests() -> AbstractContextManager[list[ModelRequest]]:
    """Count what is asked of models in the block, and in the tasks, threads and `doteval.blocking` that it starts.

    For example::

        with counting_requests() as requests:
            await agent.solve(task)
        print(sum(request.usage.total for request in requests if request.usage is not None))

    A request is in the list when it has ended, also one that failed or was cancelled. Blocks may be nested; each has
    all that is asked inside of it. What goes through a model's `client` is not seen, nor what a task asks that was
    there before the block.

    Returns:
        A context manager that gives the list.
    """
    return _Counting()


class _Counting:
    """The block; a class, as evaluations enter one for each row."""

    __slots__ = ("_requests", "_token")

    def __init__(self) -> None:
        self._requests: list[ModelRequest] = []

    def __enter__(self) -> list[ModelRequest]:
        self._token = _COUNTING.set((*_COUNTING.get(), self._requests))
        return self._requests

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _COUNTING.reset(self._token)
