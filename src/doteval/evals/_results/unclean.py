"""Whether the log that a killed process has left beside a store belongs to it, before SQLite merges the two.

SQLite takes the log for what the file lacks, also where a backup was put in the place of the file. Whoever is the last
to close it, a reader as well, writes the one into the other.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path

from ..._database_files import log_of

_Moments = tuple[int, int]


class Unclean:
    """What is left beside one file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fine: _Moments | None = None
        """When file and log were changed, as they belonged together."""

    def is_damaged(self, patience: float) -> bool:
        """Whether the two do not make one database; changes nothing.

        All of it is read only where the file was changed after the log. Else nobody has put another in its place.

        Args:
            patience: How long to wait for others, in seconds.
        """
        moments = self._moments()
        if moments is None or moments[0] <= moments[1] or moments == self._fine:
            return False
        try:
            with self._opened("", patience) as connection:
                is_whole = connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
                is_whole = is_whole and (not _has_orphans(connection) or self._has_orphans_without_log())
        except sqlite3.DatabaseError as exc:
            return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT
        if is_whole:
            self._fine = moments
        return not is_whole

    def _has_orphans_without_log(self) -> bool:
        """Whether somebody has removed evaluations without their rows, as other programs do that ask for no more."""
        try:
            with self._opened("&immutable=1") as connection:
                return _has_orphans(connection)
        except sqlite3.DatabaseError:  # the log has what it lacks
            return True

    def _opened(self, how: str, patience: float = 0) -> AbstractContextManager[sqlite3.Connection]:
        """Open it; who may not write does not merge them at the end."""
        return closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro{how}", patience, uri=True))

    def _moments(self) -> _Moments | None:
        """When the file and its log were changed last; `None` where nothing is in a log."""
        with suppress(OSError):
            log = log_of(self._path).stat()
            if log.st_size:
                file = self._path.stat()  # a copy may be given the time of what it is of, but not that of its change
                return max(file.st_mtime_ns, file.st_ctime_ns), log.st_mtime_ns
        return None


def _has_orphans(connection: sqlite3.Connection) -> bool:
    """Whether there are rows without their evaluation."""
    return connection.execute("PRAGMA foreign_key_check").fetchone() is not None
