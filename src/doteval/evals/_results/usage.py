"""``ModelUsage``: what rows cost, by model, made of the requests in them; and how such counts are added up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import add, attrgetter
from typing import NamedTuple, cast

from ... import ModelRequest, Usage
from .plain import text_of
from .roles import Roles

COUNTS = (
    "requests", "failed", "unknown", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
    "reasoning_tokens", "from_cache", "saved_input_tokens", "saved_output_tokens",
)  # fmt: skip
_FIRST_COUNT = 2
_FIRST_SAVED = _FIRST_COUNT + COUNTS.index("from_cache")
_TOKENS = COUNTS[3:8]
_tokens_of: Callable[[Usage], Sequence[int]] = attrgetter(*_TOKENS)
LARGEST = 2**53
"""A server may say anything; a database holds less."""
_NO_TOKENS = (0,) * len(_TOKENS)


class ModelUsage(NamedTuple):
    """What one model was asked, and what that cost. Tokens are counted as in `doteval.Usage`.

    Args:
        model: The model's name as its server knows it; `None` where only the row itself says what it cost.
        role: The argument of the evaluation that is the model, or has it in an attribute or item, or in one of those;
            `None` where none does, or several do.
            ``"scorer"``: what the function asked that `rescore` was given.
        requests: How many requests were sent; one that an SDK sends again counts each time.
        failed: How many of these failed.
        unknown: How many may have cost more than is known: the server did not say it, or a stream was left, a request
            cancelled, a connection lost or the time up before it could, also where the SDK then sent it again; or the
            row ended before the request did. Of a run that was killed, 1 without a model and requests: there may have
            been some.
        input_tokens: Tokens of the prompts.
        output_tokens: Tokens of the replies.
        cached_tokens: Tokens of the prompts that were read from a cache.
        cache_write_tokens: Tokens of the prompts that were written into a cache.
        reasoning_tokens: Tokens that the model thought with.
        from_cache: How many requests a cache of replies answered. They were sent nowhere, and are not among `requests`.
        saved_input_tokens: Tokens of their prompts, which cost nothing now and are in no other count.
        saved_output_tokens: Tokens of the replies to them, likewise.
    """

    model: str | None
    role: str | None
    requests: int
    failed: int
    unknown: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    from_cache: int = 0
    saved_input_tokens: int = 0
    saved_output_tokens: int = 0

    @property
    def is_to_pay(self) -> bool:
        """Whether anything was sent, or used; what a cache of replies answered was not."""
        return any(self[_FIRST_COUNT:_FIRST_SAVED])


class UsageSums:
    """Adds them up, each model in each role for itself."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str | None, str | None], Sequence[int]] = {}

    def add(self, usages: Iterable[ModelUsage]) -> None:
        """Some more."""
        for usage in usages:
            key = (usage.role, usage.model)
            counts = cast("Sequence[int]", usage[_FIRST_COUNT:])
            known = self._sums.get(key)
            self._sums[key] = counts if known is None else [*map(add, known, counts)]

    def by_model(self) -> tuple[ModelUsage, ...]:
        """The sums, in the order of roles and names."""
        ordered = sorted(self._sums.items(), key=lambda item: (item[0][0] or "", item[0][1] or ""))
        return tuple(ModelUsage(model, role, *counts) for (role, model), counts in ordered)


def usage_of_requests(requests: Iterable[ModelRequest], roles: Roles) -> tuple[ModelUsage, ...]:
    """What requests cost.

    Args:
        requests: All that were made in a row.
        roles: Those of the models.
    """
    found = [_usage_of(request, roles) for request in requests]
    if len(found) < 2:  # as of most rows
        return tuple(found)
    sums = UsageSums()
    sums.add(found)
    return sums.by_model()


def _usage_of(request: ModelRequest, roles: Roles) -> ModelUsage:
    retries = as_count(request.retries)
    model = request.model if type(request.model) is str and request.model.isascii() else text_of(request.model)
    tokens = [*map(as_count, _tokens_of(request.usage))] if isinstance(request.usage, Usage) else _NO_TOKENS
    if request.from_cache:
        return ModelUsage(model, roles.of(request), 0, 0, 0, 0, 0, 0, 0, 0, 1, tokens[0], tokens[1])
    lost = retries if request.lost is None else min(as_count(request.lost), retries)
    unknown = lost + (not request.is_known)
    return ModelUsage(model, roles.of(request), 1 + retries, retries + request.failed, unknown, *tokens)


def usage_told(usage: Usage) -> ModelUsage:
    """What a row itself says that it cost."""
    return ModelUsage(None, None, 0, 0, 0, *map(as_count, _tokens_of(usage)))


def added(counts: Iterable[int]) -> int:
    """A sum that a database can hold."""
    return min(sum(counts), LARGEST)


def as_count(told: object) -> int:
    """What is said to be a count, by a server or by whoever has made a `Usage`; what is none counts as nothing."""
    if type(told) is int:
        return min(max(told, 0), LARGEST)
    try:
        return as_count(int(cast("int", told)))
    except Exception:
        return 0
