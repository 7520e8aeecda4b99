"""``FakeModel``: a chat model that answers from a script, and remembers what it was asked."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Self, TypeAlias, cast

from anyio import CapacityLimiter, sleep
from anyio.lowlevel import checkpoint

from .. import Completion, CompletionStream, ModelRequest, ModelRequestError, Prompt, Usage, messages_of
from .._undelivered import deliver_cancellation
from ._parameters import check_spelling

Reply: TypeAlias = str | Exception
"""What a script says: a text or a `Completion`, or an exception for a request that fails."""
Replies: TypeAlias = Reply | Sequence[Reply] | Callable[[Prompt], Reply | Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class FakeCall:
    """One request to a fake model.

    Args:
        prompt: What was asked, as it was given.
        params: The parameters of the request.
        streamed: Whether `FakeModel.stream` was called.
    """

    prompt: Prompt
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    streamed: bool = False


class FakeModel:
    """A chat model that answers from a script; it costs nothing and needs no server.

    ::

        model = FakeModel(replies=["Hello!", TimeoutError("too slow"), "Bye!"])

    Args:
        name: The model's name.
        replies: What it answers: one text, to every request; a list, one after the other; or a function, async or not,
            that gets the prompt and returns the answer. `None`: it repeats the text of the prompt's last message. A
            text becomes a `Completion` that ends with ``"stop"`` and counts words as tokens; a `Completion` is given
            as it is, and one without a ``finish_reason`` is a stream that breaks off. An exception is raised: a
            `ModelRequestError` as it is, any other as the cause of one, as the models of the SDKs do it.
        failures: Exceptions by the number of the request that raises them, the first being 1.
        latency: How long a reply, or the first piece of one, takes, in seconds of the event loop's clock.
        max_concurrency: How many requests it takes at once; the others wait. `None`: no limit.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        replies: Replies | None = None,
        failures: Mapping[int, Exception] | None = None,
        latency: float = 0.0,
        max_concurrency: int | None = None,
    ) -> None:
        check_replies(replies)
        self._name = name
        self._replies = replies
        self._failures = dict(failures or {})
        self._latency = latency
        self._limiter = None if max_concurrency is None else CapacityLimiter(max_concurrency)
        self._is_closed = False
        self._crash: Exception | None = None
        self._active = 0
        self.calls: list[FakeCall] = []
        """Every request so far, in the order in which the model took them."""
        self.most_active = 0
        """How many requests it was busy with at once, at most."""

    def __doteval_identity__(self) -> Mapping[str, Any]:
        return {"provider": type(self).__qualname__, "spec": self._name, "replies": self._replies}

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def client(self) -> Self:
        """There is no SDK behind it, so this is the model itself."""
        return self

    @property
    def active(self) -> int:
        """How many requests it is busy with, open streams among them."""
        return self._active

    @property
    def is_closed(self) -> bool:
        """Whether its provider has closed it."""
        return self._is_closed

    def close(self) -> None:
        """From now on every request fails: it would be a use after close."""
        self._is_closed = True

    def crash(self, error: Exception) -> None:
        """From now on every request fails because its server has died, with `error` as the reason."""
        self._crash = error

    async def generate(self, prompt: Prompt, /, **params: Any) -> Completion:
        """Answer from the script. Always a checkpoint; a cancellation passes through.

        Raises:
            ModelRequestError: The script says so.
            TypeError, ValueError: No model would take the prompt, or a parameter; or that is a misspelt one.
            AssertionError: The script has come to its end, or the model is closed.
        """
        async with self._request(FakeCall(prompt, params)) as (request, reply):
            request.replied(reply)
            return reply

    @asynccontextmanager
    async def stream(self, prompt: Prompt, /, **params: Any) -> AsyncGenerator[CompletionStream]:
        """Answer from the script, word by word, with a checkpoint before each.

        Raises:
            ModelRequestError: The script says so.
            TypeError, ValueError: No model would take the prompt, or a parameter; or that is a misspelt one.
            AssertionError: The script has come to its end, or the model is closed.
        """
        async with (
            self._request(FakeCall(prompt, params, streamed=True)) as (request, reply),
            aclosing(self._pieces(reply)) as pieces,
        ):
            stream = CompletionStream(self._name, pieces, retries=reply.retries)
            try:
                yield stream
            finally:
                stream.leave()
                request.streamed(stream)

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"active={self._active}"
        return f"<FakeModel {self._name!r} calls={len(self.calls)} {state}>"

    # ---------------------------------------------------------------- inside

    @asynccontextmanager
    async def _request(self, call: FakeCall) -> AsyncGenerator[tuple[ModelRequest, Completion]]:
        messages = messages_of(call.prompt, call.params)
        check_spelling(call.params)
        self._check_open()
        deliver_cancellation()
        await checkpoint()
        async with self._limiter or nullcontext(), self._counted():
            with ModelRequest(self._name, messages, call.params, source=self) as request:
                yield request, await self._answer(call)

    @asynccontextmanager
    async def _counted(self) -> AsyncGenerator[None]:
        self._active += 1
        self.most_active = max(self.most_active, self._active)
        try:
            yield
        finally:
            self._active -= 1

    async def _answer(self, call: FakeCall) -> Completion:
        self.calls.append(call)
        number = len(self.calls)
        if self._latency:
            await sleep(self._latency)
        self._check_open()
        failure = self._failures.get(number)
        reply = await self._scripted(call.prompt, number) if failure is None else failure
        if isinstance(reply, ModelRequestError):
            raise reply
        if isinstance(reply, Exception):
            problem = f"{type(reply).__name__}: {reply}"
            raise ModelRequestError(self._name, problem, "The script of the fake model says so.") from reply
        if isinstance(reply, Completion):
            return reply
        usage = Usage(len(_text_of(call.prompt).split()), len(reply.split()))
        return Completion(reply, usage=usage, finish_reason="stop")

    async def _scripted(self, prompt: Prompt, number: int) -> Reply:
        if self._replies is None:
            return _text_of(prompt)
        if isinstance(self._replies, (str, Exception)):
            return self._replies
        if callable(self._replies):
            reply = self._replies(prompt)
            return await reply if isawaitable(reply) else reply
        taken = number - 1 - sum(1 for failed in self._failures if failed < number)
        if taken >= len(self._replies):
            raise AssertionError(
                f"'{self._name}' was asked {number} times, but its script has {len(self._replies)} replies; "
                "add one, or give replies= a function"
            )
        return self._replies[taken]

    async def _pieces(self, reply: Completion) -> AsyncGenerator[Completion]:
        for word in re.findall(r"\s*\S+|\s+$", reply):
            await checkpoint()
            self._check_open()
            yield Completion(word)
        await checkpoint()
        yield Completion(
            usage=reply.usage,
            finish_reason=reply.finish_reason,
            refusal=reply.refusal,
            reasoning=reply.reasoning,
            tool_calls=reply.tool_calls,
            raw=reply.raw,
        )

    def _check_open(self) -> None:
        if self._crash is not None:
            problem = f"the connection was lost ({type(self._crash).__name__}: {self._crash})"
            raise ModelRequestError(self._name, problem, "Lease the model again.", retryable=True) from self._crash
        assert not self._is_closed, (
            f"'{self._name}' was used after its provider had closed it; keep the handle active for as long as you use "
            "its model"
        )


def check_replies(replies: object) -> None:
    """Refuse what answers nothing.

    Raises:
        TypeError: It is no text, no sequence of them, and no function.
    """
    if isinstance(replies, (bytes, bytearray)) or not (
        replies is None or callable(replies) or isinstance(replies, (str, Exception, Sequence))
    ):
        raise TypeError(
            f"replies= is a {type(replies).__name__}: give one text for every request, a list of texts and exceptions "
            "for one after the other, or a function that gets the prompt"
        )
    if isinstance(replies, Sequence) and not isinstance(replies, str):
        scripted = cast("Sequence[object]", replies)
        wrong = {type(reply).__name__ for reply in scripted if not isinstance(reply, (str, Exception))}
        if wrong:
            raise TypeError(f"replies= has {', '.join(sorted(wrong))} in it: a reply is a text or an exception")


def _text_of(prompt: Prompt) -> str:
    """The text of a prompt's last message."""
    return str(messages_of(prompt)[-1].get("content", ""))
