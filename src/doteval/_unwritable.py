"""Why nothing can be written to a file, where a database only says that it cannot be opened."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def why_unwritable(path: Path) -> str | None:
    """Why nothing can be written to a file, as half a sentence; `None` where nothing is in the way of that.

    Args:
        path: The file; it, its directory or more of that may be missing.
    """
    with suppress(OSError):  # where nobody may even look, whoever asks has an error that says so
        for place in _places(Path(os.path.realpath(path)) if path.is_symlink() else path.absolute()):
            if not _may(place, os.W_OK):
                is_read_only = hasattr(os, "statvfs") and bool(os.statvfs(place).f_flag & os.ST_RDONLY)
                return f"{place} is read-only" if is_read_only else f"{place} may not be written by this user"
    return None


def may_read(path: Path) -> bool:
    """Whether a file may be read, or is not there."""
    try:
        return not path.exists() or _may(path, os.R_OK)
    except OSError:
        return False


def largest_file() -> int | None:
    """How many bytes a file may have that this process writes, as with ``ulimit -f``; `None` where that is not said."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def most_open_files() -> str | None:
    """How many files this process may have open, where it has so many; `None` where it may open more."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        if exc.errno not in (errno.EMFILE, errno.ENFILE):
            return None
    else:
        return None
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return "too many"
    return f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,}"


def _places(path: Path) -> Iterator[Path]:
    """The file, and the directory in which it, or what leads to that, is made."""
    if path.exists():
        yield path
    yield next(parent for parent in path.parents if parent.exists())


def _may(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)
