"""``Record``: what is kept of one row."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from ... import Completion, DotevalError, ModelRequest, Usage
from ..._chains import before
from ..._printed import text_of
from .._digests import NAMES, Fingerprint, Looks, digest_of
from .._result import Result, Score
from .begun import RequestsOfRow
from .kept import altered_columns, altered_parts, is_same_output
from .plain import names_of, plain, storable
from .roles import Roles
from .transcript import RecordedRequest, Transcript, details_of, without_secrets
from .usage import ModelUsage, added, usage_of_requests, usage_told

_DOTEVAL = f"{Path(__file__).parents[2]}{os.sep}"
_TELLING = "number", "key", "sample", "inputs", "output", "prompt", "scores", "metadata", "error", "reply"
_TRACEBACK = "Traceback (most recent call last):\n"
_RUNNING = str(Path(__file__).parent.with_name("_running"))  # what calls an evaluation, and not what it calls of ours


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one row. Values are as JSON holds them.

    Args:
        number: The row's place in the dataset, counted from 0.
        key: What it is known by, wherever it stands: its values, or its column ``id``, and where a row before it has
            that as well, also its values; equal ones are counted.
        digest: A fingerprint of its values.
        inputs: Its values, by column.
        output: What the evaluation returned; where it raised, what a model had told it last.
        prompt: What the model was asked, where the evaluation says so.
        scores: How good the output is, by name.
        metadata: What else the evaluation returned.
        error: What went wrong, in a line; `None` where nothing did.
        traceback: Where it went wrong.
        seconds: How long the last attempt took.
        input_tokens: Tokens of all prompts in all attempts, where they are known.
        output_tokens: Tokens of all replies, where they are known.
        reply: What else the model's reply says, where the output is one: its finish reason, a refusal, its reasoning,
            tool calls and retries. Only what there is; `None` where it is none.
        attempts: How often the row was run.
        usage_by_model: What was asked of each model in all attempts, and what it cost.
        sample: Which sample of the row it is, counted from 1.
        transcript: The requests that were made, where that was asked for. Not of a row that is read from a store, which
            has them apart: see `Store.requests`.
        altered: What of it is not kept as it was, but as what JSON can hold of it, such as a list for a tuple:
            ``"inputs.answer"`` for a column, ``"output"``, ``"prompt"``, ``"metadata"``.
    """

    number: int
    key: str
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
    usage_by_model: Sequence[ModelUsage] = ()
    sample: int = 1
    transcript: Sequence[RecordedRequest] | None = None
    altered: Sequence[str] = ()

    def __doteval_identity__(self) -> Mapping[str, Any]:
        """What counts where another evaluation reads it: not how long it took, nor what it cost."""
        return {name: getattr(self, name) for name in _TELLING}

    @property
    def failed(self) -> bool:
        """Whether the row raised."""
        return self.error is not None

    @property
    def example(self) -> str:
        """What went wrong, with the row's number, for a message about several."""
        return f"{self.place}:\n{(self.traceback or self.error or '').rstrip()}\n"

    @property
    def place(self) -> str:
        """Which row it is, and which sample of it where it is not the first, for people."""
        return f"row {self.number}" + (f", sample {self.sample}" if self.sample > 1 else "")

    @property
    def requests(self) -> int:
        """How many requests were sent to models, as far as they are counted."""
        return sum(usage.requests for usage in self.usage_by_model)

    @property
    def from_cache(self) -> int:
        """How many requests a cache of replies answered, which are not among the others."""
        return sum(usage.from_cache for usage in self.usage_by_model)

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompts that were read from a cache."""
        return sum(usage.cached_tokens for usage in self.usage_by_model)

    @property
    def cache_write_tokens(self) -> int:
        """Tokens of the prompts that were written into a cache."""
        return sum(usage.cache_write_tokens for usage in self.usage_by_model)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens that models thought with."""
        return sum(usage.reasoning_tokens for usage in self.usage_by_model)


