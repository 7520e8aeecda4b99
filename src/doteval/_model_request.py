"""``ModelRequest`` tells what a request has cost; ``counting_requests`` is told of all that are made in a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from ._errors import ModelRequestError
from ._model import Completion, CompletionStream, Usage, later
from ._secrets import masked_values

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
        messages: The conversation that is sent.
        params: What else it is sent with.
        from_cache: Whether it is sent nowhere, as a cache of replies answers it; `None`: no cache was asked whether it
            would, where there is one.
        source: The model that makes it: where two have one name, it tells in which role of an evaluation it was asked.
    """

    __slots__ = (
        "_counting", "_is_told", "began", "error", "failed", "from_cache", "is_known", "knows_caches", "lost",
        "messages", "model", "params", "reply", "retries", "seconds", "source", "stream", "usage",
    )  # fmt: skip

    def __init__(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]] = (),
        params: Mapping[str, Any] | None = None,
        *,
        from_cache: bool | None = None,
        source: object = None,
    ) -> None:
        self.source = source
        """The model that makes it, where it says so; two may have one name."""
        self.model = model
        """The model's name."""
        self.messages = messages
        """The conversation that was sent, as far as whoever made the request has said."""
        self.params: Mapping[str, Any] = {} if params is None else params
        """What else it was sent with, likewise."""
        self.from_cache = bool(from_cache)
        """Whether a cache of replies has answered it: then it was sent nowhere, and cost nothing now."""
        self.knows_caches = from_cache is not None
        """Whether a cache of replies was asked, where there is one."""
        self.began = 0.0
        """When it was sent, on the clock of `time.perf_counter`."""
        self.seconds = 0.0
        """How long it took."""
        self.error: ModelRequestError | None = None
        """Why it failed."""
        self.stream: CompletionStream | None = None
        """What was streamed."""
        self.reply: Completion | None = None
        """What the model replied, where it was not streamed."""
        self.usage: Usage | None = None
        """What it cost, as far as its server said so; of one from a cache, what its reply had cost."""
        self.failed = False
        """Whether it failed."""
        self.is_known = False
        """Whether that is all: its server said so, or refused it. Not of a stream that was left early."""
        self.retries = 0
        """How often it was sent again."""
        self.lost: int | None = None
        """How many of the times before the last one got no answer, and may have cost what nobody knows; those that
        were refused cost nothing. `None`: that is not known, and it may be all of them."""
        self._counting = _COUNTING.get()
        self._is_told = False

    @property
    def received(self) -> Completion | None:
        """What the model replied, or what had arrived of a stream; `None`: nothing."""
        if self.stream is None:
            return self.reply
        return self.stream.so_far if self.stream.has_begun else None

    @property
    def open_params(self) -> dict[str, Any]:
        """The parameters for people's eyes: without what the name of a secret holds, and without secrets in URLs."""
        return masked_values(self.params)

    def replied(self, reply: Completion) -> None:
        """The reply is there."""
        self.reply = reply
        self.usage = reply.usage
        self.is_known = reply.usage is not None
        self.retries = reply.retries
        self._is_told = True

    def streamed(self, stream: CompletionStream) -> None:
        """The block of the stream is left, wherever the stream is."""
        self.stream = stream
        self.usage = later(self.usage, stream.usage)
        self.error = stream._error
        self.failed = stream._error is not None
        self.is_known = stream._ended and self.usage is not None
        self.retries = stream._retries
        self._is_told = True

    def __enter__(self) -> Self:
        self.began = perf_counter()
        self._tell("begin")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._counting:
            return
        self.seconds = perf_counter() - self.began
        if not self._is_told and isinstance(exc_value, Exception):
            if not isinstance(exc_value, ModelRequestError):
                self._tell("forget")
                return
            self.error = exc_value
            self.failed = True
            self.is_known = self.usage is not None or exc_value.status is not None
            self.retries = exc_value.retries
        for requests in self._counting:
            requests.append(self)

    def _tell(self, what: str) -> None:
        for requests in self._counting:
            if type(requests) is not list and (told := getattr(requests, what, None)) is not None:
                told(self)

    def __repr__(self) -> str:
        state = "failed, " if self.failed else ""
        return f"<ModelRequest to '{self.model}' {state}{self.usage}>"


def waited_for_place(seconds: float) -> None:
    """Tell those who count here how long a request has waited to be sent."""
    for requests in _COUNTING.get():
        if type(requests) is not list and (told := getattr(requests, "wait", None)) is not None:
            told(seconds)


def counting_requests(into: list[ModelRequest] | None = None) -> AbstractContextManager[list[ModelRequest]]:
    """Count what is asked of models in the block, and in the tasks, threads and `doteval.blocking` that it starts.

    For example::

        with counting_requests() as requests:
            await agent.solve(task)
        print(sum(request.usage.total for request in requests if request.usage is not None))

    A request is in the list when it has ended, also one that failed or was cancelled, also where that is after the
    block. Blocks may be nested; each has all that is asked inside of it. What goes through a model's `client` is not
    seen, nor what a task asks that was there before the block.

    Args:
        into: The list that gets them, in place of a new one; its `append` is called with each when it has ended. Where
            it has methods ``begin`` and ``forget``, the one is called with each when it begins, the other with each
            that then turns out not to be sent; a method ``wait`` with the seconds that one has waited for its place.

    Returns:
        A context manager that gives the list.
    """
    return _Counting([] if into is None else into)


class _Counting:
    """The block; a class, as evaluations enter one for each row."""

    __slots__ = ("_requests", "_token")

    def __init__(self, requests: list[ModelRequest]) -> None:
        self._requests = requests

    def __enter__(self) -> list[ModelRequest]:
        self._token = _COUNTING.set((*_COUNTING.get(), self._requests))
        return self._requests

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _COUNTING.reset(self._token)
