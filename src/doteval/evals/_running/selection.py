"""Which rows of a dataset are run: all, the first ones, or a random sample."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

from .dataset import Row


@dataclass(frozen=True, slots=True)
class Selection:
    """Some rows of a dataset, in its order. With both, the sample is drawn from the first ones.

    Args:
        limit: How many of the first ones; `None` for all.
        sample: How many of these, drawn at random without repetition; `None` for all.
        seed: Chooses the sample: the same dataset and seed give the same one.

    Raises:
        ValueError: A number is less than 1.
    """

    limit: int | None = None
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("sample", self.sample)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")

    @property
    def suffix(self) -> str:
        """What stands behind the name of an evaluation, so that nobody takes some rows for all."""
        first = "" if self.limit is None else f"first {self.limit}"
        drawn = "" if self.sample is None else f"{self.sample} of {first or 'all'}, seed {self.seed}"
        return f" ({drawn or first})" if drawn or first else ""

    def size(self, total: int | None) -> int | None:
        """How many these are at most, as far as it is known; of `total`."""
        known = [number for number in (total, self.limit, self.sample) if number is not None]
        return None if total is None else min(known)

    def look(self, rows: Iterator[Row]) -> Iterator[Row]:
        """These rows."""
        first = islice(rows, self.limit)
        if self.sample is None:
            return first
        drawn = _Sample(self.sample, self.seed)
        for row in first:
            drawn.see(row)
        return drawn.rows()

    async def read(self, rows: AsyncIterator[Row]) -> AsyncGenerator[Row]:
        """The same, in an event loop; what is not needed is not read."""
        drawn = None if self.sample is None else _Sample(self.sample, self.seed)
        count = 0
        async for row in rows:
            count += 1
            if drawn is None:
                yield row
            else:
                drawn.see(row)
            if count == self.limit:
                break
        for row in () if drawn is None else drawn.rows():
            yield row


class _Sample:
    """Draws rows that come one after the other, each as probable as any other (reservoir sampling)."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._random = Random(seed)  # noqa: S311 - it has to be the same again
        self._seen = 0
        self._drawn: list[Row] = []

    def see(self, row: Row) -> None:
        """One more."""
        self._seen += 1
        if len(self._drawn) < self._size:
            self._drawn.append(row)
            return
        place = self._random.randrange(self._seen)
        if place < self._size:
            self._drawn[place] = row

    def rows(self) -> Iterator[Row]:
        """What was drawn, in the order of the dataset."""
        for number, row in enumerate(sorted(self._drawn, key=lambda row: row.number)):
            row.inputs.number = number
            yield replace(row, number=number)
