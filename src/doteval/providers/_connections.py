"""A pool of HTTP connections in which a request costs the same, however many connections there are."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Self

from anyio import CancelScope, Event, move_on_after


def pool_connections(http_client: Any) -> None:
    """Give a client that nobody has used yet this pool in the place of its library's, also where it sends by a proxy.

    The libraries have no public place for a pool. Where their private one is another than is known here, and where
    HTTP/2 is asked for, the client stays as it is.

    Args:
        http_client: An `httpx.AsyncClient` or `httpx2.AsyncClient`; what it was made with, such as limits,
            certificates, proxies, and options of its sockets, holds.
    """
    for transport in (getattr(http_client, "_transport", None), *getattr(http_client, "_mounts", {}).values()):
        pool_connections_of(transport)


def pool_connections_of(transport: Any) -> None:
    """The same of one transport that nobody has used yet; `None` is none."""
    try:
        pool = transport._pool
        if not pool._http2:
            transport._pool = Connections(pool)
    except AttributeError:
        return


class Connections:
    """The connections of one transport, for HTTP/1.1.

    It promises what the library's own pool does: there are at most ``max_connections``; of these at most
    ``max_keepalive_connections`` are kept while they are idle, each for its time; and who waits for one is served in
    turn, within the timeout for it.

    The library's pool looks at all of its connections, and asks the system about each idle one, for each request and
    again for each response. Here a request looks at one, the one that became idle last, and at the one that is idle for
    the longest time, so that what has expired is closed.

    Nobody waits while a connection is idle, or while one more may be opened: that is what makes it simple.

    Args:
        pool: The library's pool, not used yet. It makes the connections.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._most: int = pool._max_connections
        self._most_idle: int = pool._max_keepalive_connections
        self._library: Any = sys.modules[type(pool).__module__.partition(".")[0]]
        self._open: dict[Any, Any] = {}  # connections, to their origins
        self._idle: OrderedDict[Any, None] = OrderedDict()  # the one that is idle for the longest time comes first
        self._idle_of: dict[Any, dict[Any, None]] = {}  # origins, to their idle connections
        self._waiting: OrderedDict[_Waiter, None] = OrderedDict()
        self._uds, self._proxy_url = pool._uds, getattr(pool, "_proxy_url", None)  # what is asked of any pool

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def connections(self) -> list[Any]:
        """The connections that there are, idle ones among them."""
        return list(self._open)

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request. Its connection is held until the response is closed.

        Args:
            request: The library's request; its ``timeout`` says for how many seconds a connection may be waited for.

        Returns:
            The library's response.
        """
        origin = request.url.origin
        if origin.scheme not in (b"http", b"https"):
            return await self._pool.handle_async_request(request)  # which says what is wrong with it
        while True:
            connection, unneeded = self._take(origin)
            if connection is None:
                connection = await self._wait(origin, request.extensions.get("timeout", {}).get("pool"))
            try:
                await _close(unneeded)
                response = await connection.handle_async_request(request)
            except self._library.ConnectionNotAvailable:
                await self._give_back(connection)
            except BaseException:
                await self._give_back(connection)
                raise
            else:
                response.stream = _Body(response.stream, connection, self)
                return response

    async def aclose(self) -> None:
        """Close all connections, those of requests that still go on too; who waits for one gets an error."""
        connections = list(self._open)
        for mapping in (self._open, self._idle, self._idle_of):
            mapping.clear()
        for waiter in self._waiting:
            waiter.event.set()
        self._waiting.clear()
        await _close(connections)

    def _take(self, origin: Any) -> tuple[Any, list[Any]]:
        """A connection for a request, `None` if it has to wait, and those that are to be closed."""
        unneeded: list[Any] = []
        if self._idle and (oldest := next(iter(self._idle))).has_expired():
            unneeded.append(self._drop(oldest))
        while of_origin := self._idle_of.get(_key(origin)):
            connection = next(reversed(of_origin))
            if not connection.has_expired():
                self._no_longer_idle(connection)
                return connection, unneeded
            unneeded.append(self._drop(connection))
        if self._idle and len(self._open) >= self._most:  # of another origin
            unneeded.append(self._drop(next(iter(self._idle))))
        return (self._new(origin) if len(self._open) < self._most else None), unneeded

    async def _wait(self, origin: Any, seconds: float | None) -> Any:
        """The connection that this request is given in its turn."""
        waiter = _Waiter(origin)
        self._waiting[waiter] = None
        try:
            with move_on_after(seconds):
                await waiter.event.wait()
        except BaseException:
            self._waiting.pop(waiter, None)
            if waiter.connection is not None:
                await self._give_back(waiter.connection)
            raise
        if waiter.connection is not None:
            return waiter.connection
        if waiter.event.is_set():
            raise RuntimeError("the client was closed while a request waited for a connection")
        del self._waiting[waiter]
        raise self._library.PoolTimeout

    async def _give_back(self, connection: Any) -> None:
        """Give the connection of a request that is over to who waits, keep it, or close it."""
        await _close(self._give_on(connection))

    def _give_on(self, connection: Any) -> list[Any]:
        """The same; those that are to be closed."""
        if connection not in self._open:  # all were closed meanwhile
            return [connection]
        unneeded: list[Any] = []
        is_of_use = connection.is_idle() and not connection.is_closed() and not _has_unread(connection)
        if not is_of_use or self._is_not_for_who_waits(connection):
            unneeded.append(self._drop(connection))
        if self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            waiter.connection = self._new(waiter.origin) if unneeded else connection
            waiter.event.set()
        elif not unneeded:
            self._idle[connection] = None
            self._idle_of.setdefault(_key(self._open[connection]), {})[connection] = None
            if len(self._idle) > self._most_idle:
                unneeded.append(self._drop(next(iter(self._idle))))
        return unneeded

    def _is_not_for_who_waits(self, connection: Any) -> bool:
        """Whether somebody waits for whom an idle connection is of no use."""
        if not self._waiting:
            return False
        return bool(next(iter(self._waiting)).origin != self._open[connection] or connection.has_expired())

    def _new(self, origin: Any) -> Any:
        connection = self._pool.create_connection(origin)
        self._open[connection] = origin
        return connection

    def _drop(self, connection: Any) -> Any:
        if connection in self._idle:
            self._no_longer_idle(connection)
        del self._open[connection]
        return connection

    def _no_longer_idle(self, connection: Any) -> None:
        del self._idle[connection]
        key = _key(self._open[connection])
        del self._idle_of[key][connection]
        if not self._idle_of[key]:
            del self._idle_of[key]


def _key(origin: Any) -> tuple[bytes, bytes, int]:
    """An origin as a key; it has no hash."""
    return origin.scheme, origin.host, origin.port


def _has_unread(connection: Any) -> bool:
    """Whether more came than the answer, which the next request would take for its own; the library does not look."""
    while (inner := getattr(connection, "_connection", None)) is not None:  # of a proxy, of a connection that is made
        connection = inner
    state = getattr(connection, "_h11_state", None)
    return state is not None and bool(state.trailing_data[0])


class _Waiter:
    """A request that waits for a connection."""

    __slots__ = ("connection", "event", "origin")

    def __init__(self, origin: Any) -> None:
        self.origin = origin
        self.event = Event()
        self.connection: Any = None


class _Body:
    """What a response brings. Not a generator: of those, trio warns where a response that has failed is not closed."""

    __slots__ = ("_connection", "_connections", "_has_ended", "_reading", "_stream")

    def __init__(self, stream: Any, connection: Any, connections: Connections) -> None:
        self._stream = stream
        self._connection = connection
        self._connections = connections
        self._reading: Any = None
        self._has_ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._has_ended:
            raise StopAsyncIteration
        if self._connection is None:
            raise RuntimeError("the response was closed before it was read to its end")
        if self._reading is None:
            self._reading = aiter(self._stream)
        try:
            piece: bytes = await anext(self._reading)
        except StopAsyncIteration:
            self._has_ended, self._reading = True, None  # else it would wait for the garbage collector
            raise
        except BaseException:
            await self.aclose()
            raise
        return piece

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        reading, self._reading = self._reading, None
        try:
            with CancelScope(shield=True):
                await self._stream.aclose()
                if reading is not None:
                    with suppress(RuntimeError):  # another task reads it
                        await reading.aclose()
        finally:
            await self._connections._give_back(connection)


async def _close(connections: list[Any]) -> None:
    if connections:
        with CancelScope(shield=True):
            for connection in connections:
                await connection.aclose()
