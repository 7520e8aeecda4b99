"""What clients add to what they ask, and what stands behind them that is the user's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .credentials import is_credential
from .looks import attribute_of, class_of

_PACKAGES = frozenset({"anthropic", "fastapi", "httpx", "httpx2", "openai", "requests", "starlette"})
_BEHIND = ("app", "handler", "_client", "_transport", "_custom_headers", "_custom_query")
_OF_EVERY_CLIENT = frozenset({"accept", "accept-encoding", "connection", "user-agent"})
"""The headers that every client has."""
_ONLY_SENDING = frozenset({"AsyncHTTPTransport", "HTTPTransport"})


def asked_with(value: object, kind: type[Any]) -> dict[str, Any]:
    """What a client asks with besides its address; nothing of what is none."""
    if kind.__module__.partition(".")[0] not in _PACKAGES:
        return {}
    found = {name: attribute_of(value, name) for name in _BEHIND}
    for name in ("headers", "params"):
        pairs = sorted(_pairs(attribute_of(value, f"_{name}") or attribute_of(value, name)))
        found[name] = [pair for pair in pairs if _is_telling(*pair)]
    return {name: each for name, each in found.items() if each and class_of(each).__name__ not in _ONLY_SENDING}


def _pairs(values: Any) -> Iterable[tuple[str, str]]:
    items: Any = attribute_of(values, "multi_items") or attribute_of(values, "items")
    pairs: Iterable[tuple[Any, Any]] = () if items is None else items()
    return [(str(name), str(each)) for name, each in pairs]


def _is_telling(name: str, value: str) -> bool:
    return name.lower() not in _OF_EVERY_CLIENT and not is_credential(name, value)
