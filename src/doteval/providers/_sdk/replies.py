"""What the cache of replies has to know of the SDKs: what of a request counts, and how their objects are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from anyio.lowlevel import checkpoint

from ..._model import Completion
from ..._replies.asked import Answer
from ..._replies.form import CREDENTIALS, telling_headers, without_credentials

_OF_EVERY_CLIENT = frozenset({"accept", "content-type", "anthropic-version"})
"""Headers that a client of an SDK sends by itself, another one with each version."""


def credentials_of(client: Any) -> frozenset[str]:
    """The names of headers that hold credentials, also those that this client sends its key in."""
    own: Mapping[str, Any] = getattr(client, "auth_headers", None) or {}
    return CREDENTIALS | {name.lower() for name in own}


def telling(request: Mapping[str, Any], credentials: frozenset[str]) -> dict[str, Any]:
    """All of a request that its answer may depend on; not how long it may take, and no credentials."""
    found = {name: value for name, value in request.items() if name not in ("timeout", "extra_headers", "extra_query")}
    found["messages"] = [dict(sorted(message.items())) for message in request["messages"]]
    given: Mapping[str, Any] = request.get("extra_headers") or {}
    try:
        headers = telling_headers(given.items(), credentials)
        query = without_credentials(request.get("extra_query") or {})
    except (AttributeError, TypeError):
        return {"nothing": object()}  # the SDK says what is wrong with it
    return {**found, **({"extra_headers": headers} if headers else {}), **({"extra_query": query} if query else {})}


def whom(client: Any, base_url: str, credentials: frozenset[str]) -> dict[str, Any]:
    """To whom a client sends, and what with each request."""
    own = ("user-agent", getattr(client, "user_agent", None))
    headers = telling_headers(client.default_headers.items(), credentials)
    return {
        "base_url": base_url,
        "headers": [header for header in headers if header != own and header[1] is not None],
        "query": query_of(client),
    }


def headers_of(client: Any) -> dict[str, Any]:
    """The headers that the user has a client send with each request, without credentials."""
    headers = telling_headers(client.default_headers.items(), credentials_of(client))
    own = ("user-agent", getattr(client, "user_agent", None))
    return {
        header[0]: header[1]
        for header in headers
        if header != own and header[1] is not None and header[0] not in _OF_EVERY_CLIENT
    }


def query_of(client: Any) -> dict[str, Any]:
    """The query that it sends with each request, likewise."""
    query: Mapping[str, Any] = getattr(client, "default_query", None) or {}
    return without_credentials(query)


def kept(objects: Iterable[Any]) -> Answer:
    """Objects of an SDK as JSON holds them."""
    return [(type(each).__name__, each.to_dict(mode="json", warnings=False)) for each in objects]


def again(answer: Answer, types: Any, read: Callable[[Any], Completion]) -> list[Completion]:
    """What is read in the objects as the SDK had made them; nothing where they are of another version of it.

    Args:
        answer: What was kept.
        types: The SDK's module with their classes.
        read: What they are read with.
    """
    try:
        return [read(getattr(types, name).construct(**fields)) for name, fields in answer]
    except Exception:  # an SDK may have changed in any way
        return []


class ReplayedPieces:
    """The pieces of a stream that has been.

    Args:
        pieces: All of them.
    """

    def __init__(self, pieces: Iterable[Completion]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> AsyncIterator[Completion]:
        return self

    async def __anext__(self) -> Completion:
        await checkpoint()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration
