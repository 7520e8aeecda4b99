"""Whether somebody has written another store over the file of one while results are written to it.

What is committed is in the log first. SQLite takes it from there to the file at times, and nobody else may write to
that. So the file itself, seen without the log, has counters that only grow: those of the numbers that rows and
evaluations had last. In a copy that was made before, they are smaller.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

_QUIET = 0.1
"""For how long nothing is written to a file that SQLite is not about to write more to, in seconds."""

_NO_STORE = (-1, -1)


class Seen(NamedTuple):
    """The file when it was looked at.

    Args:
        written: When it was last written to, and its size: while they stay, so does all else.
        counters: What only grows.
    """

    written: tuple[int, int]
    counters: tuple[int, int]


def expected(evaluations: int) -> Seen:
    """What has to be seen where that many evaluations were entered."""
    return Seen((-1, -1), (evaluations, 0))


def seen(path: Path, patience: float, before: Seen) -> Seen | None:
    """The file as it is now; `None` where somebody has written over it.

    Args:
        path: The file.
        patience: How long to wait for who writes to it just now, in seconds.
        before: As it was, or what is expected.

    Raises:
        OSError: It is not there.
    """
    deadline = time.monotonic() + patience
    while True:
        written = _written(path)
        if written == before.written:
            return before
        counters = _counters(path)
        if counters is not None and all(map(int.__ge__, counters, before.counters)):
            return Seen(written, counters)
        # SQLite may be at it: it has written some pages, and not yet others.
        time.sleep(_QUIET)
        if _written(path) == written or time.monotonic() > deadline:
            # Who was killed or stopped meanwhile leaves a file that cannot be read without its log, and is no other.
            return before if counters is None else None


def _written(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _counters(path: Path) -> tuple[int, int] | None:
    """Those of the file without its log; `None` where it is a store in parts, and not as a whole."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            found = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    except sqlite3.DatabaseError as exc:
        return None if getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT else _NO_STORE
    return found.get("evaluations", 0), found.get("rows", 0)
