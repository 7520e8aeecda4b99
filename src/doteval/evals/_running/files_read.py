"""Which files of the user's project a run has read, so that somebody is told when they have changed since.

Python tells whoever asks (``sys.addaudithook``) of each file that is opened, in whatever way; files that a library
written in C opens by itself are not among them. Files that the run writes are its own affair.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any, cast

from .._written import WAS_READ

_FILE = "the file "
_MOST = 500
_CODE = (".py", ".pyc", ".pyi", ".so", ".pyd")
"""What is known by what it does."""
_NOBODYS = frozenset({"__pycache__", "node_modules", "site-packages"})
_LARGE = 64 * 2**20
_WRITING = os.O_WRONLY | os.O_RDWR


class FilesRead:
    """The files that are read, and not written, while somebody watches.

    Args:
        project: The directory in which they are; `None`: nobody asks for any.
        others: Gives what notes other files that it depends on.
    """

    def __init__(self, project: str | None, others: Callable[[], Iterable[FilesRead]] = tuple) -> None:
        self._prefix = None if project is None else f"{project.rstrip(os.sep)}{os.sep}"
        self._others = others
        self._read: dict[str, None] = {}
        self._written: set[str] = set()

    @contextmanager
    def watching(self) -> Generator[None]:
        """Note what is opened in this context, and in tasks and threads that are started in it."""
        if self._prefix is None:
            yield
            return
        _listen()
        token = _watching.set(self)
        try:
            yield
        finally:
            _watching.reset(token)

    @contextmanager
    def watching_all(self) -> Generator[None]:
        """Note what is opened anywhere in this process, for what runs in a context of its own."""
        global _watching_all  # noqa: PLW0603
        if self._prefix is None:
            yield
            return
        _listen()
        before, _watching_all = _watching_all, self
        try:
            yield
        finally:
            _watching_all = before

    def opened(self, path: object, mode: object, flags: object) -> None:
        """Note that a file is opened."""
        if self._prefix is None or not isinstance(path, (str, bytes, os.PathLike)):
            return
        text = os.path.abspath(os.fsdecode(cast("str", path)))  # noqa: PTH100
        if not text.startswith(self._prefix):
            return
        name = text[len(self._prefix) :]
        if _writes(mode, flags):
            self._written.add(name)
        elif len(self._read) < _MOST and _is_data(name):
            self._read[name] = None

    def parts(self) -> dict[str, str]:
        """Fingerprints of these files, by what to call them in a message; blocks."""
        if self._prefix is None:
            return {}
        every = [self, *(each for each in self._others() if each._prefix == self._prefix)]
        written = {name for each in every for name in [*each._written]}
        names = [name for each in every for name in [*each._read] if name not in written]
        found = {f"{_FILE}{name}": _digest_of(Path(self._prefix, name)) for name in names}
        return {name: f"{WAS_READ}{digest}" for name, digest in found.items() if digest}


def changed_files(identity: Mapping[str, str], project: str | None) -> tuple[str, ...]:
    """The files that results depend on and that have changed since, or are gone; blocks.

    Args:
        identity: What the results depend on.
        project: The directory in which they are.
    """
    found: list[str] = []
    for label, part in identity.items() if project is not None else ():
        if project is not None and part.startswith(WAS_READ):
            digest = _digest_of(Path(project, label.removeprefix(_FILE)))
            if digest != part.removeprefix(WAS_READ):
                found.append(label)
    return tuple(found)


def _writes(mode: object, flags: object) -> bool:
    if isinstance(mode, str):
        return not {*mode}.isdisjoint("wax+")
    return isinstance(flags, int) and bool(flags & _WRITING)


def _is_data(name: str) -> bool:
    return not name.endswith(_CODE) and not any(each.startswith(".") or each in _NOBODYS for each in Path(name).parts)


def _digest_of(path: Path) -> str:
    """What is in a file; of a large one, how large it is and when it was written. Nothing where it cannot be read."""
    try:
        status = path.stat()
        if not path.is_file():
            return ""
        if status.st_size > _LARGE:
            return f"{status.st_size}-{status.st_mtime_ns}"
        return hashlib.sha256(path.read_bytes()).hexdigest()[:24]
    except OSError:
        return ""


_watching: ContextVar[FilesRead | None] = ContextVar("doteval_files_read", default=None)
_watching_all: FilesRead | None = None
_listening = Lock()
_listens = False


def _listen() -> None:
    """Ask Python to tell, once: whoever asks is told as long as the process lives."""
    global _listens  # noqa: PLW0603
    with _listening:
        if not _listens:
            sys.addaudithook(_told)
            _listens = True


def _told(event: str, given: tuple[Any, ...]) -> None:
    if event == "open":
        watcher = _watching.get() or _watching_all
        if watcher is not None:
            with suppress(Exception):  # it would come out of the user's `open`
                watcher.opened(*given)
