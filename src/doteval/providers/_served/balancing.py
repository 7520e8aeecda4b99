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
SENT_BEFORE = "x-stainless-retry-count"
"""How often the SDK has sent the request before."""
NOT_AGAIN = {"x-should-retry": "false"}
"""Keeps the SDK from sending it again."""


class Sending:
    """How one request is sent to replicas: to one after the other, until one answers.

    Args:
        replicas: The servers.
        sent_before: How often it was sent before and has failed, as its sender says; `None`: never.
    """

    def __init__(self, replicas: Replicas, sent_before: str | None) -> None:
        self.failures = int(sent_before) if sent_before and sent_before.isdecimal() else 0
        """How often it has failed, or was answered."""
        self._replicas = replicas
        self._tried: list[Replica] = []

    @property
    def is_over(self) -> bool:
        """Whether it is not sent again."""
        return self.failures >= _MOST_TIMES

    async def next_one(self) -> Replica:
        """To whom it is sent now.

        Raises:
            ServerLostError: None is left.
        """
        return await self._replicas.next_one(self._tried)

    async def broke_off(self, replica: Replica, *, was_got: bool) -> bool:
        """There was no answer, or not all of it; returns whether the server has ended.

        Args:
            replica: The server.
            was_got: Whether it may have got the request.
        """
        has_ended = await replica.has_ended()
        self.failures += was_got or not has_ended
        self._avoid(replica)
        return has_ended

    def is_answer(self, replica: Replica, status: int) -> bool:
        """Whether an answer with this status is the one; else it is sent again."""
        self.failures += 1
        is_refused = status == _TOO_BUSY or status >= 500
        if is_refused and not self.is_over and not self._replicas.are_only(replica):
            self._avoid(replica)
            return False
        replica.has_answered = True
        return True

    def _avoid(self, replica: Replica) -> None:
        replica.doubt()
        self._tried.append(replica)


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
        sending = Sending(self._replicas, request.headers.get(SENT_BEFORE))
        while True:
            try:
                replica = await sending.next_one()
            except ServerLostError as exc:
                raise httpx2.ConnectError(str(exc), request=request) from exc
            try:
                response = await self._asked(replica, request, body)
            except _GONE as exc:
                has_ended = await sending.broke_off(replica, was_got=not isinstance(exc, httpx2.ConnectError))
                if sending.is_over:
                    return _gave_up(sending.failures, exc, has_ended)
            else:
                if sending.is_answer(replica, response.status_code):
                    if response.status_code >= 500 and sending.is_over:
                        response.headers.update(NOT_AGAIN)
                    return response
                await response.aclose()
                await self._answered(response)
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
    return httpx2.Response(502, headers=NOT_AGAIN, json={"error": {"message": message}})


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
