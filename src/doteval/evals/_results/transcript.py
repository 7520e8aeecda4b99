"""What was asked in a row, request by request: as it is kept where transcripts are asked for, and read again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

from ... import Completion, ModelRequest, Usage
from .plain import plain, storable

LONGEST_TEXT = 100_000
"""How many characters of one text are kept; a picture is one, too."""
MOST = 2_000_000
"""How many characters of messages are kept of a row; what comes later is left out, and says so."""
MOST_REQUESTS = 1000
"""How many requests are kept of a row: the first ones."""

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that was made in a row. Values are as JSON holds them; long texts are cut, and say so.

    Args:
        model: The model's name as its server knows it.
        role: The argument of the evaluation that is the model, or has it; `None` where none does, or several do.
        attempt: In which attempt of the row it was made, counted from 1.
        begun: When it was sent, in seconds after the row had begun.
        seconds: How long it took.
        messages: The conversation that was sent, oldest message first.
        params: What else it was sent with, those of the model included; no keys and no headers that hold some.
        reply: What the model replied, or what had arrived of a stream; `None`: nothing.
        details: What else the reply says: its finish reason, a refusal, its reasoning, tool calls. Only what there is.
        error: What went wrong, in a line; `None` where nothing did.
        retries: How often the SDK sent it again.
        from_cache: Whether a cache of replies answered it, so that it was sent nowhere.
        usage: What it cost, as far as its server said so; of one from a cache, what the reply had cost before.
    """

    model: str
    role: str | None
    attempt: int
    begun: float
    seconds: float
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any]
    reply: str | None = None
    details: Mapping[str, Any] | None = None
    error: str | None = None
    retries: int = 0
    from_cache: bool = False
    usage: Usage | None = None


class Transcript(list[ModelRequest]):
    """The requests of a row; what is to be kept of each is taken down when it has ended, as messages may change."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[RecordedRequest] = []
        """What is kept of them."""
        self.roles: Mapping[str, str] = {}
        """The arguments by which models came, by the names of the models."""
        self.attempt = 0
        """The attempt that runs."""
        self._began = perf_counter()

    def append(self, request: ModelRequest, /) -> None:
        """Take it down."""
        super().append(request)
        if len(self.kept) < MOST_REQUESTS:
            self.kept.append(self._recorded(request))

    def _recorded(self, request: ModelRequest) -> RecordedRequest:
        reply, error = request.received, request.error
        problem = None if error is None else storable(str(error).partition("\n")[0])
        if reply is None and error is None:
            problem = "it was cancelled before a reply came"
        model = storable(str(request.model))
        return RecordedRequest(
            model,
            self.roles.get(model),
            self.attempt,
            request.began - self._began,
            request.seconds,
            cast("list[dict[str, Any]]", shortened(plain(request.messages))),
            cast("dict[str, Any]", shortened(plain(request.open_params))),
            None if reply is None else cast("str", shortened(plain(str(reply)))),
            cast("dict[str, Any] | None", shortened(details_of(reply))),
            problem,
            request.retries,
            request.from_cache,
            request.usage,
        )


def details_of(reply: object) -> Mapping[str, Any] | None:
    """What a reply says besides its text, where it is one."""
    names = ("finish_reason", "refusal", "reasoning", "tool_calls", "retries")
    known = {name: value for name in names if (value := getattr(reply, name, None))}
    return cast("dict[str, Any]", plain(known)) if known and isinstance(reply, Completion) else None


def encoded(requests: Sequence[RecordedRequest]) -> str:
    """All requests of a row as one text; a message that several have, as each turn of an agent does, is in it once."""
    places: dict[str, int] = {}
    left = MOST
    found: list[dict[str, Any]] = []
    for request in requests:
        numbers: list[int] = []
        for message in request.messages:
            text = _encoder.encode(message)
            if text not in places:
                left -= len(text)
                if left < 0:
                    text = _encoder.encode(
                        {"role": message.get("role"), "content": f"<{len(text):,} characters are left out>"}
                    )
                places.setdefault(text, len(places))
            numbers.append(places[text])
        found.append({**_fields_of(request), "messages": numbers})
    return f'{{"messages":[{",".join(places)}],"requests":{_encoder.encode(found)}}}'


def decoded(text: str) -> tuple[RecordedRequest, ...]:
    """The requests in such a text."""
    kept = json.loads(text)
    messages: list[dict[str, Any]] = kept["messages"]
    return tuple(_request_of(fields, messages) for fields in kept["requests"])


def _fields_of(request: RecordedRequest) -> dict[str, Any]:
    usage = request.usage
    known = {
        "role": request.role,
        "params": request.params or None,
        "reply": request.reply,
        "details": request.details,
        "error": request.error,
        "retries": request.retries or None,
        "from_cache": request.from_cache or None,
        "usage": None if usage is None else [getattr(usage, name) for name in _USAGE],
    }
    times = {"begun": round(request.begun, 4), "seconds": round(request.seconds, 4)}
    return {
        "model": request.model,
        "attempt": request.attempt,
        **{name: seconds for name, seconds in times.items() if math.isfinite(seconds)},
        **{name: value for name, value in known.items() if value is not None},
    }


def _request_of(fields: dict[str, Any], messages: Sequence[Mapping[str, Any]]) -> RecordedRequest:
    usage = fields.pop("usage", None)
    numbers = cast("list[int]", fields.pop("messages"))
    known: dict[str, Any] = {"role": None, "params": {}, "begun": 0.0, "seconds": 0.0, **fields}
    return RecordedRequest(
        **known,
        messages=[messages[number] for number in numbers],
        usage=None if usage is None else Usage(*usage),
    )


def shortened(value: Any) -> Any:
    """A plain value whose long texts are cut."""
    if isinstance(value, str):
        more = len(value) - LONGEST_TEXT
        return value if more <= 0 else f"{value[:LONGEST_TEXT]}… ({more:,} characters more)"
    if isinstance(value, list):
        return [shortened(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in cast("dict[str, Any]", value).items()}
    return value