class Inputs:
    """The values of a row as they are kept.

    Args:
        number: The row's place in the dataset, counted from 0.
        values: What its columns hold.
        known: What they are known by.
    """

    def __init__(self, number: int, values: Mapping[str, Any], known: Fingerprint) -> None:
        self.number = number
        self.values = _plain_mapping(values)
        """As they are kept."""
        self.altered = altered_columns(values, self.values)
        self.digest = known.digest
        self.base = known.digest
        """What the row is known by as long as no other one is: its column ``id``, or its values."""
        self.key = known.digest
        """What it is known by."""
        self.unknown = known.unknown
        """The types of values that nothing tells from others, where nothing else tells the row from others."""
        self.again = 0
        """How many rows before it are equal to it: known by the same, with the same values."""
        self.name: str | None = None
        """What its column ``id`` holds, where that is a text or a number."""


def key_of_id(value: object, looks: Looks = NAMES) -> str:
    """What a row is known by whose column ``id`` has this value."""
    return f"id {digest_of(value, looks)}"


ASIDE = " aside "
"""Is in the key of a result that another row of its id took the place of, until the end shows whose it is."""


def base_of(key: str) -> str:
    """What the keys of all rows of one ``id`` begin with, one of which is this; of a row without one, its values."""
    first, *more = key.split(" ", 2)
    return f"{first} {more[0]}" if first == "id" else first


def keys_meant(text: str) -> set[str]:
    """What a row may be known by that somebody names in a text: by its key, or by its column ``id``."""
    keys = {text, key_of_id(text)}
    for kind in (int, float):
        with suppress(ValueError, OverflowError):
            keys.add(key_of_id(kind(text)))
    return keys


class Spending:
    """What a row spends; is given what it asks of models.

    Args:
        requests: The requests of the row; they become more as it runs.
    """

    def __init__(self, requests: RequestsOfRow) -> None:
        self._requests = requests
        self.left_open = 0
        """How many requests had not ended when the row had."""
        self.roles = Roles()
        """Those of the models."""
        self._begun = 0
        self._waited = 0.0

    def begin_attempt(self) -> None:
        """What is asked from now on belongs to another attempt."""
        self._begun = len(self._requests)
        self._waited = self._requests.waited
        if isinstance(self._requests, Transcript):
            self._requests.roles = self.roles
            self._requests.attempt += 1

    @property
    def waited(self) -> float:
        """How long requests have waited to be sent in this attempt, in seconds."""
        return self._requests.waited - self._waited

    @property
    def was_asked(self) -> bool:
        """Whether a server was asked in this attempt, as far as that is known: not where a cache answered all."""
        asked = self._requests[self._begun :]
        return not asked or any(not request.from_cache for request in asked)

    @property
    def answered(self) -> int:
        """How many requests of this attempt a server has answered."""
        asked = self._requests[self._begun :]
        return sum(not request.failed and not request.from_cache for request in asked)

    def last_reply(self) -> Completion | None:
        """What a model has said last, where it was not streamed."""
        return next((request.reply for request in reversed(self._requests) if request.reply is not None), None)

    def by_model(self) -> tuple[ModelUsage, ...]:
        """What was asked of each model so far."""
        requests, left = self._all()
        return usage_of_requests([*requests, *left], self.roles)

    def _all(self) -> tuple[list[ModelRequest], list[ModelRequest]]:
        """The requests that have ended, and those that go on."""
        begun = self._requests.open  # read first: what a thread of the row ends meanwhile is in both
        requests = [*self._requests]  # a task that the row has left behind may make more
        ended = {id(request) for request in requests}
        return requests, [request for request in begun if id(request) not in ended]

    def fields(self, told: object = None) -> dict[str, Any]:
        """What a record has of it.

        Args:
            told: What the row itself says that it cost, if it is a `Usage`; it counts where no model says anything.
        """
        requests, left = self._all()
        self.left_open = len(left)
        requests += left
        known = any(isinstance(request.usage, Usage) for request in requests)
        by_model = usage_of_requests(requests, self.roles)
        if not known and isinstance(told, Usage):
            by_model, known = (*by_model, usage_told(told)), True
        return {
            "input_tokens": added(usage.input_tokens for usage in by_model) if known else None,
            "output_tokens": added(usage.output_tokens for usage in by_model) if known else None,
            "usage_by_model": by_model,
            "transcript": self._requests.kept(left) if isinstance(self._requests, Transcript) else None,
        }


