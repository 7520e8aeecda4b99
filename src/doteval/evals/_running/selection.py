"""Which rows of a dataset are run: all, the first ones, a random sample, or a single one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from heapq import heappop, heappush, nsmallest
from itertools import islice
from random import Random

from anyio.lowlevel import checkpoint

from .._errors import DatasetError
from .._results.record import keys_meant
from .checks import whole_number, whole_number_or_none
from .dataset import Row, Source, has_name, is_repeated

_AT_ONCE = 64
"""How many rows are told between two checkpoints."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Selection:
    """Some rows of a dataset, in its order. With both, the sample is drawn from the first ones.

    Args:
        limit: How many of the first ones; `None` for all.
        sample: How many of these, drawn at random without repetition; `None` for all.
        seed: Chooses the sample, and the order. The same rows and seed give the same sample, wherever they stand.
        row: The only one: what its column ``id`` holds, or else its number, counted from 0, or its key.
        shuffle: Whether they are run in an order that `seed` chooses, too. Which ones they are, and where they stand,
            does not depend on it; so it is no part of the name.

    Raises:
        ValueError: A number is less than 1 or none, or there is a row and something else.
    """

    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    row: str | None = None
    shuffle: bool = False

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("sample", self.sample)):
            object.__setattr__(self, name, whole_number_or_none(name, value, 1))
            if value is not None and self.row is not None:
                raise ValueError(f"one row is run, so there is no {name}: leave one of them out")
        object.__setattr__(self, "seed", whole_number("seed", self.seed, None))

    @property
    def suffix(self) -> str:
        """What stands behind the name of an evaluation, so that nobody takes some rows for all."""
        if self.row is not None:
            return f" (row {self.row})"
        first = "" if self.limit is None else f"first {self.limit}"
        drawn = "" if self.sample is None else f"{self.sample} of {first or 'all'}, seed {self.seed}"
        return f" ({drawn or first})" if drawn or first else ""

    def named(self, source: Source) -> Selection:
        """The same, its row called by its id, if it has one, and not by its number; so it has one name; blocks.

        Where the dataset cannot be read without an event loop, or not again afterwards, it is called as it is here.
        """
        with suppress(Exception):  # whoever runs it is told
            first = [] if self.row is None else self._looked(source)
            if len(first) == 1 and first[0].inputs.name not in (None, self.row):
                other = replace(self, row=first[0].inputs.name)
                if [row.number for row in other._looked(source)] == [first[0].number]:
                    return other
        return self

    def _looked(self, source: Source) -> list[Row]:
        rows = source.look()
        return [] if rows is None else [*self.look(rows)]

    def size(self, total: int | None) -> int | None:
        """How many these are at most, as far as it is known; of `total`."""
        if self.row is not None:
            return 1
        known = [number for number in (total, self.limit, self.sample) if number is not None]
        return None if total is None else min(known)

    def look(self, rows: Iterator[Row]) -> Iterator[Row]:
        """These rows."""
        if self.row is not None:
            wanted = _Wanted(self.row)
            any(map(wanted.is_it, rows))
            return wanted.rows()
        first = islice(rows, self.limit)
        if self.sample is None:
            return first
        drawn = _Sample(self.sample, self.seed)
        for row in first:
            drawn.see(row)
        return drawn.rows()

    async def read(self, rows: AsyncIterator[Row], evaluation: str) -> AsyncGenerator[Row]:
        """The same in an event loop, in the order in which they are run; what is not needed is not read.

        Args:
            rows: All rows.
            evaluation: The evaluation's name, for messages.

        Raises:
            DatasetError: There are several rows that the only one may be.
        """
        if not self.shuffle:
            async with aclosing(self._read(rows, evaluation)) as chosen:
                async for row in chosen:
                    yield row
            return
        async with aclosing(self._read(rows, evaluation)) as chosen:
            shuffled = [row async for row in chosen]
        Random(self.seed).shuffle(shuffled)  # noqa: S311 - it has to be the same again
        for place, row in enumerate(shuffled):
            if place % _AT_ONCE == 0:
                await checkpoint()
            yield row

    async def _read(self, rows: AsyncIterator[Row], evaluation: str) -> AsyncGenerator[Row]:
        drawn = None if self.sample is None else _Sample(self.sample, self.seed)
        wanted = None if self.row is None else _Wanted(self.row)
        count = 0
        async for row in rows:
            count += 1
            if wanted is not None:
                if wanted.is_it(row):
                    break
                continue
            if drawn is None:
                yield row
            else:
                drawn.see(row)
            if count == self.limit:
                break
        if wanted is not None:
            wanted.check(evaluation)
        for chosen in (drawn, wanted):
            for row in () if chosen is None else chosen.rows():
                yield row


