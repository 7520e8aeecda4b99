"""A file that is there as a whole or not at all, whatever interrupts its writing."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(name: str) -> Generator[Path]:
    """Yield where to write; what is written is moved to its name when the block ends well, else removed.

    A device or a pipe is written to as it is. Not for secrets: the file has the permissions of any new one.

    Args:
        name: The file.
    """
    path = Path(name).resolve()
    if path.exists() and not path.is_file():
        yield path
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
