"""From the text a user writes to the key of a resource: ``ModelSpec``, resource keys and resource ids.

A resource id is what people read in logs, statistics and error messages, so no secret may be in it: passwords inside a
URL are masked, and configuration shows only as a short hash.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass

from ._canonical import canonical
from ._errors import SpecError
from ._secrets import masked

_DIGITS = 12  # of the hash: of a million configurations two are the same once in 500 times
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
    """What identifies a resource: equal for equal spec and config, as `canonical` says."""
    return identified(spec, config)[0]


def resource_id(spec: str, config: Mapping[str, object]) -> str:
    """The readable name of a resource: the spec, plus ``#`` and a short hash where there is configuration.

    The same in every process, unless the configuration holds a secret or an object that only equals itself: then it is
    the same within one process only.
    """
    return identified(spec, config)[1]


def identified(spec: str, config: Mapping[str, object]) -> tuple[Hashable, str]:
    """The key of a resource and its id, which is the beginning of the key.

    Raises:
        SpecError: The configuration is nested too deeply.
    """
    shown = masked(spec)
    if not config and shown == spec:
        return spec, spec
    try:
        text, same, is_secret = canonical({"spec": spec, "config": config} if shown != spec else config)
    except RecursionError:
        raise SpecError(spec, "its configuration is nested too deeply") from None
    content = text.encode("utf-8", "surrogatepass")
    if is_secret or shown != spec:
        digest = hmac.digest(_PROCESS_KEY, content, "sha256").hex()
    else:
        digest = hashlib.sha256(content).hexdigest()
    return (spec, digest, same), f"{shown}#{digest[:_DIGITS]}"
