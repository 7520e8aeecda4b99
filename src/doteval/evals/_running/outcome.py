"""``Outcome``: what has come of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, overload

from ... import CachedReplies
from .._errors import DatasetError, GateError, StoreError, TooManyErrorsError
from .._results.reading import Results, Stored
from .._results.record import Record
from .._results.statistics import Summary
from .._results.tables import scores_of, shown_interval, shown_mean, shown_score
from .abort import cause_of

_EXAMPLES = 3
_LOOKED_AT = 200
"""How many failures are looked at for these."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has come of an evaluation.

    Args:
        name: The evaluation's name.
        summary: What its rows say together.
        records: The rows, in the order of the dataset; those in a store are read when they are asked for.
        answered: Whether all of it was in the store already, so that nothing was run.
        known: How many rows, or samples of rows, were in the store already.
        calls: How often the evaluation was called now.
        wasted: How many of these calls failed and were made again.
        warnings: What is odd about the results.
        shortfalls: Which gates are not reached, and why.
        cache: What a cache of replies answered of what was asked now; `None` where none was used.
        origin: Where its dataset comes from: a file, if it is one.
    """

    name: str
    summary: Summary
    records: Sequence[Record] = field(repr=False)
    answered: bool = False
    known: int = 0
    calls: int = 0
    wasted: int = 0
    warnings: tuple[str, ...] = ()
    shortfalls: tuple[str, ...] = ()
    cache: CachedReplies | None = None
    origin: str = field(default="what makes the dataset", repr=False)

    def __doteval_identity__(self) -> Mapping[str, Any]:
        """What counts where another evaluation reads it: not how much of it was there already."""
        return {"name": self.name, "records": [*self.records], "shortfalls": self.shortfalls}

    def __str__(self) -> str:
        """What a person wants to know first: how many rows, and the mean of each score, with its interval."""
        summary = self.summary
        epochs = f" x {summary.epochs:,}" if summary.epochs > 1 else ""
        errors = "1 error" if summary.errors == 1 else f"{summary.errors:,} errors"
        lines = [f"{self.name}: {summary.rows:,} row{'' if summary.rows == 1 else 's'}{epochs}, {errors}"]
        for name, aggregate in scores_of(summary):
            interval = f" ({shown_interval(aggregate)})" if aggregate.has_interval else ""
            lines.append(f"  {shown_score(name)}: {shown_mean(aggregate)}{interval}")
        return "\n".join(lines + [f"  not reached: {each}" for each in self.shortfalls])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython shows where it is the last thing in a cell."""
        printer.text(str(self))

    @property
    def failed(self) -> Iterator[Record]:
        """The rows that raised."""
        return (record for record in self.records if record.failed)

    def check(self, max_errors: int = 0) -> None:
        """Raise where too many rows did, where there are none, or where a gate is not reached.

        Raises:
            TooManyErrorsError: More than `max_errors`.
            DatasetError: The dataset is empty.
            GateError: A score is not what it has to be.
        """
        if not self.summary.rows:
            advice = f"What evaluates nothing has not passed: look at {self.origin}."
            raise DatasetError(self.name, "it has no rows", advice)
        if self.summary.errors > max_errors:
            raise self.error(max_errors)
        if self.shortfalls:
            raise GateError(self.name, self.shortfalls)

    def error(self, max_errors: int) -> TooManyErrorsError:
        """What is to be raised where too many rows did, with some examples, none of which says the same as another."""
        examples: dict[str | None, str] = {}
        cause = ""
        for record in islice(self.failed, _LOOKED_AT):
            cause = cause or cause_of(record)
            examples.setdefault(record.error, record.example)
            if len(examples) == _EXAMPLES:
                break
        noun = "rows" if self.summary.epochs == 1 else "samples"
        summary, shown = self.summary, tuple(examples.values())
        return TooManyErrorsError(self.name, summary.errors, summary.samples, max_errors, shown, noun, cause)


@dataclass(frozen=True, slots=True)
class StoredRecords(Sequence[Record]):
    """The rows of an evaluation in a store; whoever asks for some reads them anew.

    Args:
        results: The store.
        evaluation: The evaluation.
        total: How many there are.
        last: The number of the one that was written last.
        place: What the store is called in messages.
    """

    results: Results
    evaluation: Stored
    total: int
    last: int
    place: str

    def __doteval_identity__(self) -> Mapping[str, Any]:
        """The rows, wherever they are kept."""
        return {"records": [*self]}

    def __len__(self) -> int:
        return self.total

    @overload
    def __getitem__(self, index: int, /) -> Record: ...

    @overload
    def __getitem__(self, index: slice, /) -> list[Record]: ...

    def __getitem__(self, index: int | slice, /) -> Record | list[Record]:
        places = range(self.total)[index]
        if isinstance(places, int):
            return next(self._read(places, places + 1))
        if not places:
            return []
        first, last = min(places[0], places[-1]), max(places[0], places[-1])
        found = [*self._read(first, last + 1)]
        return [found[place - first] for place in places]

    def __iter__(self) -> Iterator[Record]:
        return self._read(0, self.total)

    def __reversed__(self) -> Iterator[Record]:
        return reversed(self[:])

    def __contains__(self, value: object) -> bool:
        return any(value == record for record in self)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Where a record is.

        Raises:
            ValueError: It is none of these.
        """
        first, end, _ = slice(start, stop).indices(self.total)
        for place, record in enumerate(self._read(first, max(first, end)), first):
            if record == value:
                return place
        raise ValueError(f"{value!r} is none of the records")

    def count(self, value: Any) -> int:
        """How many times a record is there."""
        return sum(value == record for record in self)

    def _read(self, first: int, end: int) -> Iterator[Record]:
        """Those from one place on, up to another one.

        Raises:
            StoreError: They are not all there any more, as they were.
        """
        found = first
        for record in self.results.records(self.evaluation, first=first, most=end - first, until=self.last):
            if found == first:  # the places of all that is read were known before
                self._check()
            found += 1
            yield record
        if found < end:
            self._check()

    def _check(self) -> None:
        there = self.results.written_until(self.evaluation, self.last)
        if there < self.total:
            raise StoreError(
                self.place,
                f"has {there:,} of the {self.total:,} rows of '{self.evaluation.name}' that there were",
                "It was deleted, or another run has changed it or started over since: read records before that.",
            )
