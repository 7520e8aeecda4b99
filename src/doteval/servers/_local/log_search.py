"""Looks through the whole log of a server for why it failed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from anyio.to_thread import run_sync

from .._description.causes import Cause
from .._description.diagnosis import Diagnosis, Examiner

MOST = 32 << 20
"""How much of a log is read, in bytes: half of it from its beginning, and half from its end."""
LAST = 1 << 16
"""How much of its end is read where the server was ready, in bytes."""
_PIECE = 1 << 18
_OVERLAP = 1 << 10


async def searched(log: str | os.PathLike[str], causes: Sequence[Cause]) -> Diagnosis | None:
    """What the log of a server that did not get ready says; `None` where it cannot be read.

    Args:
        log: The file; what is older is in the one with ``.1`` at its end.
        causes: What is known of such a server.
    """
    return await run_sync(_search, Path(log), Examiner(causes), MOST // 2, MOST // 2, abandon_on_cancel=True)


def searched_at_its_end(log: str | os.PathLike[str], causes: Sequence[Cause]) -> Diagnosis | None:
    """The same of a server that was ready, and without waiting: what has ended it is among the last that it printed."""
    return _search(Path(log), Examiner(causes, was_ready=True), 0, LAST)


def _search(log: Path, examiner: Examiner, first: int, last: int) -> Diagnosis | None:
    try:
        with ExitStack() as opened:
            files: list[BinaryIO] = []
            for path in (log.with_name(f"{log.name}.1"), log):
                with suppress(FileNotFoundError):
                    files.append(opened.enter_context(path.open("rb")))
            size = sum(os.fstat(file.fileno()).st_size for file in files)
            is_whole = len(files) == 1 and size <= first + last
            for lines in _lines(_pieces(files, first, size - last)):
                examiner.read(lines.decode("utf-8", "replace"))
    except OSError:
        return None
    if not files:
        return None
    return examiner.result() if is_whole else replace(examiner.result(), number=0)


def _pieces(files: Iterable[BinaryIO], until: int, since: int) -> Iterator[bytes]:
    """What files hold together, but for what is between two places in that."""
    place = 0
    for file in files:
        while piece := file.read(_PIECE):
            begin, place = place, place + len(piece)
            if begin < until or place > since:
                yield piece


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines; of one that is longer than a piece, parts that overlap and begin with a word."""
    rest = b""
    for piece in pieces:
        rest += piece
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > _PIECE:
            yield rest
            rest = rest[rest.rfind(b" ", 0, -_OVERLAP) + 1 :][-2 * _OVERLAP :]
    yield rest
