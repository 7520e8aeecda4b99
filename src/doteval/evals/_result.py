"""``Result``: what an evaluation returns for one row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from ._verdict import Verdict

Score: TypeAlias = bool | int | float
"""How good an output is: whether it is right, or a number."""
EVALUATION: ContextVar[str] = ContextVar("doteval_evaluation", default="")
"""The name of the evaluation whose row is evaluated, for messages."""
_WANTED = "scores are booleans and numbers by name, such as scores={'exact_match': True}"


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
            What a `doteval.evals.Verdict` says beside its value is kept in the metadata, as ``"verdicts"``.
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
        scores: Any = self.scores  # callers without a type checker pass anything
        if not isinstance(scores, Mapping):
            raise TypeError(f"{_place()}{_WANTED}, not {scores!r}")
        named = cast("Mapping[object, object]", scores)
        object.__setattr__(self, "scores", {name: _score(name, score) for name, score in named.items()})
        verdicts = {
            name: told for name, score in named.items() if isinstance(score, Verdict) and (told := score.told())
        }
        if verdicts:
            object.__setattr__(self, "metadata", {"verdicts": verdicts, **self.metadata})


def _score(name: object, score: object) -> Score:
    """Scalars of numpy and the like are what they hold."""
    value = score.value if isinstance(score, Verdict) else score
    item = getattr(score, "item", None)
    if callable(item) and not isinstance(score, (bool, int, float)):
        try:
            value = item()
        except Exception as exc:  # such as an array of several
            raise TypeError(f"{_place()}the score {name!r} is no single number but {score!r}") from exc
    if not isinstance(name, str) or not isinstance(value, (bool, int, float)):
        raise TypeError(f"{_place()}{_WANTED}, not {name!r}: {score!r}")
    try:
        is_finite = math.isfinite(value)
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise ValueError(f"{_place()}the score {name!r} is {_shown(score)}; leave it out where there is none")
    if isinstance(value, bool):
        return value
    return int(value) if isinstance(value, int) else float(value)


def _place() -> str:
    name = EVALUATION.get()
    return f"in '{name}', " if name else ""


def _shown(score: object) -> str:
    try:
        return repr(score)
    except ValueError:  # Python refuses to write so many digits
        return "an integer too large for a float"
