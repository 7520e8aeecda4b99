"""``HTTPProvider``: an HTTP client with warm connections for each base URL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar
from urllib.parse import unquote

import httpx
from anyio import CancelScope, current_time
from typing_extensions import Unpack

from .._pool_options import PoolOptions
from .._pooled import PooledProvider
from .._secrets import secrets_of, shielded
from .._spec import resource_id
from ._connections import pool_connections
from ._environment import named_where_unusable
from ._headers import checked_headers


class HTTPProvider(PooledProvider[httpx.AsyncClient]):
    """Leases an `httpx.AsyncClient` for each base URL.

    ::

        async with HTTPProvider() as provider:
            async with provider.setup("http://127.0.0.1:8000/api") as handle:
                response = await handle.model.get("/status")

    A user name and password in the URL are sent as basic authentication; names, logs and messages do not show them.
    ``setup(url, **config)`` takes whatever `httpx.AsyncClient` does, for this URL.

    Args:
        headers: Headers of every request.
        timeout: How long connecting, and each read and write, may take, in seconds, or an `httpx.Timeout`. `None`: no
            limit.
        auth: How requests authenticate, such as ``(user, password)``.
        follow_redirects: Whether redirects are followed.
        options: What every `PooledProvider` takes, such as ``keep_alive``.
    """

    operational: ClassVar[frozenset[str]] = frozenset({"timeout", "auth"})

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | httpx.Timeout | None = 5.0,
        auth: tuple[str, str] | httpx.Auth | None = None,
        follow_redirects: bool = False,
        **options: Unpack[PoolOptions],
    ) -> None:
        super().__init__(**options)
        self._settings: dict[str, Any] = {
            "headers": headers,
            "timeout": timeout,
            "auth": auth,
            "follow_redirects": follow_redirects,
        }

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[httpx.AsyncClient]:
        """Make a client for the base URL `spec`.

        Args:
            spec: The base URL; requests give paths relative to it.
            config: What `httpx.AsyncClient` takes.

        Raises:
            ValueError: `spec` is not the URL of a web server.
        """
        label, settings = resource_id(spec, config), shielded({**self._settings, **config})
        del config  # a traceback would show it
        url = httpx.URL(spec)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("the spec must be a base URL such as 'http://127.0.0.1:8000/api'")
        settings["headers"] = checked_headers(settings["headers"], "headers")
        if url.userinfo:  # httpx writes the URLs of its requests to the log
            given = tuple(unquote(part) for part in url.userinfo.decode("ascii").partition(":")[::2])
            settings = shielded({**settings, "auth": settings["auth"] or given})
            del given
            url = url.copy_with(userinfo=b"")
        with named_where_unusable(label):
            client = httpx.AsyncClient(base_url=url, **settings)
        if not settings.keys() & {"transport", "mounts"}:  # these may be somebody else's too
            pool_connections(client)
        try:
            yield client
        finally:
            with CancelScope(shield=True, deadline=current_time() + self.close_timeout):
                await client.aclose()

    def is_broken(self, model: httpx.AsyncClient, /) -> bool:
        """Whether somebody has closed the client, as ``async with client`` does."""
        return model.is_closed

    def secrets(self) -> Collection[str]:
        """The values of headers, which no message shows."""
        return secrets_of(self._settings)
