"""``Refusal``: why a request is not answered, in the form of OpenAI and of Anthropic at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from ..._errors import (
    DotevalError,
    HandleInactiveError,
    ProviderClosedError,
    QueueFullError,
    SetupTimeoutError,
)
from ..._server_errors import ServerLostError

_AGAIN_AFTER = b"5"
"""When to ask again, in seconds."""


class Refusal(Exception):  # noqa: N818 - it is an answer
    """A request that is answered with an error.

    Args:
        status: The status of the answer.
        code: What it is, for programs.
        message: What it is and what to do, for people.
        param: The part of the request that is at fault.
        again: Whether the same request may succeed later. The SDKs send one that may again, on their own.
        headers: What else the answer has.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        *,
        again: bool = False,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = [
            *headers,
            *([(b"retry-after", _AGAIN_AFTER)] if again else [(b"x-should-retry", b"false")]),
        ]

    def body(self) -> bytes:
        """The error as JSON."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"type": "error", "error": error}).encode()


def unknown_model(name: str, known: Collection[str]) -> Refusal:
    """The refusal of a model that is not served here."""
    return Refusal(
        404, "model_not_found", f"the model {name!r} is not served here; there are: {', '.join(known)}", "model"
    )


def refusal_of(error: DotevalError, model: str) -> Refusal:
    """Why a model could not be leased, or was lost."""
    if isinstance(error, (SetupTimeoutError, QueueFullError)):
        return Refusal(503, "model_busy", str(error), again=True)
    if isinstance(error, ProviderClosedError):
        return stopping()
    if isinstance(error, (HandleInactiveError, ServerLostError)):
        again = not (isinstance(error, ServerLostError) and error.stopped)
        return Refusal(502, "model_lost", f"the server of {model!r} has ended: {error}", again=again)
    return Refusal(503, "model_not_started", str(error))


def stopping() -> Refusal:
    """The refusal of whatever comes while it all ends."""
    return Refusal(503, "stopping", "doteval serve is stopping", again=True)