def succeeded(inputs: Inputs, sample: int, result: Result, seconds: float, attempts: int, spending: Spending) -> Record:
    """What is kept of a row that returned."""
    usage = getattr(result.output, "usage", None)
    output, prompt, metadata = plain(result.output), plain(result.prompt), _plain_mapping(result.metadata)
    reply = _details(result.output)
    return Record(
        number=inputs.number,
        key=inputs.key,
        sample=sample,
        digest=inputs.digest,
        inputs=inputs.values,
        output=output,
        prompt=prompt,
        scores=plain_scores(result),
        metadata=metadata,
        seconds=seconds,
        reply=reply,
        altered=(*inputs.altered, *altered_parts(result, output, prompt, metadata, reply)),
        attempts=attempts,
        **spending.fields(usage if isinstance(usage, Usage) else result.metadata.get("usage")),
    )


def failed(
    inputs: Inputs, sample: int, error: BaseException, seconds: float, attempts: int, spending: Spending
) -> Record:
    """What is kept of a row that raised."""
    line, trace = told(error)
    reply = spending.last_reply()
    output, details = plain(reply), _details(reply)
    return Record(
        number=inputs.number,
        key=inputs.key,
        sample=sample,
        digest=inputs.digest,
        inputs=inputs.values,
        error=line,
        traceback=trace,
        output=output,
        reply=details,
        seconds=seconds,
        attempts=attempts,
        altered=(*inputs.altered, *(() if is_same_output(reply, output, details) else ("output",))),
        **spending.fields(),
    )


def told(error: BaseException) -> tuple[str, str]:
    """What is kept of an error: a line, and where it came from."""
    text, trace = text_of(error).strip(), _from_the_evaluation(error.__traceback__)
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    try:
        where = _printed(error, trace)
    except Exception:  # its parts may be of any kind: where a SyntaxError was may be a text, and its notes a number
        where = "".join((_TRACEBACK, *traceback.format_tb(trace), line, "\n"))
    return _as_it_may_be_kept(line), _as_it_may_be_kept(where)


def _printed(error: BaseException, trace: TracebackType | None) -> str:
    printed = traceback.TracebackException(type(error), error, trace)
    is_ours = isinstance(error, DotevalError)
    if is_ours:  # it says by itself what is wrong: what we called for it, and from what it was raised, is our affair
        own = [*map(_is_ours, printed.stack)]
        del printed.stack[own.index(True) if any(own) else len(own) :]
    elif isinstance(error, (TypeError, ValueError)) and printed.stack[-1:] and _is_ours(printed.stack[-1]):
        while printed.stack and (_is_ours(printed.stack[-1]) or printed.stack[-1].filename == "<string>"):
            printed.stack.pop()  # what is refused is what it was called with; a dataclass has an __init__ of no file
    if not printed.stack and not is_ours and before(error) is None:
        return "".join(printed.format_exception_only())
    return "".join(printed.format(chain=not is_ours))


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_DOTEVAL)


def _as_it_may_be_kept(text: str) -> str:
    return storable(without_secrets("error", text))


def plain_scores(result: Result) -> dict[str, Score]:
    """The scores of a row as they are kept."""
    return dict(zip(names_of([*result.scores]), map(_plain_score, result.scores.values()), strict=True))


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


def _details(output: object) -> Mapping[str, Any] | None:
    """What a reply says besides its text; of one that says nothing else, that it is one."""
    return details_of(output) or ({} if isinstance(output, Completion) else None)


def _plain_mapping(values: Mapping[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", plain(values))
