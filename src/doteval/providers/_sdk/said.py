"""What servers say of errors, in whichever envelope: the words, and what they call it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

_MOST = 500
"""How much of what a server says is repeated, in characters: some answer with a whole web page."""
_DEEPEST = 4
_WORDS = ("message", "detail", "error_description", "msg")
_NO_TEXT = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What servers call errors, and the status that goes with it where it comes without one."""

_NO_USE = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"})
"""Rate limits in name only: waiting does not help."""
_PASSING = frozenset({408, 409, 425, 429})


@dataclass(frozen=True)
class Said:
    """What a server says of an error.

    Args:
        words: Its words; empty where it has none.
        code: What it calls the error.
    """

    words: str = ""
    code: str | None = None

    @property
    def status(self) -> int | None:
        """The status that the code stands for."""
        if self.code is not None and self.code.isdigit() and 400 <= int(self.code) < 600:
            return int(self.code)
        return _STATUSES.get(self.code or "")

    @property
    def has_no_quota(self) -> bool:
        """Whether the account may ask for nothing any more, which some tell as a rate limit."""
        return self.code in _NO_USE

    def may_pass(self, status: int | None) -> bool:
        """Whether the same request may succeed later."""
        if self.has_no_quota:
            return False
        known = status if status is not None and status >= 300 else self.status
        return known is None or known >= 500 or known in _PASSING


def said_in(body: object) -> Said:
    """What a body says: JSON as Python has it, or text."""
    words, code = "", None
    for _ in range(_DEEPEST):
        if isinstance(body, Sequence) and not isinstance(body, (str, bytes)) and body:
            body = cast("Sequence[object]", body)[0]
        if not isinstance(body, Mapping):
            break
        fields = cast("Mapping[str, Any]", body)
        code = _code(fields) or code
        body = fields.get("error") or next((fields[name] for name in _WORDS if fields.get(name)), None)
        words = _upstream(fields)
    if isinstance(body, str) and body.strip():
        words = f"{body.strip()}{f' ({words})' if words else ''}"
    return Said(shortened(words), code)


def shortened(text: str) -> str:
    """What people read of a text, and not more of it than they want to."""
    if "</" in text:
        text = _NO_TEXT.sub(" ", text)
    text = " ".join(text.split())
    return text if len(text) <= _MOST else text[:_MOST] + "…"


def _code(fields: Mapping[str, Any]) -> str | None:
    for name in ("code", "type", "status"):
        value = fields.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value not in ("", "error"):
            return str(value)
    return None


def _upstream(fields: Mapping[str, Any]) -> str:
    """A gateway's own message may be empty of meaning; what the server behind it said is in here."""
    metadata = fields.get("metadata")
    raw = cast("Mapping[str, Any]", metadata).get("raw") if isinstance(metadata, Mapping) else None
    return raw.strip() if isinstance(raw, str) else ""
