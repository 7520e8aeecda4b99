"""``SDKModel``: what the models of the SDKs have in common. A subclass adds how its SDK is asked and how it answers."""

from __future__ import annotations

import copy
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from anyio import CapacityLimiter

from ..._errors import ModelRequestError
from ..._keywords import unexpected_in_request
from ..._loop import HomeLoop
from ..._messages import Prompt, check_params, messages_of
from ..._model import Completion, CompletionStream, Usage
from ..._model_request import ModelRequest
from ..._replies.asked import Asked
from ..._replies.asked import asked as asked_of_cache
from ..._replies.cache import present_row
from ..._secrets import masked, shielded
from ..._undelivered import deliver_cancellation
from .._headers import checked_headers
from .attempts import Attempts, watch
from .events import Body, ending
from .failures import NOT_READ, SDK, Explaining, SDKClient, request_id_of, retries_of
from .http_clients import form_of, http_client_of, known_of
from .places import Held, Places
from .plain import Plain, plain
from .replies import ReplayedPieces, again, credentials_of, headers_of, kept, query_of, telling, whom

ClientT = TypeVar("ClientT", bound=SDKClient)
AnswerT = TypeVar("AnswerT")
EventT = TypeVar("EventT")

_OURS = {"model", "messages", "stream"}
"""What no caller gives to a request."""
_NO_LIMIT = nullcontext()
_NO_CACHE = nullcontext()


