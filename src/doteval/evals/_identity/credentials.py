"""Values that nobody may see: they count like all others, but for keys, which say only who asks."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from hashlib import blake2b, pbkdf2_hmac
from typing import Any, cast

from ..._secrets import is_credential_name, is_secret_variable
from .looks import attribute_of

_SHORTEST = 8
"""How long a key is at least that is looked for within another text, such as ``Bearer ...``."""
_SALT = b"what the results of an evaluation depend on"
_ROUNDS = 200_000


def is_credential(name: object, value: object) -> bool:
    """Whether a value, by its name, is one that nobody may see."""
    if not isinstance(name, str) or not is_credential_name(name):
        return False
    return value is None or isinstance(value, (str, bytes)) or hides_itself(value)


def hides_itself(value: object) -> bool:
    """Whether a value shows to nobody what it holds, as a ``SecretStr`` of pydantic does."""
    return callable(attribute_of(type(value), "get_secret_value"))


def without_credentials(values: Any) -> Any:
    """What is left of the attributes of a client; what are no attributes is left as it is."""
    if not isinstance(values, Mapping):
        return values
    return {name: value for name, value in cast("Mapping[str, Any]", values).items() if not is_credential(name, value)}


def without_environment(value: Any) -> Any:
    """A credential without the keys in it that the environment holds now; no credential is like a key from there."""
    held = value.get_secret_value() if hides_itself(value) else value
    if held is None:
        return ""
    if not isinstance(held, (str, bytes)):
        return held
    text = held if isinstance(held, str) else held.decode("latin-1")
    for name, key in os.environ.items():
        if key and is_secret_variable(name):
            text = "" if text == key else text.replace(key, "") if len(key) >= _SHORTEST else text
    return text if isinstance(held, str) else text.encode("latin-1")


@functools.lru_cache(maxsize=4096)
def _slowly(digest: bytes) -> str:
    return pbkdf2_hmac("sha256", digest, _SALT, _ROUNDS, 12).hex()


def guarded_digest_of(described: object) -> str:
    """A fingerprint that takes long to make, so that nobody finds out what it is of by trying what it may be."""
    return _slowly(blake2b(repr(described).encode("utf-8", "backslashreplace")).digest())
