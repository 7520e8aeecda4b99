"""What became of each time that an SDK sent a request, and the HTTP response: the HTTP client tells, not the SDK.

The SDKs have that for who asks for raw answers; but of those, who traces the SDKs' calls from outside makes nothing.

A time that was refused cost nothing. One that got no answer may have cost all that the answer would have.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, cast

from ..._model_request import ModelRequest
from .redirects import at_home

_PRESENT: ContextVar[Attempts | None] = ContextVar("doteval_attempts", default=None)


class Attempts:
    """Around what sends a request; it is told by the `hooks` of the HTTP client that sends it.

    Args:
        request: Is told how often it was sent again, and how many of the times before got no answer.
    """

    __slots__ = ("_is_redirected", "_refused", "_request", "_sent", "_token", "response")

    def __init__(self, request: ModelRequest) -> None:
        self.response: Any = None
        """The HTTP answer to the last one; `None` where there is none, or the HTTP client does not tell."""
        self._request = request
        self._sent = 0
        self._refused: set[int] = set()
        self._is_redirected = False

    def sent(self) -> None:
        """It is sent: once more, or to where the answer before has led."""
        self._sent += not self._is_redirected
        self._is_redirected = False
        self.response = None

    def answered(self, response: Any) -> None:
        """There is an answer."""
        self.response = response
        self._is_redirected = 300 <= response.status_code < 400
        if response.status_code >= 400:
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


def watch(http_client: Any) -> None:
    """Have an HTTP client tell what it sends, beside what else its hooks do; one of ours does already."""
    hooks: Any = getattr(http_client, "event_hooks", None)
    if isinstance(hooks, dict):
        for name, hook in (("request", _sent), ("response", _answered)):
            known = cast("dict[str, list[Any]]", hooks).setdefault(name, [])
            if hook not in known:
                known.append(hook)


async def _sent(_request: object) -> None:
    if (attempts := _PRESENT.get()) is not None:
        attempts.sent()


async def _answered(response: Any) -> None:
    if (attempts := _PRESENT.get()) is not None:
        attempts.answered(response)
