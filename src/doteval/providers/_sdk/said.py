"""What servers say of errors, in whichever envelope: the words, and what they call it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..._printed import in_a_line
from ..._printed import shortened as cut

_MOST = 500
"""How much of what a server says is repeated, in characters: some answer with a whole web page."""
_LONGEST_NAME = 200
_DEEPEST = 4
_WORDS = ("message", "detail", "error_description", "msg")
_NO_TEXT = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)

_STATUSES = {
    "content_policy_violation": 400,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "account_deactivated": 401,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "request_too_large": 413,
    "billing_hard_limit_reached": 429,
    "billing_not_active": 429,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What servers call errors, and the status that goes with it where it comes without one."""

_NO_USE = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"})
"""Refusals, mostly told as rate limits, for which waiting does not help."""
_PASSING = frozenset({408, 409, 425, 429})


@dataclass(frozen=True)
class Said:
    """What a server says of an error.

    Args:
        words: Its words; empty where it has none.
        names: What it calls the error, the name that says most first.
    """

    words: str = ""
    names: tuple[str, ...] = ()

    @property
    def code(self) -> str | None:
        """What it calls the error."""
        return next(iter(self.names), None)

    @property
    def status(self) -> int | None:
        """The status that its names stand for: of one that is not known, its kind may be."""
        return next((status for name in self.names if (status := _status_of(name)) is not None), None)

    @property
    def has_no_quota(self) -> bool:
        """Whether the account may ask for nothing any more, which some tell as a rate limit."""
        return not _NO_USE.isdisjoint(self.names)

    def may_pass(self, status: int | None) -> bool:
        """Whether the same request may succeed later."""
        if self.has_no_quota:
            return False
        known = status if status is not None and status >= 300 else self.status
        return known is None or known >= 500 or known in _PASSING


def _status_of(name: str) -> int | None:
    return int(name) if name.isdecimal() and 400 <= int(name) < 600 else _STATUSES.get(name)


def said_in(body: object) -> Said:
    """What a body says: JSON as Python has it, or text."""
    words = ""
    names: tuple[str, ...] = ()
    for _ in range(_DEEPEST):
        if isinstance(body, Sequence) and not isinstance(body, (str, bytes)) and body:
            body = cast("Sequence[object]", body)[0]
        if not isinstance(body, Mapping):
            break
        fields = cast("Mapping[str, Any]", body)
        names = (*_names(fields), *names)
        body = fields.get("error") or next((fields[name] for name in _WORDS if fields.get(name)), None)
        words = _upstream(fields)
    if isinstance(body, str) and body.strip():
        words = f"{body.strip()}{f' ({words})' if words else ''}"
    return Said(shortened(words), names)


def shortened(text: str) -> str:
    """What people read of a text, and not more of it than they want to."""
    if "</" in text:
        text = _NO_TEXT.sub(" ", text)
    return in_a_line(cut(" ".join(text.split()), _MOST))


def _names(fields: Mapping[str, Any]) -> list[str]:
    values = (fields.get(name) for name in ("code", "type", "status"))
    return [
        in_a_line(cut(str(value), _LONGEST_NAME))
        for value in values
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value not in ("", "error")
    ]


def _upstream(fields: Mapping[str, Any]) -> str:
    """A gateway's own message may be empty of meaning; what the server behind it said is in here."""
    metadata = fields.get("metadata")
    raw = cast("Mapping[str, Any]", metadata).get("raw") if isinstance(metadata, Mapping) else None
    return raw.strip() if isinstance(raw, str) else ""
