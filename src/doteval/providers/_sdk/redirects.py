"""What a redirect to another host does not get: keys, and whatever else the user has put into headers.

The HTTP client takes out ``Authorization`` by itself, and leaves ``x-api-key`` and all other headers where they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx2

_HARMLESS = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "connection", "content-encoding", "content-length"),
        *("content-type", "host", "transfer-encoding", "user-agent", "anthropic-beta", "anthropic-version"),
    }
)
_OF_THE_SDK = "x-stainless-"
"""What the SDKs tell of themselves, and read again themselves."""
_PORTS = {"http": 80, "https": 443}


def at_home(base_url: str) -> dict[str, list[Callable[[httpx2.Request], Awaitable[None]]]]:
    """The hooks of an HTTP client that takes its headers to the host of `base_url` only, or to its ``https``."""
    home = httpx2.URL(base_url)

    async def leave_headers(request: httpx2.Request) -> None:
        if not _is_home(home, request.url):
            for name in [*request.headers]:
                if name not in _HARMLESS and not name.startswith(_OF_THE_SDK):
                    del request.headers[name]

    return {"request": [leave_headers]}


def _is_home(home: httpx2.URL, url: httpx2.URL) -> bool:
    if home.host != url.host:
        return False
    if home.scheme == url.scheme:
        return _port(home) == _port(url)
    return (home.scheme, _port(home)) == ("http", 80) and (url.scheme, _port(url)) == ("https", 443)


def _port(url: httpx2.URL) -> int | None:
    return url.port or _PORTS.get(url.scheme)
