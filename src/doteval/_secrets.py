"""Secrets: which values are, by their names, and texts without them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_SECRET_NAME = re.compile(
    r"(^|_)(api_?key|access_?key|key|token|secret|password|passwd|auth|authorization|credentials?|headers)$",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 8
"""A shorter one is a placeholder, such as ``"x"``, and part of many words that have to be read."""


def is_secret_name(name: str) -> bool:
    """Whether a configuration value of this name is to be kept from people's eyes."""
    return _SECRET_NAME.search(name.replace("-", "_")) is not None


def names_a_secret(key: object) -> bool:
    """Whether the value under a key, or the other one of a pair, is to be kept from people's eyes."""
    if isinstance(key, bytes):
        key = key.decode("latin-1")
    return isinstance(key, str) and is_secret_name(key)


def masked(text: str, secrets: Collection[str] = ()) -> str:
    """`text` without the user information of URLs and without the given secrets, but for those of a few characters."""
    text = _USERINFO.sub("***@", text)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


def mask_exception(exc: BaseException, secrets: Collection[str]) -> None:
    """Take secrets out of what an exception says, and those that led to it, as they are shown with it."""
    for link in links_of(exc):
        if any(masked(str(argument), secrets) != str(argument) for argument in link.args):
            link.args = tuple(masked(str(argument), secrets) for argument in link.args)


def links_of(exc: BaseException) -> Iterator[BaseException]:
    """An exception, and all that led to it, each once."""
    seen: set[int] = set()
    left: list[BaseException | None] = [exc]
    while left:
        link = left.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            left += [link.__cause__, link.__context__]


def secrets_of(config: Mapping[str, object]) -> set[str]:
    """The values in `config`, at any depth, that messages must not show: texts and bytes under the name of a secret.

    A name is a key, or the first of a pair, as headers are often given.
    """
    found: set[str] = set()
    left: list[tuple[object, bool]] = [(config, False)]
    seen: set[int] = set()
    while left:
        value, is_secret = left.pop()
        if isinstance(value, (str, bytes, bytearray)):
            if is_secret:
                found |= _as_shown(value)
        elif id(value) not in seen:
            seen.add(id(value))
            left += ((part, is_secret or named) for part, named in _parts(value))
    return found - {""}


def _parts(value: object) -> Iterator[tuple[object, bool]]:
    """What a value is made of, each with whether its name is that of a secret."""
    if hasattr(value, "get_secret_value"):  # of pydantic, which shows it to nobody
        yield cast(Any, value).get_secret_value(), True
    elif isinstance(value, Mapping):
        for key, part in cast("Mapping[object, object]", value).items():
            yield part, names_a_secret(key)
    elif isinstance(value, (list, tuple, AbstractSet)):
        parts = list(cast("Collection[object]", value))
        is_pair = isinstance(value, (list, tuple)) and len(parts) == 2 and names_a_secret(parts[0])
        for part in parts[is_pair:]:
            yield part, is_pair


def _as_shown(value: str | bytes | bytearray) -> set[str]:
    """A secret as a message may show it: bytes are shown with escapes where they are no text."""
    if isinstance(value, str):
        return {value}
    return {value.decode("utf-8", "replace"), repr(bytes(value))[2:-1]}
