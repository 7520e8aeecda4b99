"""``Asked``: one request on its way through the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from .._model import Usage
from .cache import Row, present_row
from .form import NoFormError, digest_of

Answer = list[tuple[str, dict[str, Any]]]
"""What a server answered, as JSON holds it: objects of the SDK, each with the name of its class."""

_READING: RunVar[CapacityLimiter] = RunVar("doteval_replies_reading")
_KEEPING: RunVar[CapacityLimiter] = RunVar("doteval_replies_keeping")
_encoder = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


class Asked:
    """A request that may be answered by the cache, or whose reply may be kept in it.

    Args:
        row: Where it belongs to.
        digest: What it is known by.
        model: The model's name.
    """

    __slots__ = ("_counts", "_digest", "_is_unreadable", "_model", "_number", "_row", "_use")

    def __init__(self, row: Row, digest: bytes, model: str) -> None:
        self._row = row
        self._digest = digest
        self._model = model
        self._number = row.take(digest)
        self._use = row.use(digest, self._number)
        self._counts: bool | None = None
        self._is_unreadable = False

    async def answer(self) -> Answer | None:
        """What the cache has for it; else it has to be sent."""
        replies = self._row.replies
        found = replies.pending(self._use)
        if found is None:
            found = await to_thread.run_sync(replies.look, self._use, limiter=_limiter(_READING))
        if found is None:
            return None
        self._is_unreadable = True  # unless it answers
        try:
            return [(str(name), dict(fields)) for name, fields in json.loads(found)]
        except (TypeError, ValueError):  # somebody has been at the file
            return None

    def answered(self, usage: Usage | None) -> None:
        """It was answered, with what once cost that much."""
        self._counts = True
        self._row.replies.answered_with(usage)

    def sent(self) -> None:
        """It is sent."""
        self._row.replies.was_sent()

    def left(self, *, failed: bool) -> None:
        """The block of its stream is left: because it failed, or wherever it was."""
        self._counts = not failed

    async def keep(self, answer: Callable[[], Answer]) -> None:
        """Keep what was answered; where that cannot be, nothing is raised. Nobody waits until it is written."""
        self._counts = True
        await to_thread.run_sync(self._keep, answer, limiter=_limiter(_KEEPING))

    def _keep(self, answer: Callable[[], Answer]) -> None:
        try:
            text = _encoder.encode(answer())
        except Exception:  # what an SDK holds that JSON does not: it is asked for again
            return
        self._row.replies.keep(self._use, self._model, text, replaces=self._is_unreadable)

    def __enter__(self) -> None: ...

    def __exit__(self, exc_type: object, exc_value: BaseException | None, traceback: object) -> None:
        """One that failed does not count; one that was given up does, or the next one would get another reply."""
        if self._counts is None:
            self._counts = not isinstance(exc_value, Exception)
        if not self._counts:
            self._row.give_back(self._digest, self._number)


def asked(model: str, where: Callable[[], Mapping[str, Any]], request: Mapping[str, Any]) -> Asked | None:
    """A request, where there is a cache and the request has a form; else `None`.

    Args:
        model: The model's name.
        where: Whom it is sent to.
        request: All that is sent.
    """
    row = present_row()
    if row is None:
        return None
    try:
        return Asked(row, digest_of(where(), request), model)
    except NoFormError as exc:
        row.replies.was_sent(str(exc))
        return None


def _limiter(of: RunVar[CapacityLimiter]) -> CapacityLimiter:
    """One thread: what it does, it does not do faster in two; and none of those that others wait for."""
    try:
        limiter = of.get()
    except LookupError:
        limiter = CapacityLimiter(1)
        of.set(limiter)
    return limiter
