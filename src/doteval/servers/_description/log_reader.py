"""``LogReader``: reads the log of a server while that is being written and rotated."""

from __future__ import annotations

import codecs
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 18


class LogReader:
    """Reads a log on and on, also when it is rotated: ``server.log`` becomes ``server.log.1`` and begins anew.

    The file that is being read stays open. So its inode is not given to another one, which tells them apart.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rotated = path.with_name(f"{path.name}.1")
        self._files: list[BinaryIO] = []  # oldest first; all but the last one are complete
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def close(self) -> None:
        """Close what is open."""
        for file in self._files:
            file.close()

    def read(self) -> str:
        """The next piece; nothing where nothing is new."""
        while True:
            if not self._files and not self._open_newer():
                return ""
            file = self._files[0]
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)  # it was emptied
            if piece := file.read(_CHUNK):
                if text := self._decoder.decode(piece):
                    return text
            elif len(self._files) > 1:
                self._files.pop(0).close()
            elif not self._open_newer():
                return ""
            # else: look once more at the old one, as it could be written until it was rotated

    def _open_newer(self) -> bool:
        """Open what came after the file that is being read: the log, and a rotated one that was missed as a whole."""
        known = [_identity(file) for file in self._files]
        with suppress(FileNotFoundError):  # nothing is printed yet, or it is being rotated at this moment
            self._add(self._path, known, len(self._files))
        # In this order none between the two can be missed.
        if len(self._files) > len(known):
            with suppress(FileNotFoundError):
                self._add(self._rotated, [*known, _identity(self._files[-1])], len(known))
        return len(self._files) > len(known)

    def _add(self, path: Path, known: list[tuple[int, int]], index: int) -> None:
        file = path.open("rb", buffering=0)
        if _identity(file) in known:
            file.close()
        else:
            self._files.insert(index, file)


def _identity(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino
