"""``Endpoint``: an ASGI app that passes requests on to the models that they name.

A request holds a lease on its model from before it is sent on until its answer has ended, or its client has gone. So
models that share a slot are swapped as everywhere: who waits is served in order of arrival, and nothing that is under
way is cut off.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import time
from typing import Any, TypeAlias, cast
from urllib.parse import unquote

import httpx
from anyio import CancelScope, create_task_group, move_on_after

from ..._errors import DotevalError
from ...providers._served.balancing import NOT_AGAIN, SENT_BEFORE, Sending
from ...providers._served.model import ServerModel
from ...providers._served.provider import ServerProviderBase
from ...providers._served.replicas import Replicas
from ...servers._contract import Server, ServerLease
from .body import Body
from .refusal import Refusal, refusal_of, stopping, unknown_model

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

logger = logging.getLogger("doteval.serve")

MOST_WAITING = 1000
"""How many requests may wait for their models at once."""
MOST_BYTES = 256 << 20
"""How large the body of a request may be."""

_CONNECT_SECONDS = 10.0
_NEWS_SECONDS = 1.0
_FRAMED = frozenset({"content-length", "transfer-encoding"})
_LAST_EVENTS = (b"[DONE]", b"message_stop")
_LAST = 200  # bytes in which the last event of a stream has room
"""How long the news of a server's end may take to arrive after the failure of a request that it caused."""
_OUR_NAMES = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
"""How this machine may be asked where no key is wanted: by names in which no name server has a say."""
_BETWEEN_TWO = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
"""The headers that are about one connection."""
_NOT_SENT = _BETWEEN_TWO | {b"authorization", b"x-api-key", b"host", b"content-length", b"cookie", b"expect"}
_NOT_ANSWERED = _BETWEEN_TWO | {b"date", b"server"}


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is served.

    Args:
        name: What requests call it.
        provider: What leases it; entered.
        spec: What is asked of the provider.
        config: The configuration that it is asked for with.
        since: When it was first served here, in seconds since the epoch.
    """

    name: str
    provider: ServerProviderBase
    spec: str
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    since: int = field(default_factory=lambda: int(time()))

    def told(self) -> dict[str, Any]:
        """As a list of models has it, of OpenAI and of Anthropic at once."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.since,
            "owned_by": "doteval",
            "type": "model",
            "display_name": self.name,
            "created_at": datetime.fromtimestamp(self.since, UTC).isoformat(),
        }


@asynccontextmanager
async def endpoint(
    models: Mapping[str, Served], *, api_key: str | None = None, most_waiting: int = MOST_WAITING
) -> AsyncGenerator[Endpoint]:
    """The app, as long as the block lasts.

    Args:
        models: What is served, by the names that requests use.
        api_key: What clients have to show; `None`: nothing, and then only this machine may ask.
        most_waiting: How many requests may wait for their models at once.
    """
    async with httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
        # A connection that is kept may be closed by its server just when it is used again.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        trust_env=False,
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loading certificates that nobody needs takes 50 ms
    ) as client:
        app = Endpoint(models, client, api_key, most_waiting)
        try:
            yield app
        finally:
            app.stop()


