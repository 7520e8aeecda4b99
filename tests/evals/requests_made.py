"""Requests of a row as they are kept, made of what is to be read of them again."""

from __future__ import annotations

from collections.abc import Iterable

from doteval import Completion, ModelRequest, ModelRequestError
from doteval.evals import RecordedRequest
from doteval.evals._results.roles import Roles
from doteval.evals._results.transcript import RecordedRequests, Transcript


class _ShownError(ModelRequestError):
    def __init__(self, text: str) -> None:
        super().__init__("m", "p", "a")
        self.text = text

    def __str__(self) -> str:
        return self.text


def kept_as(requests: Iterable[RecordedRequest]) -> RecordedRequests:
    """As the row would have made them."""
    made = Transcript()
    for each in requests:
        request = ModelRequest(each.model, each.messages, each.params, from_cache=each.from_cache)
        request.began, request.seconds = made._began + each.begun, each.seconds
        request.reply = None if each.reply is None else Completion(each.reply, **(each.details or {}))
        request.error = None if each.error is None else _ShownError(each.error)
        request.usage, request.retries = each.usage, each.retries
        made.roles = Roles([] if each.role is None else [(each.role, None, each.model)])
        made.attempt = each.attempt
        made.append(request)
    return made.kept()