class SDKModel(ABC, Generic[ClientT, AnswerT, EventT]):
    """One model behind an SDK's client.

    Args:
        name: The model's name as its server knows it.
        client: The SDK's client; whoever made it closes it.
        max_concurrency: How many requests the model takes at once, streams for as long as they are open included; the
            others wait in order of arrival. `None`: no limit.
        key_places: Those for the requests at once of all models with the same key.
        params: What every request is sent with, where it does not say otherwise.
    """

    sdk: ClassVar[SDK]
    types: ClassVar[ModuleType]
    """The SDK's module with the classes of answers and events."""

    def __init__(
        self,
        name: str,
        client: ClientT,
        *,
        max_concurrency: int | None = None,
        key_places: Places | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self._name = name
        self._client = client
        watch(http_client_of(client))
        self._limiter = None if max_concurrency is None else CapacityLimiter(max_concurrency)
        # The model's own first: who waits for the key's keeps back only who would have to wait for it as well.
        own = None if self._limiter is None else Places(self._limiter)
        self._places = [places for places in (own, key_places) if places is not None]
        self._params = dict(params or {})
        check_params(self._params)
        # Of what awaiting the SDK raises, and nothing else: an exception of the caller's own code is no failed request.
        self._explaining = Explaining(self.sdk, name, client)
        self._is_asking: Mapping[str, Any] | None = None
        self._credential_names: frozenset[str] | None = None
        self._home: HomeLoop | None = None

    def stay_here(self, provider: str) -> None:
        """Refuse requests from another event loop than this one, in which the client's connections are.

        Args:
            provider: The provider's name, for the message.
        """
        self._home = HomeLoop(provider)

    def __doteval_identity__(self) -> Mapping[str, Any]:
        """All that its answers depend on; see `ModelProvider.identity`."""
        kind = type(self)
        found = {"provider": f"{kind.__module__}.{kind.__qualname__}", "spec": self._name, "base_url": self.base_url}
        http_client = http_client_of(self._client)
        more = {
            "params": self._params,
            "default_headers": headers_of(self._client),
            "default_query": query_of(self._client),
            "http_client": {} if http_client is None else known_of(http_client),
        }
        return {**found, **{name: value for name, value in more.items() if value}}

    def __doteval_view__(self) -> Self:
        """The same model as another object, so that requests made by the one are told from those made by the other."""
        return copy.copy(self)

    @property
    def base_url(self) -> str:
        """Where the API is, such as ``https://host/v1``."""
        return str(self.client.base_url).rstrip("/")

    @property
    def name(self) -> str:
        """The model's name as its server knows it."""
        return self._name

    @property
    def client(self) -> ClientT:
        """The SDK's own client, for all that is not wrapped. It is shared with other models: do not close it."""
        return self._client

    @property
    def limiter(self) -> CapacityLimiter | None:
        """What limits the requests at once; its ``total_tokens`` may be changed at any time."""
        return self._limiter

    async def generate(self, prompt: Prompt, /, **params: Any) -> Completion:
        """Ask for a reply.

        A cancellation passes through; the place among the model's concurrent requests and the connection are free
        again when it does.

        Args:
            prompt: A text, or a conversation of mappings with ``role`` and ``content``.
            params: What the API takes, such as ``temperature``.

        Raises:
            ModelRequestError: The request failed; says what failed and what to do. The SDK's exception is the cause. Or
                it would wait for ever for its place, as open streams of those who wait have all of them.
            TypeError: `prompt` is neither a text nor a conversation, or the SDK knows no such parameter.
            WrongEventLoopError: The model was leased in another event loop.
        """
        params = shielded(params) if params else params
        if self._home is not None:
            self._home.check()
        deliver_cancellation()
        messages, params = messages_of(prompt, params), _prepared({**self._params, **params})
        sent = self._request(messages, params)
        asked = (
            asked_of_cache(self._name, self._whom, telling(sent, self._credentials()))
            if present_row() is not None
            else None
        )
        with asked or _NO_CACHE:
            if asked is not None and (found := await self._kept(asked, self._read_answer)) is not None:
                with ModelRequest(self._name, messages, params, from_cache=True, source=self) as request:
                    request.replied(found[0])
                asked.answered(found[0].usage)
                return found[0]
            async with self._place():
                with ModelRequest(self._name, messages, params, from_cache=False, source=self) as request:
                    answer, response = await self._asked(request, sent, is_plain=asked is None)
                    try:
                        reply = self._read_answer(answer)
                    except Exception as exc:
                        request.usage = self._usage_in(answer)
                        error = self._explaining.unreadable(exc, answer, response)
                        del answer  # which may have repeated the key
                        raise error from exc
                    reply.retries = retries_of(response)
                    request.replied(reply)
            if asked is not None:
                await asked.keep(partial(kept, [answer]))
        return reply

    @asynccontextmanager
    async def stream(self, prompt: Prompt, /, **params: Any) -> AsyncGenerator[CompletionStream]:
        """Ask for a reply that is read while it is made; use it with ``async with``.

        The request is sent on entering, and counts as one of the model's concurrent requests until the block is left.
        The block may be left at any time: that ends the request, in a shield of a few seconds.

        Args:
            prompt: A text, or a conversation of mappings with ``role`` and ``content``.
            params: What the API takes, such as ``temperature``.

        Raises:
            ModelRequestError: The request failed, on entering or while reading.
            TypeError: `prompt` is neither a text nor a conversation, or the SDK knows no such parameter.
            WrongEventLoopError: The model was leased in another event loop.
        """
        params = shielded(params) if params else params
        if self._home is not None:
            self._home.check()
        deliver_cancellation()
        messages, params = messages_of(prompt, params), _prepared({**self._params, **params, "stream": True})
        sent = self._request(messages, params)
        asked = (
            asked_of_cache(self._name, self._whom, telling(sent, self._credentials()))
            if present_row() is not None
            else None
        )
        with asked or _NO_CACHE:
            if asked is not None and (found := await self._kept(asked, self._reader())) is not None:
                stream = CompletionStream(self._name, ReplayedPieces(found))
                with ModelRequest(self._name, messages, params, from_cache=True, source=self) as request:
                    try:
                        yield stream
                    finally:
                        stream.leave()
                        request.streamed(stream)
                        asked.answered(stream.usage)
                return
            async with self._place():
                with ModelRequest(self._name, messages, params, from_cache=False, source=self) as request:
                    events, response = await self._asked(request, sent, is_plain=asked is None)
                    response = getattr(events, "response", None) if response is None else response
                    async with ending(events, response) as (reader, body):
                        pieces = _Pieces(self, request, reader, body, response, asked)
                        stream = CompletionStream(
                            self._name,
                            pieces,
                            retries=retries_of(response),
                            request_id=request_id_of(response),
                            explain=self._explained,
                        )
                        try:
                            yield stream
                        finally:
                            stream.leave()
                            request.streamed(stream)
                            if asked is not None:
                                asked.left(failed=request.failed)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r} at {masked(str(self._client.base_url))}>"

    # ---------------------------------------------------------------- what a subclass writes

    @abstractmethod
    def _request(self, messages: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
        """All that the SDK is given for a request, but for the model's name."""

    @abstractmethod
    def _create(self) -> Callable[..., Awaitable[Any]]:
        """What of the SDK's client sends a request, looked up as everybody does: somebody may trace it from outside."""

    @abstractmethod
    def _read_answer(self, answer: AnswerT) -> Completion:
        """The reply in an answer. Whatever it raises says that the answer makes no sense."""

    @abstractmethod
    def _usage_in(self, answer: object) -> Usage | None:
        """What an answer, or an event, that could not be read says of its cost."""

    @abstractmethod
    def _reader(self) -> Callable[[EventT], Completion]:
        """Reads one stream: tells what each of its events brings, be it without text, and raises as `_read_answer`."""

    def _send_plain(self, request: dict[str, Any]) -> Awaitable[Any] | None:
        """Send a request like `_send`, but have the answer, or the events, as they are in JSON, where that is cheaper.

        `None`: it is not, or the SDK has something to do to the request, or somebody traces its method from outside.
        """
        return None

    # ---------------------------------------------------------------- inside

    def _send(self, request: dict[str, Any]) -> Awaitable[Any]:
        """Send a request; with ``stream`` in it, return when the answer begins, else when it is there.

        Never with ``stream=False``, which the SDK would look at for longer than all that is ours takes.
        """
        return self._create()(model=self.name, **request)

    def _whom(self) -> Mapping[str, Any]:
        """Whom it asks, without credentials, as far as answers depend on it."""
        if self._is_asking is None:
            kind = type(self)
            self._is_asking = {
                "kind": f"{kind.__module__}.{kind.__qualname__}",
                "model": self._name,
                **whom(self.client, self.base_url, self._credentials()),
            }
        http_client = http_client_of(self._client)
        added = {} if http_client is None else form_of(http_client, self._credentials())
        return {**self._is_asking, "http_client": added} if added else self._is_asking

    def _credentials(self) -> frozenset[str]:
        if self._credential_names is None:
            self._credential_names = credentials_of(self.client)
        return self._credential_names

    async def _kept(self, asked: Asked, read: Callable[[Any], Completion]) -> list[Completion] | None:
        """What the cache has for a request, in pieces; `None`: it is to be sent."""
        answer = await asked.answer()
        pieces = [] if answer is None else again(answer, self.types, read)
        if not pieces:
            asked.sent()
        return pieces or None

    async def _asked(self, request: ModelRequest, sent: dict[str, Any], *, is_plain: bool) -> tuple[Any, Any]:
        """What the SDK makes of an answer, and the answer as HTTP has it, where that is known.

        Args:
            request: Is told what becomes of it.
            sent: What is sent.
            is_plain: Whether the SDK need make nothing of the answer.
        """
        attempts = Attempts(request)
        try:
            with attempts:
                plainly = self._send_plain(sent) if is_plain else None
                answer = await (self._send(sent) if plainly is None else plainly)
        except Exception as exc:
            if type(exc) is TypeError and (unknown := self._unknown_in(sent)):
                names, known = unknown
                raise unexpected_in_request(self._name, names, known) from exc
            error = self._explaining.failed(exc, attempts.response)
            if error is None:
                raise
            raise error from exc
        return answer if plainly is None else plain(answer, attempts.response), attempts.response

    def _unknown_in(self, sent: Mapping[str, Any]) -> tuple[set[str], set[str]] | None:
        """What of a request the SDK knows no parameter for, and those that may be given; `None` where there is none."""
        try:
            parameters = inspect.signature(self._create()).parameters
        except (TypeError, ValueError):  # it does not say
            return None
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return None
        unknown = sent.keys() - parameters.keys()
        return (unknown, parameters.keys() - _OURS) if unknown else None

    async def _explained(self, error: ModelRequestError) -> ModelRequestError:
        """What is raised of a stream that broke off; a subclass may know more."""
        return error

    def _place(self) -> AbstractAsyncContextManager[None]:
        """One of the places for concurrent requests."""
        return Held(self._places, self._name) if self._places else _NO_LIMIT


class _Pieces(Generic[EventT]):
    """The events of a stream as pieces of a reply. Not a generator: those have to be closed, and would be one more."""

    def __init__(
        self,
        model: SDKModel[Any, Any, EventT],
        request: ModelRequest,
        events: AsyncIterator[EventT],
        body: Body | None,
        response: Any,
        asked: Asked | None,
    ) -> None:
        self._request = request
        self._usage_in = model._usage_in
        self._explaining = model._explaining
        self._read = model._reader()
        self._next = events.__anext__
        self._response = response
        self._body = body
        self._asked = asked
        self._seen: list[EventT] = []
        self._is_complete = False

    def __aiter__(self) -> AsyncIterator[Completion]:
        return self

    async def __anext__(self) -> Completion:
        event: Any = NOT_READ
        try:
            came: Any = await self._next()
            event = Plain(cast("dict[str, Any]", came)) if type(came) is dict else came
            if self._body is not None:
                self._body.has_events()
                self._body = None
            piece = self._read(event)
        except StopAsyncIteration:
            if self._body is None or (text := self._body.text_instead_of_events()) is None:
                if self._asked is not None and self._is_complete:
                    await self._asked.keep(partial(kept, self._seen))
                raise
            nothing = ValueError("no event came")
            error = self._explaining.unreadable(nothing, text, self._response)
            del text  # which may have repeated the key
            raise error from nothing
        except Exception as exc:
            self._request.usage = self._usage_in(event)
            error = self._explaining.unreadable(exc, event, self._response)
            came = event = NOT_READ
            raise error from exc
        else:
            if self._asked is not None:
                self._seen.append(event)
                self._is_complete = self._is_complete or piece.finish_reason is not None
            return piece


def _prepared(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with headers that can be sent, and the JSON schema of a class of pydantic, as what is wanted.

    The reply is still a text.
    """
    if params.get("extra_headers"):
        params = {**params, "extra_headers": checked_headers(params["extra_headers"], "extra_headers")}
    wanted = params.get("response_format")
    if not isinstance(wanted, type) or not hasattr(wanted, "model_json_schema"):
        return params
    described: Any = wanted
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", described.__name__)
    schema = {"name": name, "schema": described.model_json_schema()}
    return {**params, "response_format": {"type": "json_schema", "json_schema": schema}}
