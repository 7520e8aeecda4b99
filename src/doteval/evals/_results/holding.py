"""``Holding``: which evaluations the runs that write to a store have claimed, until nothing more of them is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from . import claims


class Holding:
    """The claims of one store.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._claims: dict[int, str] = {}
        self._left: set[str] = set()
        """Those of runs that are over, of which something is still to be written."""
        self._written: list[str] = []
        """Those of them of which the last is in the transaction that goes on."""
        self.lost: set[int] = set()
        """The evaluations that somebody else has thrown away, or taken over."""

    def __bool__(self) -> bool:
        return bool(self._claims)

    def has(self, evaluation: int, claim: str) -> None:
        """A run has begun."""
        self._claims[evaluation] = claim
        self.lost.discard(evaluation)

    def of(self, evaluation: int) -> str | None:
        """The claim of the run that goes on; `None` where none does."""
        return self._claims.get(evaluation)

    def leave(self, evaluation: int) -> str | None:
        """A run is over, and what was given to be written of it is not yet written; its claim, if it had one."""
        claim = self._claims.pop(evaluation, None)
        if claim is not None:
            claims.leave(claim, self._path)
            self._left.add(claim)
        return claim

    def is_held(self, connection: sqlite3.Connection, evaluation: int, claim: str | None) -> bool:
        """Whether a run still has its evaluation; it is remembered where it has not."""
        found = connection.execute("SELECT 1 FROM evaluations WHERE id = ? AND run = ?", (evaluation, claim))
        if found.fetchone():
            return True
        self.lost.add(evaluation)
        return False

    def begin_to_write(self) -> None:
        """A transaction begins."""
        self._written.clear()

    def is_written(self, claim: str) -> None:
        """Nothing comes of a run after what is in the transaction that goes on."""
        self._written.append(claim)

    def committed(self) -> None:
        """The transaction is."""
        self.drop(self._written)

    def drop(self, left: Iterable[str] | None = None) -> None:
        """Nothing more is written of runs that are over; of all of them, where none are named."""
        for claim in [*self._left] if left is None else [*left]:
            claims.drop(claim)
            self._left.discard(claim)

    def forget(self) -> None:
        """This is a forked child, which has none of these runs."""
        self._claims.clear()
        self._left.clear()
