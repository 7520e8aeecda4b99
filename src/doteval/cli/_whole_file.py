"""A file that is there as a whole or not at all, whatever interrupts its writing."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from .._errors import DotevalError
from ._problem import Problem
from ._signals import ended_by_signals

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What is wrong with the disk, and not with the name of the file."""


@contextmanager
def whole_file(name: str) -> Generator[Path]:
    """Yield where to write; what is written is moved to its name when the block ends well, else removed.

    So it is, too, where a signal ends it that may be handled.

    A device or a pipe is written to as it is. Not for secrets: the file has the permissions of any new one.

    Args:
        name: The file.

    Raises:
        Problem: It cannot be written.
    """
    try:
        with ended_by_signals(), _whole_file(Path(name).resolve()) as path:
            yield path
    except (BrokenPipeError, DotevalError):
        raise
    except OSError as exc:
        code = 1 if exc.errno in _NO_ROOM else 2
        raise Problem(f"{name} cannot be written: {exc.strerror or exc}; name another file with -o", code) from exc


@contextmanager
def _whole_file(path: Path) -> Generator[Path]:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        yield path
        return
    part = path.with_name(f"{path.name[:200]}.{os.getpid()}.part")
    try:
        part.touch()  # so that what is wrong with the place is found out before all is read
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):  # it was never there, and says so by itself
            part.unlink()
