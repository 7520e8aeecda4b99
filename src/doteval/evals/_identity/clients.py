"""What clients add to what they ask, and what stands behind them that is the user's."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from types import MethodType
from typing import Any, cast

from .credentials import is_credential
from .found import PLAIN
from .kept import WEIGHTS
from .library import is_library, is_library_class, is_library_file
from .looks import ATOMS, attribute_of, attributes_of, class_of, is_class, is_function, is_module, type_name

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
_OTHERWISE_KNOWN = frozenset(
    {"_pytest", "anyio", "asyncio", "jinja2", "pluggy", "pydantic", "pytest", "trio", "uvloop"}
)
"""Packages whose objects hold code of the user's that says nothing of what they do, or is known otherwise."""
_PLUGINS = "pluggy._manager.PluginManager"
_TOLD = frozenset({"description", "instructions", "prompt", "system_prompt", "template", "title"})
"""The public attributes of what a client holds that are told to models, or may be."""
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
    """What of the user's is on a client, or on what this holds of its package: a hook, a tool, a method of another."""
    package = kind.__module__.partition(".")[0]
    if (package in _OTHERWISE_KNOWN and type_name(kind) != _PLUGINS) or package in WEIGHTS:
        return {}
    found: dict[str, Any] = {}
    seen, left = {id(value)}, [("", value)]
    while left and len(seen) < _MOST:
        place, holder = left.pop()
        for name, held in attributes_of(holder).items():
            if class_of(held) is str and name in _TOLD and place:
                found[f"{place}{name}"] = held
            if class_of(held) in ATOMS or id(held) in seen:
                continue
            seen.add(id(held))
            users = [*_users_in(held)]
            if users:
                found[f"{place}{name}"] = users
            for inner, each in _parts_in(held):
                if class_of(each).__module__.partition(".")[0] == package and (each is held or id(each) not in seen):
                    seen.add(id(each))
                    left.append((f"{place}{name}{inner}.", each))
    return found


def _parts_in(value: Any, depth: int = 2) -> Iterator[tuple[str, object]]:
    """What a list or a mapping holds, each with where; of anything else, that itself."""
    kind = class_of(value)
    if kind is not dict and kind is not list and kind is not tuple:
        yield "", value
        return
    held: Iterable[tuple[object, object]] = value.items() if kind is dict else enumerate(cast("list[object]", value))
    for place, each in islice(held, _FEW if depth else 0):
        for inner, part in _parts_in(each, depth - 1):
            yield f"[{place if isinstance(place, (int, str)) else ''}]{inner}", part


def _users_in(value: Any, depth: int = 3) -> Iterator[object]:
    """Code of the user's, and objects of classes of theirs, that a value is, or holds."""
    kind = class_of(value)
    if kind in PLAIN:
        for each in islice(value.values() if kind is dict else value, _FEW if depth else 0):
            yield from _users_in(each, depth - 1)
    elif is_function(value):
        if not is_library_file(value.__code__.co_filename):
            yield value
        elif depth:
            yield from _users_in(attribute_of(value, "__wrapped__"), depth - 1)
    elif kind is functools.partial or kind is MethodType:
        parts = (
            (value.func, value.args, value.keywords) if kind is functools.partial else (value.__self__, value.__func__)
        )
        if depth and any(True for _ in _users_in([*parts], depth - 1)):
            yield value
    elif is_module(value):
        if not is_library(value):
            yield value
    elif not is_library_class(value if is_class(value) else kind):
        yield value


def _pairs(values: Any) -> Iterable[tuple[str, str]]:
    items: Any = attribute_of(values, "multi_items") or attribute_of(values, "items")
    pairs: Iterable[tuple[Any, Any]] = () if items is None else items()
    return [(str(name), str(each)) for name, each in pairs]


def _is_telling(name: str, value: str) -> bool:
    usual = _OF_EVERY_CLIENT.get(name.lower())
    return (usual is None or usual.fullmatch(value) is None) and not is_credential(name, value)
