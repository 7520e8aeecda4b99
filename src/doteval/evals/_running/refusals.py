"""What a failed request says about the server, and so about the rows that have not been asked yet.

A rate limit costs time, not rows; a server that stumbles is asked again; a key that is refused, or an account without
money, will be refused for every row, so the run ends with the first one. A tool of an agent has keys as well: whose
exception tells nobody of a model is its row's failure, and where every row fails so, the run ends a little later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from random import uniform
from typing import Any, cast

from ... import ModelRequestError
from ..._chains import told_with
from ..._printed import text_of
from .._identity.looks import attribute_of

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_FINAL = (401, 402)
_OVERLOADED = (429, 503, 529)
_TRANSIENT = (408, 500, 502, 504)
_SDKS = {"anthropic", "cohere", "groq", "litellm", "mistralai", "openai", "together"}
"""Packages whose exceptions are about a model, also where they are used without us."""
# What OpenAI, Anthropic, and those who speak their protocols put into ``code`` or ``type`` of an error.
_FINAL_CODES = {
    "account_deactivated",
    "authentication_error",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "insufficient_quota",
    "invalid_api_key",
}
_OVERLOADED_CODES = {"overloaded_error", "rate_limit_error", "rate_limit_exceeded"}
_TRANSIENT_CODES = {"api_error", "server_error", "timeout_error"}


class Refusal(Enum):
    """Why a server did not do what it was asked, where that has nothing to do with the row."""

    FINAL = "it refuses everything from this account"
    OVERLOADED = "it has too much to do, or was asked too often"
    TRANSIENT = "it stumbled"


def refusal_of(error: BaseException) -> Refusal | None:
    """What an error of a row says about the server; `None` where it is the row's own.

    Found also where the row has raised another exception from it, or while it handled it, unless that was ``from
    None``; and in groups, of which the gravest counts.
    """
    found = {refusal for each in told_with(error) if (refusal := _refusal(each)) is not None}
    return next((refusal for refusal in Refusal if refusal in found), None)


def with_cause(error: BaseException) -> BaseException:
    """An error that ends the run, with a note of why it does where it is not what says so itself."""
    refusals = [each for each in told_with(error) if _refusal(each) is not None]
    cause = next((each for each in refusals if _refusal(each) is Refusal.FINAL), refusals[0])
    if cause is not error:
        line = text_of(cause).partition("\n")[0]
        error.add_note(f"It has ended the evaluation, as other rows would not be answered either: {line}")
    return error


def retry_after(error: BaseException) -> float | None:
    """How long the server asks to wait, in seconds, where it says so."""
    waits = [seconds for each in told_with(error) if (seconds := _retry_after(each)) is not None]
    return max(waits, default=None)


def pause_before(attempt: int) -> float:
    """Seconds before the next attempt where the server does not say; longer each time, and never all rows at once."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempt - 1, 20)) * uniform(0.5, 1.0)  # noqa: S311


def apart_from(error: BaseException, in_hand: BaseException) -> None:
    """Have an error not lead to what was handled already where its row began: Python takes that for its context."""
    for each in told_with(error):
        if each.__context__ is in_hand:
            each.__context__ = None


def _refusal(error: BaseException) -> Refusal | None:
    status, codes = _status(error), _codes(error)
    if codes & _FINAL_CODES or (status in _FINAL and _is_about_a_model(error)):
        return Refusal.FINAL
    says_enough = status is not None and status // 100 == 4  # more than the name that the body has for it
    if status in _OVERLOADED or (codes & _OVERLOADED_CODES and not says_enough):
        return Refusal.OVERLOADED
    if status in _TRANSIENT or (codes & _TRANSIENT_CODES and not says_enough):
        return Refusal.TRANSIENT
    return None


def _is_about_a_model(error: BaseException) -> bool:
    return isinstance(error, ModelRequestError) or any(
        kind.__module__.partition(".")[0] in _SDKS for kind in type(error).__mro__
    )


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error of ours, or of an SDK that is used without us."""
    for name in ("status", "status_code"):
        value = attribute_of(error, name)
        if isinstance(value, int):
            return value
    return None


def _codes(error: BaseException) -> set[str]:
    """What the server calls the error, as the SDKs keep it: also of one within a stream that had begun well."""
    values: list[object] = [attribute_of(error, "code"), attribute_of(error, "type")]
    body: object = attribute_of(error, "body")
    for _ in range(2):  # the error itself, or the envelope around it
        if isinstance(body, Mapping):
            fields = cast("Mapping[str, Any]", body)
            values += [fields.get("code"), fields.get("type")]
            body = fields.get("error")
    return {value for value in values if isinstance(value, str)}


def _retry_after(error: BaseException) -> float | None:
    seconds = error.retry_after if isinstance(error, ModelRequestError) else None
    if seconds is None and (headers := attribute_of(attribute_of(error, "response"), "headers")) is not None:
        try:
            seconds = float(headers.get("retry-after"))
        except (AttributeError, TypeError, ValueError):
            return None
    return seconds if seconds is not None and math.isfinite(seconds) and seconds >= 0 else None
