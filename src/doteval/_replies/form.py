"""What a request is known by: a digest of all that its answer may depend on, but for the credentials.

Two requests have the same digest where the same is sent to the same server. What cannot be told for sure has no form,
and is asked rather than answered wrongly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from operator import itemgetter
from typing import Any, cast

_FORM = 2
"""Counts up when the same digest would stand for something else."""
CREDENTIALS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "cookie",
        "api_key",
        "hf_token",
        "hugging_face_hub_token",
    }
)
"""What is known to be a credential, by its whole name: what only sounds so, such as ``X-Route-Key``, may not be one."""
_OF_THE_SDK = "x-stainless-"
_LEFT_OUT = ("NotGiven", "Omit")
"""The classes of what stands for a parameter that is not sent."""
_BYTES = "\0bytes"
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class NoFormError(Exception):
    """Something in a request is known by nothing but itself."""


def digest_of(where: Mapping[str, Any], request: Mapping[str, Any]) -> bytes:
    """What a request is known by.

    Args:
        where: Whom it is sent to.
        request: All that is sent.

    Raises:
        NoFormError: It has no form.
    """
    try:
        # The order of parameters means nothing; that of fields within them may: it is how a model sees a schema.
        sent = {name: _form(request[name]) for name in sorted(request) if type(request[name]).__name__ not in _LEFT_OUT}
        text = _encode([_FORM, _form(where), sent])
    except (ValueError, RecursionError) as exc:  # an integer without an end, or what holds itself
        raise NoFormError(str(exc)) from exc
    return blake2b(text.encode(), digest_size=32).digest()


def digest_of_name(name: str) -> bytes:
    """What an evaluation, or a row of one, is known by."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).digest()


def without_credentials(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a provider, or of a server, but for the credentials, in all that they hold."""
    return {
        name: without_credentials(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value
        for name, value in fields.items()
        if str(name).lower() not in CREDENTIALS
    }


def telling_headers(headers: Iterable[tuple[str, Any]], credentials: AbstractSet[str]) -> list[tuple[str, Any]]:
    """Those that an answer may depend on: no credentials, and nothing of what the SDK says about itself.

    Args:
        headers: All of them.
        credentials: The names of those that are credentials.
    """
    found = [
        (name.lower(), None if type(value).__name__ in _LEFT_OUT else value)
        for name, value in headers
        if name.lower() not in credentials and not name.lower().startswith(_OF_THE_SDK)
    ]
    return sorted(found, key=itemgetter(0))


def _form(value: Any) -> Any:
    kind = cast("type[object]", type(value))
    if value is None or kind is bool or kind is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoFormError(f"the number {value}")
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_form(item) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        fields = cast("Mapping[object, Any]", value)
        if any(not isinstance(name, str) or name == _BYTES for name in fields):
            raise NoFormError("a key of a mapping that is no text")
        return {str.__str__(cast("str", name)): _form(item) for name, item in fields.items()}
    if isinstance(value, (bytes, bytearray)):
        return {_BYTES: value.hex()}
    return _form_of_model(value)


def _form_of_model(value: Any) -> Any:
    """Of what pydantic has made, as the SDKs send it; of one of its classes, the schema."""
    if isinstance(value, type):
        if (schema := getattr(value, "model_json_schema", None)) is not None:
            return _form(schema())
    elif (dump := getattr(value, "model_dump", None)) is not None:
        return _form(dump(mode="json", by_alias=True, exclude_unset=True, warnings=False))
    raise NoFormError(f"a {type(value).__name__}")
