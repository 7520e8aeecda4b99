"""What an HTTP client of the user's own adds to requests: as much of it as can be seen, and what cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

from ..._replies.form import CREDENTIALS, NoFormError, telling_headers

_PACKAGE = __name__.rpartition(".")[0]
_LIBRARIES = frozenset({"httpx", "httpx2", "openai", "anthropic"})
_TRANSPORTS = frozenset({"AsyncHTTPTransport", "AiohttpTransport", "HttpxAiohttpTransport"})
"""The classes of those that only send."""
_CREDENTIALS = frozenset({"BasicAuth", "DigestAuth", "NetRCAuth"})
"""The classes of the libraries' own that send a name and a password, and nothing else."""
_OF_EVERY_CLIENT = frozenset({"accept", "accept-encoding", "connection", "user-agent"})
"""The headers that every HTTP client has; the SDKs send their own."""
_ATTRIBUTES = frozenset(
    {
        *("_auth", "_base_url", "_cookies", "_default_encoding", "_event_hooks", "_headers", "_mounts", "_params"),
        *("_state", "_timeout", "_transport", "_trust_env", "follow_redirects", "max_redirects"),
    }
)
"""What every HTTP client is made of."""
_WORDS = {
    "auth": "an auth=",
    "class": "a class of its own",
    "event_hooks": "event hooks",
    "mounts": "mounts=",
    "transport": "a transport=",
    "attributes": "attributes",
}


def http_client_of(client: object) -> Any:
    """The HTTP client that a client of an SDK sends with; `None` where it has none, or hides it."""
    return getattr(client, "_client", None)


def proxy_of(http_client: Any, url: Any) -> str | None:
    """The proxy through which an HTTP client sends to an address, without name and password; `None`: none is known."""
    try:
        proxy = http_client._transport_for_url(url)._pool._proxy_url
        scheme, host = proxy.scheme.decode(), proxy.host.decode()
    except AttributeError:  # the libraries have no other names for it
        return None
    return f"{scheme}://{host}" + ("" if proxy.port is None else f":{proxy.port}")


def seen(http_client: Any, credentials: AbstractSet[str] = CREDENTIALS) -> dict[str, Any]:
    """What it is seen to add to requests; nothing of most clients.

    Args:
        http_client: An HTTP client of any of the libraries that the SDKs take.
        credentials: The names of headers and parameters that say only who asks.
    """
    headers = [(name, value) for name, value in http_client.headers.multi_items() if name not in _OF_EVERY_CLIENT]
    found = {
        "headers": telling_headers(headers, credentials),
        "params": [(name, value) for name, value in _items(http_client.params) if name.lower() not in credentials],
        "uds": _attribute(http_client, "_transport", "_pool", "_uds"),
    }
    return {name: value for name, value in found.items() if value}


def unseen(http_client: Any) -> dict[str, Any]:
    """What may change requests, or answers, in any way: what it is, by the argument that it came in."""
    kind = cast("type[object]", type(http_client))
    auth: Any = http_client.auth
    found: dict[str, Any] = {
        "event_hooks": _listed({name: _others(each) for name, each in _hooks_of(http_client).items()}),
        "auth": None if _is(auth, _CREDENTIALS) else getattr(auth, "_func", auth),
        "transport": _unknown_transport(_attribute(http_client, "_transport")),
        "mounts": _listed(
            {str(_attribute(to, "pattern")): _unknown_transport(by) for to, by in _mounts_of(http_client).items()}
        ),
        "class": None if kind.__module__.partition(".")[0] in _LIBRARIES else kind,
        "attributes": _listed(_attributes_of(http_client)),
    }
    return {name: value for name, value in found.items() if value is not None}


def known_of(http_client: Any) -> dict[str, Any]:
    """All that results depend on: what is seen, and of what is not, the thing itself, which is known by its code."""
    found = seen(http_client)
    for name in ("headers", "params"):
        if name in found:
            found[name] = _by_name(found[name])
    return {**found, **unseen(http_client)}


def form_of(http_client: Any, credentials: AbstractSet[str]) -> dict[str, Any]:
    """What requests are known by in a cache.

    Raises:
        NoFormError: Something in it cannot be seen.
    """
    hidden = unseen(http_client)
    if hidden:
        raise NoFormError(f"an http_client= with {' and '.join(_WORDS[name] for name in hidden)}")
    return seen(http_client, credentials)


def _items(params: Any) -> Iterable[tuple[str, Any]]:
    return cast("Iterable[tuple[str, Any]]", params.multi_items())


def _others(hooks: Iterable[Callable[..., object]]) -> list[Any] | None:
    """The hooks that are not ours."""
    return [hook for hook in hooks if not getattr(hook, "__module__", "").startswith(_PACKAGE)] or None


def _listed(values: Mapping[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in values.items() if value is not None} or None


def _attributes_of(http_client: Any) -> dict[str, Any]:
    """Those that not every HTTP client has."""
    own: Mapping[str, Any] = http_client.__dict__
    return {name: value for name, value in own.items() if name not in _ATTRIBUTES}


def _by_name(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _hooks_of(http_client: Any) -> Mapping[str, Iterable[Callable[..., object]]]:
    return cast("Mapping[str, Iterable[Callable[..., object]]]", http_client.event_hooks)


def _mounts_of(http_client: Any) -> Mapping[Any, Any]:
    return cast("Mapping[Any, Any]", _attribute(http_client, "_mounts") or {})


def _unknown_transport(transport: object) -> object:
    return None if transport is None or _is(transport, _TRANSPORTS) else transport


def _is(value: object, names: AbstractSet[str]) -> bool:
    """Whether it is of one of these classes of the HTTP libraries."""
    kind = type(value)
    return kind.__name__ in names and kind.__module__.partition(".")[0].startswith("httpx")


def _attribute(value: Any, *names: str) -> Any:
    """A private attribute; the libraries have no other name for it."""
    for name in names:
        value = getattr(value, name, None)
    return value
