"""What clients add to what they ask, and what stands behind them that is the user's."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from itertools import islice
from types import MethodType
from typing import Any

from .credentials import is_credential
from .found import PLAIN
from .kept import WEIGHTS
from .library import is_library_class, is_library_file
from .looks import ATOMS, attribute_of, attributes_of, class_of, is_class, is_function

_PACKAGES = frozenset({"anthropic", "fastapi", "httpx", "httpx2", "openai", "requests", "starlette"})
_BEHIND = ("app", "handler", "_client", "_transport", "_custom_headers", "_custom_query")
_OF_EVERY_CLIENT = {
    "accept": re.compile(r"\*/\*"),
    "accept-encoding": re.compile(".*"),
    "connection": re.compile(".*"),
    "user-agent": re.compile(r"python-[\w-]+/.*|testclient"),
}
"""The headers that every client has, and what they hold there."""
_ONLY_SENDING = frozenset({"AsyncHTTPTransport", "HTTPTransport"})
_OF_A_RUN = frozenset({"_pytest", "anyio", "asyncio", "pluggy", "pytest", "trio", "uvloop"})
"""Packages whose objects hold code of the user's that has nothing to do with what they do."""
_MOST = 500
_FEW = 100


def asked_with(value: object, kind: type[Any]) -> dict[str, Any]:
    """What a client asks with besides its address; nothing of what is none."""
    if kind.__module__.partition(".")[0] not in _PACKAGES:
        return {}
    found = {name: attribute_of(value, name) for name in _BEHIND}
    for name in ("headers", "params"):
        pairs = sorted(_pairs(attribute_of(value, f"_{name}") or attribute_of(value, name)))
        found[name] = [pair for pair in pairs if _is_telling(*pair)]
    return {name: each for name, each in found.items() if each and class_of(each).__name__ not in _ONLY_SENDING}


def put_on(value: object, kind: type[Any]) -> dict[str, Any]:
    """What of the user's is on a client, or on what this holds of its package: a function over a method, or a hook."""
    package = kind.__module__.partition(".")[0]
    if package in _OF_A_RUN or package in WEIGHTS:
        return {}
    found: dict[str, Any] = {}
    seen, left = {id(value)}, [("", value)]
    while left and len(seen) < _MOST:
        place, holder = left.pop()
        for name, held in attributes_of(holder).items():
            if class_of(held) in ATOMS or id(held) in seen:
                continue
            seen.add(id(held))
            if _is_of_users(held):
                found[f"{place}{name}"] = held
            elif class_of(held).__module__.partition(".")[0] == package:
                left.append((f"{place}{name}.", held))
    return found


def _is_of_users(value: Any, depth: int = 3) -> bool:
    """Whether a value is code of the user's, an object of a class of theirs, or holds such."""
    kind = class_of(value)
    if kind in PLAIN:
        items: Iterable[Any] = islice(value.values() if kind is dict else value, _FEW)
        return depth > 0 and any(_is_of_users(each, depth - 1) for each in items)
    if is_function(value):
        return not is_library_file(value.__code__.co_filename)
    if isinstance(value, functools.partial):
        return depth > 0 and _is_of_users(value.func, depth - 1)  # pyright: ignore[reportUnknownMemberType]
    if kind is MethodType:
        return depth > 0 and (_is_of_users(value.__self__, depth - 1) or _is_of_users(value.__func__, depth - 1))
    return not is_library_class(value if is_class(value) else kind)


def _pairs(values: Any) -> Iterable[tuple[str, str]]:
    items: Any = attribute_of(values, "multi_items") or attribute_of(values, "items")
    pairs: Iterable[tuple[Any, Any]] = () if items is None else items()
    return [(str(name), str(each)) for name, each in pairs]


def _is_telling(name: str, value: str) -> bool:
    usual = _OF_EVERY_CLIENT.get(name.lower())
    return (usual is None or usual.fullmatch(value) is None) and not is_credential(name, value)
