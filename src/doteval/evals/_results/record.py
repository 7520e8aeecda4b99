"""``Record``: what is kept of one row."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from ... import Completion, Usage
from .._result import Result, Score
from .plain import digest_of_plain, names_of, plain, storable

_RUNNING = str(Path(__file__).parent.with_name("_running"))  # what calls an evaluation, and not what it calls of ours


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one row. Values are as JSON holds them.

    Args:
        number: The row's place in the dataset, counted from 0.
        digest: A fingerprint of its values.
        inputs: Its values, by column.
        output: What the evaluation returned.
        prompt: What the model was asked, where the evaluation says so.
        scores: How good the output is, by name.
        metadata: What else the evaluation returned.
        error: What went wrong, in a line; `None` where nothing did.
        traceback: Where it went wrong.
        seconds: How long the last attempt took.
        input_tokens: Tokens of the prompt, where they are known.
        output_tokens: Tokens of the reply, where they are known.
        reply: What else the model's reply says, where the output is one: its finish reason, a refusal, its reasoning,
            tool calls, retries, and the tokens that were cached, written into a cache, or thought with. Only what there
            is.
        attempts: How often the row was run.
    """

    number: int
    digest: str
    inputs: Mapping[str, Any]
    output: Any = None
    prompt: Any = None
    scores: Mapping[str, Score] | None = None
    metadata: Mapping[str, Any] | None = None
    error: str | None = None
    traceback: str | None = None
    seconds: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    reply: Mapping[str, Any] | None = None
    attempts: int = 1

    @property
    def failed(self) -> bool:
        """Whether the row raised."""
        return self.error is not None


class Inputs:
    """The values of a row as they are kept.

    Args:
        number: The row's place in the dataset, counted from 0.
        values: What its columns hold.
    """

    def __init__(self, number: int, values: Mapping[str, Any]) -> None:
        self.number = number
        self.values = _plain_mapping(values)
        self.digest = digest_of_plain(self.values)


def succeeded(inputs: Inputs, result: Result, seconds: float, attempts: int) -> Record:
    """What is kept of a row that returned."""
    usage = getattr(result.output, "usage", None)
    if not isinstance(usage, Usage):
        usage = result.metadata.get("usage")
    known = usage if isinstance(usage, Usage) else None
    return Record(
        number=inputs.number,
        digest=inputs.digest,
        inputs=inputs.values,
        output=plain(result.output),
        prompt=plain(result.prompt),
        scores=dict(zip(names_of([*result.scores]), map(_plain_score, result.scores.values()), strict=True)),
        metadata=_plain_mapping(result.metadata),
        seconds=seconds,
        input_tokens=None if known is None else known.input_tokens,
        output_tokens=None if known is None else known.output_tokens,
        reply=_reply(result.output, known),
        attempts=attempts,
    )


def failed(inputs: Inputs, error: BaseException, seconds: float, attempts: int) -> Record:
    """What is kept of a row that raised."""
    text = _text(error)
    return Record(
        number=inputs.number,
        digest=inputs.digest,
        inputs=inputs.values,
        error=storable(f"{type(error).__name__}: {text}" if text else type(error).__name__),
        traceback=storable(
            "".join(traceback.format_exception(type(error), error, _from_the_evaluation(error.__traceback__)))
        ),
        seconds=seconds,
        attempts=attempts,
    )


def _reply(output: object, usage: Usage | None) -> dict[str, Any] | None:
    parts = (
        (output, ("finish_reason", "refusal", "reasoning", "tool_calls", "retries")),
        (usage, ("cached_tokens", "cache_write_tokens", "reasoning_tokens")),
    )
    known = {name: value for part, names in parts for name in names if (value := getattr(part, name, None))}
    return _plain_mapping(known) if known and isinstance(output, Completion) else None


def _text(error: BaseException) -> str:
    try:
        return str(error).strip()
    except Exception as exc:  # an author's __str__ may be broken, too
        return f"<its text failed with {type(exc).__name__}>"


def _from_the_evaluation(trace: TracebackType | None) -> TracebackType | None:
    """Leave out all before the evaluation itself: what is ours, and the worker thread of a plain function."""
    start, frame = trace, trace
    while frame is not None:
        if frame.tb_frame.f_code.co_filename.startswith(_RUNNING):
            start = frame.tb_next
        frame = frame.tb_next
    return start or trace


def _plain_score(score: Score) -> Score:
    if isinstance(score, bool):
        return score
    return int(score) if isinstance(score, int) else float(score)


def _plain_mapping(values: Mapping[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", plain(values))
