"""``Changes``: how a dataset differs from the one whose results are in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .._errors import DatasetError
from .._results.reading import KnownRow
from .dataset import Row

_ADVICE = (
    "Give the rows a column 'id', or values that can be pickled, and make of them what it takes in the evaluation."
)
_NOTHING: dict[int, KnownRow] = {}


class Changes:
    """How the dataset differs from the one whose results are in the store.

    Args:
        known: What is in the store of it.
    """

    def __init__(self, known: Iterable[KnownRow]) -> None:
        self.known: dict[str, dict[int, KnownRow]] = {}
        """What is in the store, by key and sample, and was not read yet."""
        for row in known:
            self.known.setdefault(row.key, {})[row.sample] = row
        self.first: int | None = None
        """The first row with other values."""
        self.others = 0
        """How many more there are."""
        self.unknown: set[str] = set()
        """The types of values that nothing tells from others."""

    def of(self, row: Row, epochs: int) -> Mapping[int, KnownRow]:
        """The samples that are known of a row that is read now, with the same values.

        Args:
            row: The row.
            epochs: How many samples count.
        """
        known = self.known.pop(row.inputs.key, _NOTHING)
        digest = row.inputs.digest
        same = {number: each for number, each in known.items() if each.digest == digest}
        if len(same) < len(known) and any(number <= epochs and number not in same for number in known):
            if self.first is None:
                self.first = row.number
            else:
                self.others += 1
        return same

    def check(self, row: Row, name: str) -> None:
        """A row whose result is kept is told from the others.

        Raises:
            DatasetError: Nothing tells it from one before, which would get its result where they change places.
        """
        if row.inputs.unknown and row.inputs.is_again:
            kinds = ", ".join(row.inputs.unknown)
            problem = f"nothing tells row {row.number} from one before it: it holds what has no lasting state ({kinds})"
            raise DatasetError(name, problem, _ADVICE, row.number)
        self.unknown.update(row.inputs.unknown)

    def warnings(self, name: str) -> list[str]:
        """What a user is told, when all has been read."""
        found: list[str] = []
        if self.unknown:
            kinds = ", ".join(sorted(self.unknown))
            found.append(
                f"Rows of '{name}' hold what has no lasting state ({kinds}): where such a value changes, the row's old "
                f"result is taken. {_ADVICE}"
            )
        if self.first is not None:
            more = f" and {self.others:,} more" if self.others else ""
            found.append(
                f"The dataset of '{name}' has changed since it was run: row {self.first}{more} had other values; only "
                "what has changed was run again. fresh=True, or --doteval-fresh in pytest, starts over."
            )
        if self.known:
            rows = f"{len(self.known):,} rows that were" if len(self.known) > 1 else "a row that was"
            found.append(
                f"The dataset of '{name}' has changed since it was run: the results of {rows} in it are removed."
            )
        return found