class Endpoint:
    """The app; made by `endpoint`."""

    def __init__(
        self, models: Mapping[str, Served], client: httpx.AsyncClient, api_key: str | None, most_waiting: int
    ) -> None:
        self._models = models
        self._client = client
        self._api_key = api_key
        self._most_waiting = most_waiting
        self._waiting = 0
        self._under_way: set[CancelScope] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """Refuse what comes from now on, and cut off what is under way."""
        self._is_stopping = True
        for scope in self._under_way:
            scope.cancel()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            for what in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{what}.complete"})
            return
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1003})
            return
        answer = _Answer(send)
        with CancelScope() as all_of_it:
            self._under_way.add(all_of_it)
            try:
                await self._answer(_Request(scope, receive), answer)
            except Refusal as refusal:
                await answer.refuse(refusal)
            except Exception:
                logger.exception("%s %s failed", scope["method"], scope["path"])
                await answer.refuse(Refusal(500, "internal_error", "doteval serve has failed; its output says how"))
            finally:
                self._under_way.discard(all_of_it)

    async def _answer(self, request: _Request, answer: _Answer) -> None:
        if self._is_stopping:
            raise stopping()
        self._let_in(request)
        match request.method, request.path.rstrip("/"):
            case "GET" | "HEAD", "/health":
                await answer.json({"status": "ok"})
            case "GET" | "HEAD", "/v1/models":
                told = [served.told() for served in self._models.values()]
                ends = {"first_id": told[0]["id"], "last_id": told[-1]["id"], "has_more": False}
                await answer.json({"object": "list", "data": told, **ends})
            case "GET" | "HEAD", path if path.startswith("/v1/models/"):
                await answer.json(
                    self._served(unquote(request.raw_path.rstrip("/").partition("/v1/models/")[2])).told()
                )
            case "POST", _:
                await self._pass_on(request, answer)
            case _:
                message = "requests to models are sent with POST; with GET there are /v1/models and /health"
                raise Refusal(404, "not_found", message)

    def _let_in(self, request: _Request) -> None:
        """Raise a refusal to who may not ask."""
        if self._api_key is not None:
            given = request.headers.get(b"authorization", b"")
            kind, _, key = given.partition(b" ")
            shown = key.strip() if kind.lower() == b"bearer" else request.headers.get(b"x-api-key", b"")
            if not secrets.compare_digest(shown, self._api_key.encode()):
                message = "the API key is missing or wrong: show the one that doteval serve has printed"
                raise Refusal(401, "invalid_api_key", message, headers=[(b"www-authenticate", b"Bearer")])
        elif not _OUR_NAMES.fullmatch(request.headers.get(b"host", b"").decode("latin-1")):
            raise Refusal(403, "wrong_host", "this name does not lead here: ask for localhost or 127.0.0.1")
        elif request.headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            raise Refusal(403, "cross_site", "pages of other sites may not ask")

    def _served(self, name: str) -> Served:
        served = self._models.get(name)
        if served is None:
            raise unknown_model(name, self._models)
        return served

    # ---------------------------------------------------------------- a request to a model

    async def _pass_on(self, request: _Request, answer: _Answer) -> None:
        body = Body(await request.body(), request.headers.get(b"content-type", b"").decode("latin-1"))
        served = self._served(body.model)
        refusal: Refusal | None = None
        async with create_task_group() as task_group:
            task_group.start_soon(request.client_gone, task_group.cancel_scope)
            try:
                await self._ask(served, request, body, answer)
            except Refusal as exc:  # not in a group
                refusal = exc
            task_group.cancel_scope.cancel()
        if refusal is not None:
            raise refusal

    async def _ask(self, served: Served, request: _Request, body: Body, answer: _Answer) -> None:
        async with AsyncExitStack() as stack:
            try:
                model = await self._leased(served, stack)
                answered, lease = await self._sent(model, request, body.naming(model.name), stack)
                await answer.start(answered.status_code, answered.headers.raw)
                try:
                    async with aclosing(cast("AsyncGenerator[bytes]", answered.aiter_raw())) as pieces:
                        async for piece in pieces:
                            await answer.go_on(piece)
                except httpx.TransportError as exc:
                    raise await _lost(model, lease, exc) from exc
                if answer.lacks_its_end and not _FRAMED & answered.headers.keys():
                    refusal = await _lost(model, lease, httpx.RemoteProtocolError("the stream has no end"))
                    if lease.lost is not None:
                        raise refusal
                await answer.end()
            except DotevalError as exc:
                raise refusal_of(exc, served.name) from exc

    async def _sent(
        self, model: ServerModel, request: _Request, content: bytes, stack: AsyncExitStack
    ) -> tuple[httpx.Response, ServerLease]:
        """The answer of a server, which is left with the stack, and the lease on that server.

        Of replicas it is the least busy one; where it dies before it has answered, or refuses, it is another one.
        """
        lease = model.lease
        if not isinstance(lease, Replicas):
            try:
                return await self._sent_to(lease.server, model, request, content, stack), lease
            except httpx.TransportError as exc:
                raise await _lost(model, lease, exc) from exc
        sending = Sending(lease, request.headers.get(SENT_BEFORE.encode(), b"").decode("latin-1"))
        while True:
            replica = await sending.next_one()
            async with AsyncExitStack() as attempt:
                attempt.enter_context(lease.asking(replica))
                try:
                    answered = await self._sent_to(replica.lease.server, model, request, content, attempt)
                except (httpx.NetworkError, httpx.RemoteProtocolError) as exc:
                    await sending.broke_off(replica, was_got=not isinstance(exc, httpx.ConnectError))
                    if sending.is_over:
                        raise await _lost(model, replica.lease, exc) from exc
                    continue
                except httpx.TransportError as exc:
                    raise await _lost(model, replica.lease, exc) from exc
                if sending.is_answer(replica, answered.status_code):
                    if answered.status_code >= 500 and sending.is_over:
                        answered.headers.update(NOT_AGAIN)
                    stack.push_async_exit(attempt.pop_all())
                    return answered, replica.lease

    async def _sent_to(
        self, server: Server, model: ServerModel, request: _Request, content: bytes, stack: AsyncExitStack
    ) -> httpx.Response:
        headers = [(name, value) for name, value in request.all_headers if name not in _NOT_SENT]
        if server.api_key is not None:
            headers.append((b"authorization", b"Bearer " + server.api_key.encode()))
        url = _address(model, server, request)
        asked = self._client.build_request("POST", url, headers=headers, content=content)
        answered = await self._client.send(asked, stream=True)
        stack.push_async_callback(answered.aclose)
        return answered

    async def _leased(self, served: Served, stack: AsyncExitStack) -> ServerModel:
        if self._waiting >= self._most_waiting:
            raise Refusal(503, "too_many_waiting", f"{self._waiting} requests wait for their models", again=True)
        self._waiting += 1
        try:
            handle = await stack.enter_async_context(served.provider.setup(served.spec, **served.config))
            model = handle.model
            if model.limiter is not None:
                await stack.enter_async_context(model.limiter)
        finally:
            self._waiting -= 1
        return model


