"""What became of each time that an SDK sent a request: the SDKs say only how often that was.

A time that was refused cost nothing. One that got no answer may have cost all that the answer would have.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

from ..._model_request import ModelRequest
from .redirects import at_home

_PRESENT: ContextVar[Attempts | None] = ContextVar("doteval_attempts", default=None)


class Attempts:
    """Around what sends a request; it is told by the `hooks` of the HTTP client that sends it.

    Args:
        request: Is told how often it was sent again, and how many of the times before got no answer.
    """

    __slots__ = ("_is_redirected", "_refused", "_request", "_sent", "_token")

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._sent = 0
        self._refused: set[int] = set()
        self._is_redirected = False

    def sent(self) -> None:
        """It is sent: once more, or to where the answer before has led."""
        self._sent += not self._is_redirected
        self._is_redirected = False

    def answered(self, status: int) -> None:
        """There is an answer."""
        self._is_redirected = 300 <= status < 400
        if status >= 400:
            self._refused.add(self._sent)

    def __enter__(self) -> None:
        self._token: Token[Attempts | None] = _PRESENT.set(self)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _PRESENT.reset(self._token)
        if self._sent:
            retries = self._sent - 1
            self._request.retries = retries
            self._request.lost = retries - len(self._refused - {self._sent})


def hooks(base_url: str) -> dict[str, list[Any]]:
    """The hooks of an HTTP client of ours, which takes its headers to this address only."""
    return {"request": [*at_home(base_url)["request"], _sent], "response": [_answered]}


def hooks_of_attempts() -> dict[str, list[Any]]:
    """Those of one that goes to this machine only."""
    return {"request": [_sent], "response": [_answered]}


async def _sent(_request: object) -> None:
    if (attempts := _PRESENT.get()) is not None:
        attempts.sent()


async def _answered(response: Any) -> None:
    if (attempts := _PRESENT.get()) is not None:
        attempts.answered(response.status_code)
