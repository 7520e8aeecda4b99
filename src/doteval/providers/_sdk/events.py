"""What a stream is read through, and how it is left: at any time, at once, with nothing left suspended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import httpx
import httpx2
from anyio import CancelScope, current_time

EventT = TypeVar("EventT")

_END_SECONDS = 5.0
"""How long ending a request may take; it only closes a connection."""
_BEGINNING = 65_536
"""How much of a body is kept until it turns out to be a stream, in bytes."""
_FIELDS = (":", "data:", "event:", "id:", "retry:")
"""What a stream of events may begin with, before the first of them is complete."""


class Response(Protocol):
    """What is closed to end a request."""

    stream: Any
    headers: Any

    async def aclose(self) -> None: ...


class Body(httpx2.AsyncByteStream, httpx.AsyncByteStream):
    """The bytes of a response, in one reading for all who ask.

    OpenAI's SDK reads what follows the end of the events in a reading of its own; the connection then serves the next
    request while the first reading is suspended. Resumed, that one would take what belongs to the next request.

    Args:
        response: Whose bytes they are.
    """

    def __init__(self, response: Response) -> None:
        self._stream = response.stream
        self._encoding = response.headers.get("content-encoding")
        self.stream_observer = getattr(response.stream, "stream_observer", None)  # asked for at each event
        self.reading: AsyncIterator[bytes] | None = None
        self.is_read = False
        self._beginning: list[bytes] | None = []
        self._left = _BEGINNING

    def has_events(self) -> None:
        """It is a stream, so what it begins with need not be kept."""
        self._beginning = None

    def text_instead_of_events(self) -> str | None:
        """What it begins with, where it is no stream but a text, which the SDKs drop."""
        headers = {} if self._encoding is None else {"content-encoding": self._encoding}
        try:
            text = httpx2.Response(200, headers=headers, content=b"".join(self._beginning or ())).text.strip()
        except httpx2.DecodingError:
            return None
        return None if not text or text.startswith(_FIELDS) else text

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self.reading is None:
            self.reading = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        assert self.reading is not None
        try:
            received = await anext(self.reading)
        except BaseException:
            self.is_read = True  # or will never be: nothing is left suspended
            raise
        if self._beginning is not None and self._left > 0:
            self._beginning.append(received[: self._left])
            self._left -= len(received)
        return received

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@asynccontextmanager
async def ending(
    events: AsyncIterable[EventT], response: Response | None
) -> AsyncGenerator[tuple[AsyncIterator[EventT], Body | None]]:
    """Read a stream; end the request on the way out, wherever that has come to.

    Closing the response frees the connection. But the SDKs read it through a chain of async generators, which stay
    suspended when the reading stops, even at a well-received end; trio warns of each one that is collected like that,
    asyncio closes them in tasks of its own. So each is remembered and closed: resumed, they would first hand out what
    they hold, which can be a hundred thousand events of one compressed burst. Only the reading of the connection is
    resumed, in a cancelled scope: what is below it cannot be remembered, and ends with it.

    Args:
        events: The stream, or what stands in its place where somebody traces the SDK's calls; that is told of the end.
        response: The HTTP response, where it is known.

    Returns:
        Its events, and the response's body.
    """
    reader = aiter(events)  # as everybody reads it: some who stand in its place see nothing else
    chain: list[Any] = []
    body = None
    if response is not None:
        response.stream = body = Body(response)
    decoder = getattr(events, "_decoder", None)
    # Without one of these there would only be trio's warnings.
    makers = (
        (events, "_iter_events"),
        (decoder, "aiter_bytes"),
        (decoder, "_aiter_chunks"),
        (response, "aiter_bytes"),
        (response, "aiter_raw"),
    )
    for owner, name in makers:
        _remember(owner, name, chain)
    try:
        yield reader, body
    finally:
        with CancelScope(shield=True, deadline=current_time() + _END_SECONDS):
            if response is not None:
                await response.aclose()
            opened: list[Any] = [events, reader, getattr(events, "_iterator", None), *chain]
            for each in opened:
                with suppress(Exception):  # AttributeError: it is no generator, and need not be closed
                    close = getattr(each, "close", None)
                    await (each.aclose() if close is None else close())
            if body is not None and body.reading is not None and not body.is_read:
                with CancelScope() as scope, suppress(Exception):
                    scope.cancel()
                    while True:
                        await anext(body.reading)
        if body is not None:
            body.reading = None
        for owner, name in makers:  # else all of it would wait for the garbage collector
            getattr(owner, "__dict__", {}).pop(name, None)


def _remember(owner: Any, name: str, chain: list[Any]) -> None:
    """Have what an object's method makes appended to `chain`."""
    make: Callable[..., Any] | None = getattr(owner, name, None)
    if make is None or not hasattr(owner, "__dict__"):
        return

    def remembered(*args: Any, **kwargs: Any) -> Any:
        chain.append(make(*args, **kwargs))
        return chain[-1]

    vars(owner)[name] = remembered