def _address(model: ServerModel, server: Server, request: _Request) -> httpx.URL:
    """Where a request goes to: what is below ``/v1`` here is below that of the server there."""
    address = httpx.URL(server.url)
    path = request.raw_path
    if path.startswith("/v1/"):
        path = httpx.URL(model.base_url).path.rstrip("/") + path.removeprefix("/v1")
    query = b"?" + request.query if request.query else b""
    return address.copy_with(raw_path=path.encode("latin-1") + query)


async def _lost(model: ServerModel, lease: ServerLease, error: httpx.TransportError) -> Refusal:
    """Why a request has failed on its way."""
    with move_on_after(_NEWS_SECONDS):
        await lease.ended()
    lost = lease.lost
    what = f"{type(error).__name__}: {error}" if lost is None else f"{lost.report}\n{lost.advice}"
    again = lost is None or not lost.stopped
    return Refusal(502, "model_lost", f"the server of {model.name!r} gave no answer: {what}", again=again)


class _Request:
    """One request."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: str = scope["raw_path"].decode("latin-1")
        self.query: bytes = scope["query_string"]
        self.all_headers: Headers = [(name.lower(), value) for name, value in scope["headers"]]
        self.headers = dict(self.all_headers)
        self._receive = receive

    async def body(self) -> bytes:
        """All of the body.

        Raises:
            Refusal: It is too large, or its client has gone in the middle.
        """
        pieces: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "incomplete", "the request has ended in the middle")
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > MOST_BYTES:
                raise Refusal(413, "too_large", f"the body of a request may have {MOST_BYTES} bytes")
            more = message.get("more_body", False)
        return b"".join(pieces)

    async def client_gone(self, scope: CancelScope) -> None:
        """Cancel a scope when nobody waits for the answer any more."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


class _Answer:
    """One answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._has_begun = False
        self._is_events = False
        self._end = b""

    async def json(self, content: object) -> None:
        """Answer with JSON."""
        await self._whole(200, json.dumps(content).encode(), [])

    async def refuse(self, refusal: Refusal) -> None:
        """Say why there is no answer; one that has begun is broken off, between two events after an event of this."""
        if not self._has_begun:
            await self._whole(refusal.status, refusal.body(), refusal.headers)
        elif self._is_events and self._end.endswith((b"\n\n", b"\r\n\r\n")):
            await self.go_on(b"event: error\ndata: " + refusal.body() + b"\n\n")

    async def start(self, status: int, headers: Headers) -> None:
        """Begin, with a status and headers of somebody else."""
        self._has_begun = True
        passed = [(name.lower(), value) for name, value in headers if name.lower() not in _NOT_ANSWERED]
        self._is_events = any(
            name == b"content-type" and value.startswith(b"text/event-stream") for name, value in passed
        )
        await self._send({"type": "http.response.start", "status": status, "headers": passed})

    async def go_on(self, piece: bytes) -> None:
        """Send a piece of the body."""
        self._end = (self._end + piece)[-_LAST:]
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    @property
    def lacks_its_end(self) -> bool:
        """Whether it is a stream in which nothing says that it is whole, as the last event of either protocol does."""
        return self._is_events and not any(mark in self._end for mark in _LAST_EVENTS)

    async def end(self) -> None:
        """That was all."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _whole(self, status: int, body: bytes, headers: Headers) -> None:
        self._has_begun = True
        about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": [*about, *headers]})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
