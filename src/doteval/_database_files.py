"""The files that SQLite has of a database: it makes the others beside the file that links lead to."""

from __future__ import annotations

import os
from pathlib import Path

_OTHERS = ("-wal", "-shm", "-journal")


def log_of(path: Path) -> Path:
    """Where SQLite keeps what is written to a database and not in its file yet."""
    return Path(f"{os.path.realpath(path)}-wal")


def what_is_left_beside(path: Path) -> Path | None:
    """What holds some of the database as well, since a process was killed or while one writes; `None`: nothing does.

    Raises:
        OSError: It cannot be found out.
    """
    logs = (log_of(path), Path(f"{os.path.realpath(path)}-journal"))
    return next((log for log in logs if log.exists() and log.stat().st_size > 0), None)


def files_of(path: Path) -> set[str]:
    """All that may be there of a database, as it is named and where links lead to."""
    places = {os.path.abspath(path), os.path.realpath(path)}  # noqa: PTH100
    return {f"{place}{other}" for place in places for other in ("", *_OTHERS)}
