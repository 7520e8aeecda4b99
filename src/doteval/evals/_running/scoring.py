"""Calls a scorer with what is kept of a row, where that is what the row was."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .._result import EVALUATION
from .._results.kept import column, output_of
from .._results.record import Record, base_of
from .dataset import Row, fresh

Scorer: TypeAlias = Callable[..., Any]
"""A function that gives an output its scores; see `rescore`."""

_KINDS = inspect.Parameter


class ScorerCalls:
    """Makes the calls of a scorer, whose arguments say what it wants.

    Args:
        scorer: What is called.
        failed: Whether rows that have failed are scored.
        rows: The rows of the dataset, by what `known_by` says of them; `None` where it was not given again.
    """

    def __init__(self, scorer: Scorer, *, failed: bool, rows: Mapping[str, Row] | None) -> None:
        self.name: str = getattr(scorer, "__name__", type(scorer).__name__)
        self._scorer, self._failed, self._rows = scorer, failed, rows
        self._parameters = inspect.signature(scorer).parameters
        for parameter in self._parameters.values():
            if parameter.kind is _KINDS.VAR_POSITIONAL:
                raise TypeError(
                    f"{self.name}() takes '*{parameter.name}', and a scorer is called with what its arguments are "
                    "named after: name them"
                )

    def of(self, record: Record) -> Callable[[], Any] | None:
        """The call that scores a row, for one attempt; `None` where that stays as it is.

        Raises:
            TypeError: The scorer takes what there is not, or what was not kept as it was.
        """
        if record.failed and not (self._failed and record.output is not None):
            return None
        row = None if self._rows is None else self._rows.get(known_by(record.key, record.digest))
        columns = {**fresh(record.inputs), **({} if row is None else row.fresh_values())}
        known = {"record": record, "prompt": record.prompt, "metadata": record.metadata or {}, **columns}
        known["output"] = output_of(record.output, record.reply)
        wanted = self._wanted(record, known)
        for name in wanted:
            is_column = name in record.inputs and name != "output"
            if is_column and self._rows is not None:
                if row is None:
                    raise self._not_in_dataset(record, name)
            elif (column(name) if is_column else name) in record.altered:
                raise self._not_as_it_was(record, name, is_column=is_column)
        first = [name for name in wanted if self._is_given_by_place(name)]
        return lambda: self._scorer(
            *(known[name] for name in first), **{name: known[name] for name in wanted if name not in first}
        )

    def _wanted(self, record: Record, known: Mapping[str, Any]) -> list[str]:
        """What the scorer is given.

        Raises:
            TypeError: It takes what there is not.
        """
        parameters = self._parameters
        missing = [
            name
            for name, parameter in parameters.items()
            if name not in known and parameter.default is _KINDS.empty and parameter.kind is not _KINDS.VAR_KEYWORD
        ]
        if missing:
            raise TypeError(
                f"{self.name}() takes '{missing[0]}', which '{EVALUATION.get()}' has not; it has: "
                f"{', '.join(sorted(known))}"
            )
        named = [name for name, parameter in parameters.items() if parameter.kind is not _KINDS.VAR_KEYWORD]
        takes_all = len(named) < len(parameters)
        return list(
            dict.fromkeys(name for name in (*named, *([*record.inputs, "output"] * takes_all)) if name in known)
        )

    def _is_given_by_place(self, name: str) -> bool:
        parameter = self._parameters.get(name)
        return parameter is not None and parameter.kind is _KINDS.POSITIONAL_ONLY

    def _not_in_dataset(self, record: Record, name: str) -> TypeError:
        """Another value would be that of another question than the one that was answered."""
        return TypeError(
            f"{self.name}() takes '{name}', and the dataset that was given has no such row as {record.place} of "
            f"'{EVALUATION.get()}' was, or one with other values: give that which was run, name only its evaluations "
            "(part=, or EXPERIMENT@PART), or take the 'record', where all is as it is kept. Where a reference was "
            "wrong, let the scorer look up the right one"
        )

    def _not_as_it_was(self, record: Record, name: str, *, is_column: bool) -> TypeError:
        if not is_column:
            advice = "Take the 'record', where it is as it is kept"
        else:
            advice = (
                "Give the evaluation, whose dataset has it (evaluation=, or --evaluation FILE.py:EVALUATION), or take "
                "the 'record', where it is as it is kept"
            )
        return TypeError(
            f"{self.name}() takes '{name}', of which '{EVALUATION.get()}' has in {record.place} only what JSON can "
            f"hold, and not what it was. {advice}"
        )


def known_by(key: str, digest: str) -> str:
    """What tells a row from all that are not equal to it, wherever it stands: its ``id`` and its values."""
    return f"{base_of(key)} {digest}"
