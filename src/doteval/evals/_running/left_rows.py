"""What rows were before the evaluation wrote into them: in the same process they are known by that.

A row may be an object, such as a data class, into which the evaluation puts its reply. That is the same object when the
dataset is read again, and would be another row. Containers are copied for each attempt, and so are as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from .._digests import Fingerprint
from .._identity.looks import ATOMS, class_of

_left: dict[tuple[str, str, tuple[int, ...]], tuple[str, tuple[object, ...]]] = {}
"""What rows were known by before, and their objects: by the evaluation, what they are known by now, and the numbers of
these objects."""
_MOST_LEFT = 100_000
_DEEPEST = 4
_CONTAINERS = (list, tuple, set, frozenset)


def objects_in(value: Any, depth: int = _DEEPEST) -> Iterator[object]:
    """What is in a value that is no copy where a row has it; of what is nested deep, that."""
    kind = class_of(value)
    if kind in ATOMS:
        return
    if depth and (kind in _CONTAINERS or kind is dict):
        for each in cast("dict[Any, Any]", value).values() if kind is dict else value:
            yield from objects_in(each, depth - 1)
    else:
        yield value


def note_what_is_left(evaluation: str, values: Mapping[str, Any], before: str, after: str) -> None:
    """Note what a row of this process is known by after an attempt, where that is something else.

    Args:
        evaluation: Whose row it is. Another evaluation may be about what this one has written.
        values: The values of the row.
        before: What it was known by.
        after: What it is known by now.
    """
    if before != after:
        _left[evaluation, after, _numbers(values)] = before, (*objects_in((*values.values(),)),)
    while len(_left) > _MOST_LEFT:
        del _left[next(iter(_left))]


def as_it_began(evaluation: str, values: Mapping[str, Any], now: Fingerprint) -> Fingerprint:
    """What a row is known by, as it was before runs of an evaluation in this process have written into it."""
    before = _left.get((evaluation, now.digest, _numbers(values))) if _left else None
    return now if before is None else Fingerprint(before[0], now.unknown)


def _numbers(values: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(sorted(map(id, objects_in((*values.values(),)))))
