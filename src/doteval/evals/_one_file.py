"""A file that is read slowly, while rows are run, and may be written meanwhile: what was read of it is of one file."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path

from ._errors import DatasetError

_AT_ONCE = 2**20
"""How much is read at once, in bytes."""


class OneFile(io.BufferedIOBase):
    """Reads a file as bytes, as long as that is still the one that was opened, with what was added to it.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read.
        DatasetError: It was written anew in its place after a part of it was read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._as_it_was: tuple[int, int, int] = self._looks()
        status = os.fstat(self._file.fileno())
        self._size, self._is_regular = status.st_size, stat.S_ISREG(status.st_mode)  # a pipe cannot be read again
        self._digest = hashlib.blake2b()
        self._length = 0
        """How much of it was read, in bytes."""
        self._last = b""
        """What was read last."""
        self._checked = 0
        """How much of it was read when all of that was looked at again."""
        self._is_unsure = False
        """Whether it has changed since then."""
        self._left = b""

    def read1(self, size: int = -1, /) -> bytes:
        """Some of it; nothing at its end."""
        if not self._left:
            self._left = self._more()
        size = len(self._left) if size < 0 else size
        found, self._left = self._left[:size], self._left[size:]
        return found

    def read(self, size: int | None = -1, /) -> bytes:
        """As `read1`, all of it where no size is given."""
        if size is not None and size >= 0:
            return self.read1(size)
        return b"".join(iter(self.read1, b""))

    def readable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close it."""
        self._file.close()
        super().close()

    def _more(self) -> bytes:
        found = self._file.read(_AT_ONCE) or b""
        looks, is_end = self._looks(), not found
        was_whole = is_end and self._length >= self._size
        is_other = (looks != self._as_it_was and not was_whole) or (is_end and self._is_unsure)
        if is_other and self._length and self._is_regular and not self._is_still_there(is_end):
            raise DatasetError(
                "",
                f"{self._path} was written anew while its rows were run, which are of two files now",
                "Run it again: what is there already costs nothing. Do not write over a file that is in use; put "
                "another one in its place, as mv does.",
            )
        self._as_it_was, self._size = looks, os.fstat(self._file.fileno()).st_size
        self._digest.update(found)
        self._length += len(found)
        self._last = found or self._last
        return found

    def _is_still_there(self, is_end: bool) -> bool:
        """Whether what was read is there; of a file that grows, mostly only what was read last, and all in the end."""
        self._is_unsure = not is_end and self._length < 2 * self._checked
        if self._is_unsure:
            return os.pread(self._file.fileno(), len(self._last), self._length - len(self._last)) == self._last
        self._checked = self._length
        return self._digest_now() == self._digest.digest()

    def _looks(self) -> tuple[int, int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _digest_now(self) -> bytes:
        """That of as much as was read, as it is now."""
        digest, place = hashlib.blake2b(), 0
        while place < self._length:
            part = os.pread(self._file.fileno(), min(_AT_ONCE, self._length - place), place)
            if not part:
                break
            digest.update(part)
            place += len(part)
        return digest.digest()
