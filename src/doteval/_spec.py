"""From the text a user writes to the key of a resource: ``ModelSpec``, resource keys and resource ids.

A resource id is what people read in logs, statistics and error messages, so no secret may be in it: passwords inside a
URL are masked, and configuration shows only as a short hash.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, cast

from ._errors import SpecError

_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_SECRET_NAME = re.compile(
    r"(^|_)(api_?key|access_?key|key|token|secret|password|passwd|auth|authorization|credentials?|headers)$",
    re.IGNORECASE,
)
_SHORTEST_SECRET = 8
"""A shorter one is a placeholder, such as ``"x"``, and part of many words that have to be read."""
_PROCESS_KEY = os.urandom(16)
"""A hash of a guessable secret could be tried out; with a key that never leaves the process it cannot."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a user asks for: a model, and the provider's name where it was given.

    Args:
        provider: A registered provider's name, or `None` to let routing choose.
        model: The model's name as the provider knows it.
    """

    provider: str | None
    model: str

    @classmethod
    def parse(cls, text: str, providers: Collection[str] = ()) -> ModelSpec:
        """Split a spec such as ``"openai:gpt-4o"``.

        Args:
            text: What the user wrote.
            providers: The registered names. Only one of these before the first colon counts as a provider, so
                ``"llama3:8b"`` is a model.

        Raises:
            SpecError: The text is not a string, is empty, has control characters or white space around it, or looks
                like a command-line option.
        """
        check_spec(text)
        name, colon, model = text.partition(":")
        if not colon or name not in providers:
            return cls(None, text)
        if not model:
            raise SpecError(text, f"it names the provider {name!r} but no model")
        check_spec(model)
        return cls(name, model)

    def __str__(self) -> str:
        return self.model if self.provider is None else f"{self.provider}:{self.model}"


def check_spec(spec: object) -> None:
    """Raise `SpecError` unless `spec` is a text that can name a model."""
    if not isinstance(spec, str):
        raise SpecError(spec, f"it is a {type(spec).__name__}, not a string")
    if not spec.strip():
        raise SpecError(spec, "it is empty")
    if spec != spec.strip() or not spec.isprintable():
        raise SpecError(spec, "it has white space around it or control characters in it")
    if spec.startswith("-"):
        raise SpecError(spec, "it looks like a command-line option")


def resource_key(spec: str, config: Mapping[str, object]) -> Hashable:
    """What identifies a resource: equal for equal spec and config, whatever the order and whether hashable or not."""
    return (spec, _frozen(config)) if config else spec


def resource_id(spec: str, config: Mapping[str, object]) -> str:
    """The readable name of a resource: the spec, plus ``#`` and a short hash where there is configuration.

    The same in every process, unless the configuration holds a secret or an object without a stable form: then it is
    the same within one process only.
    """
    shown = masked(spec)
    if not config and shown == spec:
        return spec
    public = {name: value for name, value in config.items() if not is_secret_name(name)}
    secret = {name: value for name, value in config.items() if is_secret_name(name)}
    digest = hashlib.sha256(_canonical(public))
    if secret or shown != spec:
        digest.update(hmac.digest(_PROCESS_KEY, _canonical({"spec": spec, **secret}), "sha256"))
    return f"{shown}#{digest.hexdigest()[:8]}"


def is_secret_name(name: str) -> bool:
    """Whether a configuration value of this name is to be kept from people's eyes."""
    return _SECRET_NAME.search(name) is not None


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
    """The values in `config`, at any depth, that messages must not show."""
    found: set[str] = set()
    for name, value in config.items():
        if isinstance(value, Mapping):
            inner = cast(Mapping[str, object], value)
            found |= {str(v) for v in inner.values()} if is_secret_name(name) else secrets_of(inner)
        elif is_secret_name(name) and isinstance(value, str):
            found.add(value)
    return found


def _frozen(value: object) -> Hashable:
    """A hashable stand-in that is equal exactly for values of the same type and content."""
    if isinstance(value, Mapping):
        pairs = cast(Mapping[object, object], value).items()
        return ("mapping", frozenset((key, _frozen(item)) for key, item in pairs))
    if isinstance(value, (str, bytes)):
        return value
    if isinstance(value, Sequence):
        items = cast(Sequence[object], value)
        return (type(items).__name__, tuple(_frozen(item) for item in items))
    if isinstance(value, AbstractSet):
        return ("set", frozenset(_frozen(item) for item in cast(AbstractSet[object], value)))
    if isinstance(value, Hashable):
        return (type(value), value)
    return _Same(value)


class _Same:
    """Stands for an unhashable object: equal to itself only, and keeps it alive, so that its id is not used again."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def _canonical(config: Mapping[str, Any]) -> bytes:
    return json.dumps(config, sort_keys=True, default=_described).encode()


def _described(value: object) -> str:
    if isinstance(value, AbstractSet):
        return repr(sorted(repr(item) for item in cast(AbstractSet[object], value)))
    return f"{type(value).__module__}.{type(value).__qualname__} at {id(value):x}"
