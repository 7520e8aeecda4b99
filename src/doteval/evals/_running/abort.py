"""Ends an evaluation that cannot pass any more, and whose rows all fail in the same way."""

from __future__ import annotations

import re

from .._errors import EvaluationAbortedError
from .._results.record import Record

_NUMBERS = re.compile(r"[0-9]+")
_COMPARED = 200
"""How many characters of an error tell it from another; what follows is mostly about the row."""


def cause_of(record: Record) -> str:
    """What went wrong, in a line."""
    return (record.error or "").partition("\n")[0]


class Abort:
    """Sees rows as they are done.

    Args:
        evaluation: The evaluation's name, for the message.
        after: After how many rows one after the other that have failed alike; 0: never.
        max_errors: How many rows may fail.
    """

    def __init__(self, evaluation: str, after: int, max_errors: int) -> None:
        self._evaluation = evaluation
        self._after = after
        self._max_errors = max_errors
        self._kind: str | None = None
        self._alike: set[str] = set()

    def check(self, record: Record, done: int, errors: int) -> None:
        """See one more.

        Args:
            record: What came of it.
            done: How many are done.
            errors: How many of them failed.

        Raises:
            EvaluationAbortedError: It is enough.
        """
        kind = None if record.error is None else _NUMBERS.sub("0", record.error[:_COMPARED])
        if kind != self._kind:
            self._kind = kind
            self._alike.clear()
        if kind is None:
            return
        self._alike.add(record.key)  # samples of one row, which fail for its own reasons, are no more than one
        alike = len(self._alike)
        if errors > self._max_errors and 0 < self._after <= alike:
            allowed, cause = self._max_errors, cause_of(record)
            raise EvaluationAbortedError(self._evaluation, errors, done, allowed, record.example, alike, cause)
