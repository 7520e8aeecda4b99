"""Rows as a page holds them: for each evaluation an *index*, by columns, and the *details* of every row, by blocks.

The index has what a list of rows is filtered, sorted and grouped by, and the beginnings of texts. The details have all
that is kept, a JSON object a line, and are only unpacked where somebody looks. Both are compressed and written in
base64, so nothing that a model said can end the element it stands in; and both are made as the rows are read, so that
no more than a block of them is in memory.
"""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, cast

from .pricing import Prices
from .record import Record
from .transcript import RecordedRequest

INDEX_ROWS = 4096
"""How many rows a block of an index has at most."""
FIRST_ROWS = 128
"""How many the first one has, which is not packed: these are shown before a browser has read the rest of the file."""
_DETAIL_ROWS = 512
_DETAIL_SIZE = 1 << 20
"""With how many characters of details a block is full."""
_BEGINNING = 90
_LONGEST_VALUE = 60
_MOST_VALUES = 200
"""How many different values a column may have for rows to be grouped by it."""
_MOST_COLUMNS = 24
_EXACT = 2**53
_LONG_NUMBER = re.compile(r"[:,\[]-?\d{16}")
_COLUMNS = (
    *("number", "key", "sample", "digest", "input", "output", "failed", "seconds", "tokens", "attempts", "unknown"),
    *("cost", "cost_unknown"),
)
_FIELDS = [field.name for field in fields(Record)]
_REQUEST_FIELDS = [field.name for field in fields(RecordedRequest)]
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def details_of(record: Record, transcript: str = "") -> dict[str, Any]:
    """All that is kept of a row, as JSON holds it.

    Args:
        record: The row.
        transcript: The requests that were made in it, as they are kept: what several have is there once.
    """
    values: dict[str, Any] = {name: getattr(record, name) for name in _FIELDS}
    return values | {
        "usage_by_model": [usage._asdict() for usage in record.usage_by_model],
        "altered": [*record.altered],
        "transcript": json.loads(transcript) if transcript else None,
    }


def request_for_json(request: RecordedRequest) -> dict[str, Any]:
    """A request that was kept, as JSON holds it."""
    values: dict[str, Any] = {name: getattr(request, name) for name in _REQUEST_FIELDS}
    return values | {"usage": None if request.usage is None else asdict(request.usage)}


def line_of(values: Mapping[str, Any]) -> str:
    """A JSON object in one line, whose numbers a browser reads as they are: too long ones are texts."""
    text = _encode(values)
    return _encode(_exact(values)) if _LONG_NUMBER.search(text) else text


def _exact(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_EXACT <= value <= _EXACT else str(value)
    if isinstance(value, Mapping):
        return {name: _exact(each) for name, each in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_exact(each) for each in cast("list[Any]", value)]
    return value


def packed(text: str) -> str:
    """A text, compressed, in letters that mean nothing in HTML."""
    return b64encode(zlib.compress(text.encode("utf-8", "backslashreplace"), 5)).decode("ascii")


def unpacked(block: str) -> str:
    """The text of a block."""
    return zlib.decompress(b64decode(block)).decode("utf-8")


class Index:
    """Makes the blocks of an index; remembers by which columns rows can be grouped.

    Args:
        prices: What tokens cost; where nothing is known, there is no cost.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._columns = _COLUMNS if prices else _COLUMNS[:-2]
        self._rows: list[tuple[Any, ...]] = []
        self._scores: list[Mapping[str, Any]] = []
        self._groups: list[dict[str, Any]] = []
        self._values: dict[str, set[Any]] = {}
        self._dropped: set[str] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, record: Record) -> None:
        """One row more; nothing long of it is kept."""
        row = (
            record.number,
            record.key,
            record.sample,
            None if record.digest == record.key else record.digest,
            _beginning_of(record.inputs),
            _beginning(record.error if record.failed else record.output),
            int(record.failed),
            float(f"{record.seconds:.4g}"),
            _tokens(record),
            record.attempts,
            int(any(usage.unknown for usage in record.usage_by_model)),
        )
        cost = self._prices.cost(record.usage_by_model)
        self._rows.append((*row, cost.amount, int(not cost.is_all)) if self._prices else row)
        self._scores.append(record.scores or {})
        kinds = ("", record.inputs), ("metadata ", record.metadata or {})
        named = ((f"{kind}{name}", value) for kind, values in kinds for name, value in values.items())
        self._groups.append({name: value for name, value in named if value is not None and self._is_group(name, value)})

    def take(self) -> dict[str, Any]:
        """The columns of the rows that were added since the last time."""
        columns: dict[str, Any] = {name: [row[place] for row in self._rows] for place, name in enumerate(self._columns)}
        columns["scores"] = _by_column(self._scores)
        columns["groups"] = {
            name: values for name, values in _by_column(self._groups).items() if name not in self._dropped
        }
        columns["dropped"] = sorted(self._dropped)
        self._rows, self._scores, self._groups = [], [], []
        return columns

    def _is_group(self, column: str, value: Any) -> bool:
        if column in self._dropped or len(column) > _LONGEST_VALUE:
            return False
        is_short = isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= _LONGEST_VALUE)
        known = self._values.get(column)
        if known is None:
            if not is_short or len(self._values) == _MOST_COLUMNS:
                return False
            known = self._values[column] = set()
        known.add(value if is_short else None)
        if not is_short or len(known) > _MOST_VALUES:
            self._dropped.add(column)
            known.clear()
            return False
        return True


class Details:
    """Gathers the lines of details that become a block."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._size = 0

    def add(self, record: Record, transcript: str) -> None:
        """One row more, and the requests that were made in it, as they are kept."""
        self._lines.append(line_of(details_of(record, transcript)))
        self._size += len(self._lines[-1])

    @property
    def is_full(self) -> bool:
        """Whether that is enough for a block."""
        return len(self._lines) >= _DETAIL_ROWS or self._size >= _DETAIL_SIZE

    def take(self) -> tuple[int, str]:
        """How many lines were added since the last time, and their text."""
        lines, self._lines, self._size = self._lines, [], 0
        return len(lines), "\n".join(lines)


def _by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _beginning_of(inputs: Mapping[str, Any]) -> str | None:
    """The beginning of a row's values: the first one, and the others with their names."""
    if len(inputs) < 2:
        return _beginning(next(iter(inputs.values()), None))
    first, *others = inputs.items()
    return _beginning(" · ".join([_part(first[1]), *(f"{name}: {_part(each)}" for name, each in others)]))


def _beginning(value: Any) -> str | None:
    """The beginning of a value, in one line."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        text = ", ".join(f"{name}: {_part(each)}" for name, each in cast("Mapping[str, Any]", value).items())
    else:
        text = _part(value)
    line = " ".join(text.split())
    return line if len(line) <= _BEGINNING else f"{line[: _BEGINNING - 1]}…"


def _part(value: Any) -> str:
    return value[: 4 * _BEGINNING] if isinstance(value, str) else _encode(value)[:_BEGINNING]


def _tokens(record: Record) -> int | None:
    if record.input_tokens is None and record.output_tokens is None:
        return None
    return (record.input_tokens or 0) + (record.output_tokens or 0)
