"""``doteval show --row`` and ``--failed``: all that is kept of rows."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from .._printed import Styled, in_a_line, say
from ..evals import Record, Snapshot, Stored
from ..evals._results.blocks import request_for_json
from ..evals._results.export import rows_of
from ..evals._results.pricing import Prices
from ..evals._results.record import base_of, keys_meant
from ..evals._results.tables import number, shown_seconds
from ..evals._results.transcript import RecordedRequest
from ._json import print_json
from ._prices import cost_for_programs
from ._problem import Problem

_SHORTEST_KEY = 4
_MOST_NEAR = 5


def show_rows(options: argparse.Namespace, results: Snapshot, found: Sequence[Stored], prices: Prices) -> int:
    """Print all of one row, or of those that failed, in each evaluation.

    Raises:
        Problem: No evaluation has the row.
    """
    if options.row is None:
        rows: Iterable[tuple[Stored, Record]] = (
            (stored, record) for stored in found for record in results.records(stored, failed=True)
        )
    else:
        rows = [(stored, record) for stored in found for record in _asked_for(results, stored, options.row)]
        if not rows:
            raise Problem(_missing(results, found, options.row))
    if options.json:
        print_json(_for_programs(results, stored, record, prices) for stored, record in rows)
        return 0
    is_first = True
    for stored, record in rows:
        say(*([] if is_first else [""]), *_lines(results, stored, record, prices))
        is_first = False
    if is_first:
        say("no row failed")
    return 0


def _asked_for(results: Snapshot, stored: Stored, asked: str) -> list[Record]:
    """The row that is meant: by its column ``id``, its key or the beginning of it, or its number, in this order."""
    keys: dict[str, int] = {}
    for row in results.known(stored):
        keys.setdefault(row.key, row.number)
    meant = keys_meant(asked)
    named = [asked] if asked in keys else [key for key in keys if base_of(key) in meant]
    if len(named) > len({*map(base_of, named)}):
        more = f", and {len(named) - _MOST_NEAR:,} more" if len(named) > _MOST_NEAR else ""
        shown = ", ".join(f"'{key}'" for key in named[:_MOST_NEAR])
        raise Problem(f"{len(named):,} rows have the id {asked!r}: name one by its key, {shown}{more}", 2)
    if not named and _is_number(asked):
        named = [key for key, place in keys.items() if place == int(asked)]
    if not named and len(asked) >= _SHORTEST_KEY:
        named = [key for key in keys if key.startswith(asked)]
        if len(named) > 1:
            raise Problem(f"several rows begin with {asked!r}: {', '.join(named[:_MOST_NEAR])}", 2)
    return [record for key in dict.fromkeys(named) for record in results.row(stored, key)]


def _is_number(asked: str) -> bool:
    return asked.isascii() and asked.isdecimal() and len(asked) < 19


def _missing(results: Snapshot, found: Sequence[Stored], asked: str) -> str:
    """That there is no such row, and which ones are near."""
    numbers: set[int] = set()
    names: set[str] = set()
    for stored in found:
        for record in results.records(stored):
            numbers.add(record.number)
            names.add(record.key)
            if "id" in record.inputs:
                names.add(str(record.inputs["id"]))
    where = found[0].name if len(found) == 1 else f"{len(found)} evaluations"
    if not numbers:
        return f"there is no row {asked!r}: {where} has none yet"
    if _is_number(asked):
        wanted = int(asked)
        near = sorted(sorted(numbers, key=lambda place: abs(place - wanted))[:_MOST_NEAR])
        shown = ", ".join(map(str, near))
        return f"there is no row {asked} in {where}: there are {min(numbers)} to {max(numbers)}, near it {shown}"
    close = difflib.get_close_matches(asked, names, _MOST_NEAR, 0.4)
    told = f"near it {', '.join(close)}" if close else f"they are numbered from {min(numbers)} to {max(numbers)}"
    return f"there is no row {asked!r} in {where}: {told}"


def _for_programs(results: Snapshot, stored: Stored, record: Record, prices: Prices) -> dict[str, Any]:
    (row,) = rows_of([(stored, record)])
    requests = results.requests(stored, record.key, record.sample)
    cost = cost_for_programs(prices, record.usage_by_model)
    return {"key": record.key, **row, **cost, "transcript": [request_for_json(request) for request in requests]}


def _lines(results: Snapshot, stored: Stored, record: Record, prices: Prices) -> Iterator[str]:
    """A row for people."""
    yield _bold(f"{stored.name}, {record.place}")
    cost = [f"cost {prices.cost(record.usage_by_model)}"] if prices else []
    yield f"key {record.key}; {', '.join([*_numbers(record), *cost])}"
    for name, score in (record.scores or {}).items():
        yield f"{name}: {_score(score)}"
    parts = {
        "error": None if record.traceback else record.error,
        "traceback": record.traceback,
        "output": record.output,
        "prompt": record.prompt,
        "inputs": record.inputs,
        "metadata": record.metadata,
        "reply": record.reply,
    }
    for name, value in parts.items():
        if value is None or value == {}:
            continue
        yield ""
        yield _bold(name)
        yield from (f"  {line}" for line in _text(value).split("\n"))
    before: Sequence[Any] = ()
    place = 0
    for request in results.requests(stored, record.key, record.sample):
        yield ""
        place += request.left_out or 1
        if request.left_out:
            yield _bold(request.error or "")
            continue
        yield _bold(f"request {place}")
        yield from (f"  {line}" for line in "\n".join(_request(request, before)).split("\n"))
        before = request.messages


def _request(request: RecordedRequest, before: Sequence[Any]) -> Iterator[str]:
    """A request; of messages that the one before had, too, only how many they are."""
    usage = request.usage
    numbers = [
        f"{request.model}{f' as {request.role}' if request.role else ''}: {shown_seconds(request.seconds)}",
        *([] if usage is None else [f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"]),
        *([f"attempt {request.attempt}"] if request.attempt > 1 else []),
        *([f"sent {request.retries + 1} times"] if request.retries else []),
        *(["from the cache"] if request.from_cache else []),
    ]
    yield ", ".join(numbers)
    messages = [*request.messages]
    same = next((place for place, (one, other) in enumerate(zip(messages, before)) if one != other), None)  # noqa: B905
    same = min(len(messages), len(before)) if same is None else same
    if same:
        yield f"{same} message{'' if same == 1 else 's'} as before"
    if messages[same:]:
        yield _text(messages[same:])
    if request.reply:
        yield f"reply: {_inner(request.reply)}"
    if request.details:
        yield _text(request.details)
    if request.error:
        yield f"error: {request.error}"
    if request.params:
        yield f"sent with {json.dumps(dict(request.params), ensure_ascii=False)}"


def _numbers(record: Record) -> Iterator[str]:
    yield shown_seconds(record.seconds)
    if record.attempts > 1:
        yield f"{record.attempts} attempts"
    for usage in record.usage_by_model:
        least = "≥ " if usage.unknown else ""
        cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
        thought = f" ({usage.reasoning_tokens:,} reasoning)" if usage.reasoning_tokens else ""
        name = f"{usage.model or '-'}{f' as {usage.role}' if usage.role else ''}"
        requests = f"{usage.requests} request{'' if usage.requests == 1 else 's'}"
        told, replied = f"{least}{usage.input_tokens:,}", f"{least}{usage.output_tokens:,}"
        yield f"{name}: {requests}, {told} tokens in{cached}, {replied} out{thought}"


def _score(score: float) -> str:
    return ("no", "yes")[score] if isinstance(score, bool) else number(score)


def _text(value: Any) -> str:
    """A value as a person reads it: texts as they are, messages one after the other."""
    if isinstance(value, str):
        return value.rstrip("\n")
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_inner(each)}" for name, each in cast("Mapping[str, Any]", value).items())
    messages = cast("Sequence[Any]", value) if isinstance(value, list) else ()
    if messages and all(isinstance(each, Mapping) and "role" in each for each in messages):
        return "\n".join(f"{each['role']}: {_inner(each.get('content'))}{_others(each)}" for each in messages)
    return json.dumps(value, ensure_ascii=False, indent=1)


def _others(message: Mapping[str, Any]) -> str:
    others = {name: each for name, each in message.items() if name not in ("role", "content") and each is not None}
    return f" {json.dumps(others, ensure_ascii=False)}" if others else ""


def _inner(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.rstrip("\n").replace("\n", "\n  ")


def _bold(text: str) -> str:
    is_styled = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Styled(f"\x1b[1m{in_a_line(text)}\x1b[0m") if is_styled else text
