"""``Result``: what an evaluation returns for one row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Score: TypeAlias = bool | int | float
"""How good an output is: whether it is right, or a number."""


def _no_scores() -> dict[str, Score]:
    return {}


def _no_metadata() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Result:
    """What an evaluation returns for one row.

    Args:
        output: What the model said, or what was made of it: anything that JSON can hold; of anything else, its ``repr``
            is kept. An awaitable is awaited, so that a plain function may return what an async model gives it.
        prompt: What the model was asked, to be seen beside the output.
        scores: How good the output is, by name: `True` and `False`, or numbers; also scalars of numpy and the like.
        metadata: What else should be kept. What models are asked is counted by itself; where a row asks none that
            tells of its requests, the ``usage`` of the output counts, or else a `doteval.Usage` here, as ``"usage"``.

    Raises:
        TypeError: A score is neither a boolean nor a number, or its name is no text.
        ValueError: A score is not a finite number.
    """

    output: Any = None  # whatever the evaluated model or application returns
    prompt: Any = None  # a text, messages, or whatever the application was given
    scores: Mapping[str, Score] = field(default_factory=_no_scores)
    metadata: Mapping[str, Any] = field(default_factory=_no_metadata)

    def __post_init__(self) -> None:
        scores = {name: _score(name, score) for name, score in self.scores.items()}
        object.__setattr__(self, "scores", scores)


def _score(name: object, score: object) -> Score:
    """What callers without a type checker pass may be anything; scalars of numpy and the like are what they hold."""
    item = getattr(score, "item", None)
    value = item() if callable(item) and not isinstance(score, (bool, int, float)) else score
    if not isinstance(name, str) or not isinstance(value, (bool, int, float)):
        raise TypeError(
            f"scores are booleans and numbers by name, such as scores={{'exact_match': True}}, not {name!r}: {score!r}"
        )
    try:
        is_finite = math.isfinite(value)
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise ValueError(f"the score {name!r} is {score!r}; leave it out where there is none")
    return value
