"""``Balancer``: sends each request of an HTTP client to the least busy of several servers, and again where one dies."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import httpx2
import openai

from ..._server_errors import ServerLostError
from .._connections import pool_connections_of
from .._sdk.attempts import hooks_of_attempts
from .replicas import Replica, Replicas

_GONE = (httpx2.NetworkError, httpx2.RemoteProtocolError)
"""What a request fails with whose server dies; one that takes too long is nobody else's."""


_TOO_BUSY = 429
_MOST_TIMES = 3
"""How often a request is sent; one that kills its servers shall not kill many."""
_SENT_BEFORE = "x-stainless-retry-count"
"""How often the SDK has sent the request before."""
_NOT_AGAIN = {"x-should-retry": "false"}
"""Keeps the SDK from sending it again."""


class Balancer(httpx2.AsyncBaseTransport):
    """A transport to replicas.

    A request whose server dies before it has answered, or that is answered with 5xx or 429, is sent to another one,
    and after the last 5xx not by the SDK either; where the last server has died, the answer is that of a gateway, 502.
    Of what is read while it is made, that it begins is the answer; all others are had as a whole before they are given
    on.

    Args:
        replicas: The servers.
    """

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._inner = httpx2.AsyncHTTPTransport(
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loading certificates that nobody needs takes 50 ms
            limits=openai.DEFAULT_CONNECTION_LIMITS,
            trust_env=False,
        )
        pool_connections_of(self._inner)
        hooks = hooks_of_attempts()
        (self._sent,), (self._answered,) = hooks["request"], hooks["response"]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it to whoever is least busy."""
        body = await request.aread()
        failures = int(request.headers.get(_SENT_BEFORE, 0))
        tried: list[Replica] = []
        while True:
            try:
                replica = await self._replicas.next_one(tried)
            except ServerLostError as exc:
                raise httpx2.ConnectError(str(exc), request=request) from exc
            try:
                response = await self._asked(replica, request, body)
            except _GONE as exc:
                has_ended = await replica.has_ended()
                failures += not (has_ended and isinstance(exc, httpx2.ConnectError))  # else nobody has got it
                if failures >= _MOST_TIMES:
                    return _gave_up(failures, exc, has_ended)
            else:
                failures += 1
                is_over = failures >= _MOST_TIMES
                is_refused = response.status_code == _TOO_BUSY or response.status_code >= 500
                if not is_refused or is_over or self._replicas.are_only(replica):
                    if response.status_code >= 500 and is_over:
                        response.headers.update(_NOT_AGAIN)
                    replica.has_answered = True
                    return response
                await response.aclose()
                await self._answered(response)
            replica.doubt()
            tried.append(replica)
            await self._sent(request)

    async def _asked(self, replica: Replica, request: httpx2.Request, body: bytes) -> httpx2.Response:
        server = replica.lease.server
        url = request.url.copy_with(host=server.host, port=server.port)
        headers = request.headers.copy()
        headers["host"] = url.netloc.decode("ascii")
        if server.api_key is not None:
            headers["authorization"] = f"Bearer {server.api_key}"
        sent = httpx2.Request(request.method, url, headers=headers, content=body, extensions=request.extensions)
        with self._replicas.asking(replica) as goes_on:
            response = await self._inner.handle_async_request(sent)
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                goes_on()
                response.stream = _Counted(response.stream, replica)
                return response
            try:
                content = b"".join([piece async for piece in response.stream])
            finally:
                await response.stream.aclose()
            return httpx2.Response(
                response.status_code,
                headers=response.headers,
                stream=httpx2.ByteStream(content),
                extensions=response.extensions,
            )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _gave_up(times: int, error: Exception, has_ended: bool) -> httpx2.Response:
    what = "died" if has_ended else f"did not answer: {error}"
    message = f"it was sent {times} times, and the last server {what}"
    return httpx2.Response(502, headers=_NOT_AGAIN, json={"error": {"message": message}})


class _Counted(httpx2.AsyncByteStream):
    """An answer that is read while it is made, for which its server counts as busy."""

    def __init__(self, stream: httpx2.AsyncByteStream, replica: Replica) -> None:
        self._stream = stream
        self._replica: Replica | None = replica

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            replica, self._replica = self._replica, None
            if replica is not None:
                replica.done()
