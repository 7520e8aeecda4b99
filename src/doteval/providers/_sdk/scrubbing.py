"""No key is left in an exception that is passed on: not in what it says, nor in the request and the answer it keeps.

Error trackers send all of it away, and so does whoever pickles an exception.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

import httpx
import httpx2

from ..._chains import all_behind
from ..._secrets import is_secret_name, mask_exception, masked
from .._headers import unsendable

_OURS = __name__.removesuffix("_sdk.scrubbing")
_HIDDEN = "***"
_OF_THE_BODY = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_KEYS = ("api_key", "auth_token", "admin_api_key", "access_token", "aws_secret_key", "aws_session_token")


class KeyHolder(Protocol):
    """What of an SDK's client says which key it has."""

    @property
    def default_headers(self) -> Mapping[str, Any]: ...


def secrets_of_request(client: KeyHolder, request: Any) -> Collection[str]:
    """The keys, and the values of headers that carry credentials, with and without the scheme in front.

    Args:
        client: The SDK's client. Those of other clouds have their keys in attributes of their own, or get a new one
            for each request.
        request: What was sent, where it is known. What of it cannot be sent may be anything, and is quoted.
    """
    values = [getattr(client, name, None) for name in _KEYS]
    headers = [*client.default_headers.items(), *(() if request is None else request.headers.items())]
    values += [value for name, value in headers if is_secret_name(name) or unsendable(value) is not None]
    texts = [value for value in values if isinstance(value, str)]
    return {part for text in texts for part in (text, text.rpartition(" ")[2]) if part}


def scrub(exc: BaseException, secrets: Collection[str]) -> None:
    """Take the secrets out of an exception and of all that led to it, and leave the rest as it is.

    What led to it may be the caller's own: whoever asks in an ``except`` block has an exception in hand.
    """
    mask_exception(exc, secrets)
    for frame, _ in traceback.walk_tb(exc.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith(_OURS):  # what they have read is of no use any more
            with suppress(RuntimeError):  # it still runs
                frame.clear()
    for link in all_behind(exc):
        if isinstance(link, UnicodeDecodeError) and _scrubbed(link.object, secrets) is not link.object:
            link.object = b""  # the whole of what was read
        held = vars(link)
        for name, value in list(held.items()):
            try:
                clean = _scrubbed(value, secrets)
            except Exception:  # nothing that an SDK keeps may turn its error into another one
                clean = None
            if clean is not value:
                held[name] = clean


def _scrubbed(value: object, secrets: Collection[str]) -> object:
    """A value without the secrets; the value itself where there are none in it."""
    match value:
        case str():
            return value if (shown := masked(value, secrets)) == value else shown
        case bytes():
            text = value.decode("latin-1")
            return value if (shown := masked(text, secrets)) == text else shown.encode("latin-1")
        case dict():
            fields = cast("dict[Any, object]", value)
            clean = {_scrubbed(name, secrets): _scrubbed(held, secrets) for name, held in fields.items()}
            return fields if _are_same([*clean, *clean.values()], [*fields, *fields.values()]) else clean
        case list() | tuple():
            items = cast("list[object] | tuple[object, ...]", value)
            parts = [_scrubbed(held, secrets) for held in items]
            return items if _are_same(parts, items) else type(items)(parts)
        case httpx2.Request() | httpx.Request():
            _scrub_headers(value.headers, secrets)
            return value
        case httpx2.Response() | httpx.Response():
            return _scrubbed_response(value, secrets)
        case int() | float() | None:
            return value
        case _:  # an object of the SDK's
            return value if masked(text := repr(value), secrets) == text else None


def _are_same(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def _scrub_headers(headers: Any, secrets: Collection[str]) -> None:
    for name, value in list(headers.items()):
        shown = _HIDDEN if value in secrets else masked(value, secrets)
        if shown != value:
            headers[name] = shown


def _scrubbed_response(response: Any, secrets: Collection[str]) -> object:
    """The response; another one where its body has to change, which httpx has no way for."""
    request = getattr(response, "_request", None)
    if request is not None:
        _scrub_headers(request.headers, secrets)
    _scrub_headers(response.headers, secrets)
    if not response.is_stream_consumed or not hasattr(response, "_content"):
        return response
    content = response.content
    clean = _scrubbed(content, secrets)
    if clean is content:
        return response
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _OF_THE_BODY]
    return type(response)(response.status_code, headers=headers, content=clean, request=request)
