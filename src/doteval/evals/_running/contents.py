"""What is in files: each is read once in a process, as long as it is as it was."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import ELOOP, ENOENT
from heapq import heappop, heappush, nlargest
from pathlib import Path

from .._results.declared import part_of_directory

_MOST = 200_000
"""Of how many files it is remembered what is in them."""
_SETTLED = 2.0
"""For how many seconds after it was written a file may be written again without anybody seeing it."""
_CACHED_CODE = "__pycache__"
_NEWEST = 3
_NO_FILE = "no file"

_known: dict[str, tuple[tuple[int, ...], str]] = {}
_first: dict[str, str] = {}
"""What was in files when this process looked at them first."""
_changed: dict[str, str] = {}
"""What is in those now that are others."""
_here = threading.local()


def is_reading() -> bool:
    """Whether this thread reads a file here, which is nobody else's business."""
    return getattr(_here, "reads", False)


@contextmanager
def reading() -> Generator[None]:
    """Files are read here."""
    _here.reads = True
    try:
        yield
    finally:
        _here.reads = False


def digest_of(path: str, status: os.stat_result | None = None) -> str:
    """A fingerprint of what is in a file; blocks.

    Args:
        path: The file.
        status: What it is like now, where that is known.

    Raises:
        OSError: It cannot be read.
    """
    state = _state_of(status or os.stat(path))  # noqa: PTH116 - there may be very many
    known = _known.get(path)
    if known is not None and known[0] == state:
        return known[1]
    with reading(), open(path, "rb") as file:  # noqa: PTH123
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:24]
        after = os.fstat(file.fileno())
    _note(path, digest)
    if state == _state_of(after) and time.time() - after.st_mtime > _SETTLED:
        if len(_known) >= _MOST:
            _known.clear()
        _known[path] = state, digest
    return digest


def _note(path: str, digest: str) -> None:
    first = _first.get(path)
    if first is None and len(_first) < _MOST:
        _first[path] = digest
    if first in (None, digest):
        _changed.pop(path, None)
    else:
        _changed[path] = digest


def changed_within(paths: Iterable[str]) -> list[tuple[str, str]]:
    """The files that were others when this process looked at them first, with what is in them now.

    Args:
        paths: The files, or directories in which they are.
    """
    within = tuple(f"{path.rstrip(os.sep)}{os.sep}" for path in paths)
    return [(path, digest) for path, digest in sorted(_changed.copy().items()) if f"{path}{os.sep}".startswith(within)]


def _state_of(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def directory_of(path: str, without: Iterable[str] = ()) -> str:
    """What is kept of a directory: names and contents of all its files, but for what is hidden; blocks.

    A link counts as what it leads to; of a directory that is there already, it counts which one that is.

    Args:
        path: The directory.
        without: The files that do not count.

    Raises:
        OSError: Something in it cannot be read.
    """
    files, written = dict[str, str](), dict[str, float]()
    for name, entry in _files_in(path, without):
        if isinstance(entry, str):
            files[name], written[name] = hashlib.sha256(os.fsencode(entry)).hexdigest()[:24], 0.0
            continue
        status = _status_of(entry)
        is_file = status is not None and stat.S_ISREG(status.st_mode)  # a pipe would wait for somebody
        files[name] = digest_of(entry.path, status) if is_file else _NO_FILE
        written[name] = 0.0 if status is None else status.st_mtime
    files = {name: files[name] for name in sorted(files)}
    whole = hashlib.sha256()
    for name, digest in files.items():
        whole.update(f"{name}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return part_of_directory(whole.hexdigest()[:24], files, nlargest(_NEWEST, written, key=written.__getitem__))


def _status_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What a file is like; nothing of a link that leads nowhere, or back to itself."""
    try:
        return entry.stat()
    except OSError as exc:
        if entry.is_symlink() and exc.errno in (ENOENT, ELOOP):
            return None
        raise


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself, or what says so when it is read
        return False


def _files_in(path: str, without: Iterable[str]) -> Iterator[tuple[str, os.DirEntry[str] | str]]:
    """Names and files; for a link to a directory that has another name already, that name. Links come last."""
    names: dict[tuple[int, int], str] = {}
    apart: dict[str, list[str]] = {}
    for each in without:
        apart.setdefault(os.path.basename(each), []).append(os.path.dirname(each))  # noqa: PTH119, PTH120
    left, links = [("", path)], list[tuple[str, str]]()
    while left or links:
        prefix, directory = left.pop() if left else heappop(links)
        here = _place_of(directory)
        if here in names:
            yield prefix, names[here]
            continue
        names[here] = prefix
        with os.scandir(directory) as entries:
            for entry in entries:
                if is_left_out(entry.name) or any(_is_at(each, here) for each in apart.get(entry.name, ())):
                    continue
                name = f"{prefix}{entry.name}"
                if not _is_directory(entry):
                    yield name, entry
                elif entry.is_symlink():
                    heappush(links, (f"{name}/", entry.path))
                else:
                    left.append((f"{name}/", entry.path))


def _place_of(directory: str) -> tuple[int, int]:
    status = os.stat(directory)  # noqa: PTH116
    return status.st_dev, status.st_ino


def _is_at(directory: str, place: tuple[int, int]) -> bool:
    """Whether a directory is at a place, whatever way leads there."""
    with suppress(OSError):  # it is not there
        return _place_of(directory) == place
    return False


def is_left_out(name: str) -> bool:
    """Whether a name is of what nobody means who names a directory."""
    return name.startswith(".") or name == _CACHED_CODE


def place_in(project: str, path: str) -> str | None:
    """Where in a project a path is, also where the way to either leads over a link; `None` where it is elsewhere."""
    for root, each in ((project, path), (os.path.realpath(project), os.path.realpath(path))):
        if each == root:
            return "."
        prefix = f"{root.rstrip(os.sep)}{os.sep}"
        if each.startswith(prefix):
            return Path(each[len(prefix) :]).as_posix()
    return None