class _Wanted:
    """Finds one row. One whose column ``id`` holds what is wanted goes before the one of that number."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._keys = keys_meant(text)
        self._number = -1
        with suppress(ValueError):
            self._number = int(text)
        self._named: list[Row] = []
        self._numbered: Row | None = None

    def is_it(self, row: Row) -> bool:
        """Look at one more; whether it is the one, and there is no need to look at others."""
        key = row.inputs.key
        if key == self._text:
            self._named = [row]
            return True
        if row.inputs.base in self._keys:
            self._named.append(row)
            return False
        if row.number != self._number:
            return False
        self._numbered = row
        return not has_name(row.inputs)

    def check(self, evaluation: str) -> None:
        """It is one.

        Raises:
            DatasetError: Several rows have an id that reads so, or the same one.
        """
        if len(self._named) > 1:
            which = ", ".join(f"{row.number} (key '{row.inputs.key}')" for row in self._named[:_SHOWN])
            more = f", and {len(self._named) - _SHOWN:,} more" if len(self._named) > _SHOWN else ""
            problem = f"{len(self._named):,} rows may be meant by {self._text!r}: {which}{more}"
            raise DatasetError(evaluation, problem, "Name one by its key.")

    def rows(self) -> Iterator[Row]:
        """It, if it is there; all that it may be."""
        yield from self._named or ([] if self._numbered is None else [self._numbered])


class _Sample:
    """Draws rows by what they are known by, and not by where they stand: the first in an order that the seed makes.

    So it is the same sample in any order of the dataset, a larger one has all of it, and a row more changes a row at
    most. A row whose ``id`` no other has stays in it whatever its values become.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._lowest: list[int] = []
        """The places, negated, of as many rows as are drawn: none of those comes later, whatever is seen of its id."""
        self._likely: list[tuple[Row, int, int]] = []
        """The rows that may be drawn, with their places where no other row has the id, and where one has."""
        self._repeated: set[str] = set()

    def see(self, row: Row) -> None:
        """One more."""
        inputs = row.inputs
        alone = together = self._place(f"{inputs.base} {inputs.digest} {inputs.again}")
        if is_repeated(inputs):
            self._repeated.add(inputs.base)
        elif has_name(inputs):
            alone = self._place(inputs.base)
        heappush(self._lowest, -max(alone, together))
        if len(self._lowest) > self._size:
            heappop(self._lowest)
        if len(self._lowest) < self._size or min(alone, together) <= -self._lowest[0]:
            self._likely.append((row, alone, together))

    def _place(self, known_by: str) -> int:
        """In that order."""
        return int.from_bytes(blake2b(f"{self._seed} {known_by}".encode(), digest_size=8).digest())

    def rows(self) -> Iterator[Row]:
        """What was drawn, in the order of the dataset."""

        def place(likely: tuple[Row, int, int]) -> int:
            row, alone, together = likely
            return together if row.inputs.base in self._repeated else alone

        drawn = (row for row, *_ in nsmallest(self._size, self._likely, place))
        for number, row in enumerate(sorted(drawn, key=lambda row: row.number)):
            row.inputs.number = number
            yield replace(row, number=number)
