"""``Changes``: how a dataset differs from the one whose results are in the store."""

from __future__ import annotations

from collections.abc import Iterable

from .._results.reading import KnownRow


class Changes:
    """How the dataset differs from the one whose results are in the store.

    Args:
        known: What is in the store of it.
    """

    def __init__(self, known: Iterable[KnownRow]) -> None:
        self.known = {row.key: row for row in known}
        """What is in the store, by key, and was not read yet."""
        self.is_from_before = bool(self.known)
        self.first: int | None = None
        """The first row with other values."""
        self.others = 0
        """How many more there are."""

    def differs(self, number: int) -> None:
        """This row is known, and has other values."""
        if self.first is None:
            self.first = number
        else:
            self.others += 1

    def warnings(self, name: str) -> list[str]:
        """What a user is told, when all has been read."""
        found: list[str] = []
        if self.first is not None:
            more = f" and {self.others:,} more" if self.others else ""
            found.append(
                f"The dataset of '{name}' has changed since it was run: row {self.first}{more} had other values; only "
                "what has changed was run again. --doteval-fresh starts over."
            )
        if self.known:
            rows = f"{len(self.known):,} rows that were" if len(self.known) > 1 else "a row that was"
            found.append(
                f"The dataset of '{name}' has changed since it was run: the results of {rows} in it are removed."
            )
        return found
