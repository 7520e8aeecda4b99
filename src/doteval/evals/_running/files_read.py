"""Which files of the user's project a run has read, so that somebody is told when they have changed since.

Python tells whoever asks (``sys.addaudithook``) of each file that is opened, in whatever way, and of each directory
that is listed; files that a library written in C opens by itself are not among them. What is in a file counts as it was
when it was first read. Files that the run writes are its own affair.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import PurePath
from typing import Any, cast

from .._results.declared import FILE, LISTED, printable
from .._written import WAS_READ
from .contents import digest_of, is_reading, reading

MOST = 10_000
"""How many files are noted of one run."""
_CODE = (".py", ".pyc", ".pyi", ".so", ".pyd")
"""What is known by what it does."""
_NOBODYS = frozenset({"__pycache__", "node_modules", "site-packages"})
_SMALL = 2**20
"""What is read at once where a row reads it, in bytes; of more, it is looked at the end whether it is as it was."""
_LARGE = 64 * 2**20
_MISSING = "missing"
"""What is said of a file that was looked for and was not there."""
_WRITING = os.O_WRONLY | os.O_RDWR
_WRITTEN = {
    "os.remove": (slice(1), slice(1, 2)),
    "os.rename": (slice(2), slice(2, 4)),
    "os.truncate": (slice(1), slice(0)),
}
"""What is told of files that are written: where their paths stand, and the directories that these are seen from."""
_EVENTS = frozenset({"open", "os.listdir", "os.scandir", *_WRITTEN})


class FilesRead:
    """The files that are read, and not written, while somebody watches.

    Args:
        project: The directory in which they are; `None`: nobody asks for any.
        others: Gives what notes other files that it depends on.
        before: What has noted the same before; what it has seen written is.
    """

    def __init__(
        self,
        project: str | None,
        others: Callable[[], Iterable[FilesRead]] = tuple,
        before: FilesRead | None = None,
    ) -> None:
        self.project = project
        self._others = others
        self._roots = () if project is None else (_below(project), _below(os.path.realpath(project)))
        self._read: dict[str, str] = {}
        """What was in them, or what they were like, when they were first read."""
        self._missed: set[str] = set()
        """Those that were not there."""
        self._listed: dict[str, list[str]] = {}
        """What was in directories."""
        self._beyond: set[str] = set()
        """Files that were read when there were too many, and directories that were listed, as far as there is room."""
        self._digests: dict[tuple[str, str], str] = {}
        self._written: set[str] = set() if before is None else before._written

    @contextmanager
    def watching(self) -> Generator[None]:
        """Note what is opened in this context, and in tasks and threads that are started in it."""
        if self.project is None:
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
        if self.project is None:
            yield
            return
        _listen()
        before, _watching_all = _watching_all, self
        try:
            yield
        finally:
            _watching_all = before

    @contextmanager
    def running(self) -> Generator[None]:
        """Note what is opened in threads of nobody's, such as those of an executor, as long as no other does.

        What is opened in this context is nobody's affair, unless it is watched.
        """
        run = self, threading.get_ident()
        _running.append(run)
        token = _watching.set(_NOBODY)
        try:
            yield
        finally:
            _watching.reset(token)
            _running.remove(run)

    def opened(self, path: object, mode: object, flags: object) -> None:
        """Note that a file is opened."""
        name = self._name_of(path)
        if name is None:
            return
        if _writes(mode, flags):
            self._written.add(name)
        elif name not in self._read and _is_data(name):
            if len(self._read) >= MOST:
                if len(self._beyond) < MOST and os.path.isfile(self._path_of(name)):  # noqa: PTH113
                    self._beyond.add(name)
                return
            noted = _like(self._path_of(name), _SMALL)
            if noted:
                self._missed.discard(name)  # as another row, or somebody else, may have made it
                self._read[name] = noted
                _tell_of_news()
            elif name not in self._missed and len(self._missed) < MOST and self._is_missing(name):
                self._missed.add(name)
                _tell_of_news()

    def written(self, path: object) -> None:
        """Note that a file is written, moved or removed."""
        name = self._name_of(path)
        if name is not None:
            self._written.add(name)

    def listed(self, path: object) -> None:
        """Note that somebody looks which files there are in a directory."""
        name = self._name_of("." if path is None else path)
        if name is None or name in self._listed or not _is_data(name):
            return
        if len(self._listed) >= MOST:
            if len(self._beyond) < MOST:
                self._beyond.add(f"{name}/*")
            return
        with reading():
            self._listed[name] = os.listdir(self._path_of(name))  # noqa: PTH208

    def is_known_anew(self, path: str, digest: str) -> bool:
        """Whether a file was read here when this was in it, or was written."""
        name = self._name_of(path)
        if name is None:
            return False
        if name in self._read or name in self._beyond:
            return True
        return any(name in each._written or each._read.get(name) == digest for each in self._every())

    def noted(self, *, is_over: bool = False) -> dict[str, str]:
        """Fingerprints of these files, by what to call them in a message.

        Args:
            is_over: Whether it is looked what has become of them; blocks.
        """
        every = self._every()
        written = {name for each in every for name in [*each._written]}
        read = {name: noted for each in every for name, noted in [*each._read.items()] if name not in written}
        if is_over:
            read = {name: last for name, noted in read.items() if (last := _in_the_end(self._path_of(name), noted))}
        missed = {name for each in every for name in [*each._missed]} - written - read.keys()
        read |= {name: _MISSING for name in missed if not is_over or self._is_missing(name)}
        found = {f"{FILE}{name}": f"{WAS_READ}{noted}" for name, noted in sorted(read.items())}
        own = {_family_of(name) for name in written}
        families = sorted({_family_of(name) for name in read.keys() - missed} - own)
        for directory, suffix in families:
            lister = next((each for each in every if directory in each._listed), None)
            if lister is not None:
                found[f"{LISTED}{directory}/*{suffix}"] = f"{WAS_READ}{lister._digest_of(directory, suffix)}"
        return found

    def not_noted(self) -> dict[str, str]:
        """The same of files and directories of which there were too many, without what is in them."""
        every = self._every()
        written = {name for each in every for name in [*each._written]}
        beyond = {name for each in every for name in [*each._beyond]}
        return {f"{LISTED if name.endswith('/*') else FILE}{name}": WAS_READ for name in sorted(beyond - written)}

    def _digest_of(self, directory: str, suffix: str) -> str:
        """A fingerprint of which such files there were in a directory, made once, as there may be very many."""
        key = directory, suffix
        if key not in self._digests:
            self._digests[key] = _digest_of_names(self._listed[directory], suffix)
        return self._digests[key]

    def _every(self) -> list[FilesRead]:
        return [self, *(each for each in self._others() if each.project == self.project)]

    def _name_of(self, path: object) -> str | None:
        """Where in the project a file is; nothing where it is elsewhere."""
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None
        text = os.path.abspath(os.fsdecode(cast("str", path)))  # noqa: PTH100
        name = self._name_at(text)
        return self._name_at(_really(text)) if name is None else name

    def _name_at(self, path: str) -> str | None:
        for root in self._roots:
            if path.startswith(root):
                return path[len(root) :]
            if _below(path) == root:
                return "."
        return None

    def _is_missing(self, name: str) -> bool:
        return not name.startswith("<") and not os.path.lexists(self._path_of(name))

    def _path_of(self, name: str) -> str:
        return os.path.join(self.project or "", name)  # noqa: PTH118


def changed_files(identity: Mapping[str, str], project: str | None) -> tuple[str, ...]:
    """The files that results depend on and that have changed since, or are gone; blocks.

    Args:
        identity: What the results depend on.
        project: The directory in which they are.
    """
    if project is None:
        return ()
    read = {label: part.removeprefix(WAS_READ) for label, part in identity.items() if part.startswith(WAS_READ)}
    changed = [(printable(label), noted) for label, noted in read.items() if _now(project, label, noted) != noted]
    return tuple(f"{label} (which was not there)" if noted == _MISSING else label for label, noted in changed)


def _now(project: str, label: str, noted: str) -> str:
    if not label.startswith(LISTED):
        path = os.path.join(project, label.removeprefix(FILE))  # noqa: PTH118
        if noted == _MISSING:
            return "" if os.path.lexists(path) else _MISSING
        return _like(path, 0 if "-" in noted else _LARGE)
    directory, _, suffix = label.removeprefix(LISTED).rpartition("/*")
    try:
        return _digest_of_names(os.listdir(os.path.join(project, directory)), suffix)  # noqa: PTH118, PTH208
    except OSError:
        return ""


def _writes(mode: object, flags: object) -> bool:
    if isinstance(mode, str):
        return not {*mode}.isdisjoint("wax+")
    return isinstance(flags, int) and bool(flags & _WRITING)


def _is_data(name: str) -> bool:
    if name == ".":
        return True
    return not name.endswith(_CODE) and not any(
        each.startswith(".") or each in _NOBODYS for each in PurePath(name).parts
    )


def _like(path: str, most: int) -> str:
    """What is in a file; of one that is larger, how large it is and when it was written. Nothing where it is none."""
    try:
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            return ""
        return f"{status.st_size}-{status.st_mtime_ns}" if status.st_size > most else digest_of(path, status)
    except (OSError, ValueError):
        return ""


def _in_the_end(path: str, noted: str) -> str:
    """The same of a file that was read; nothing where it is gone, as what a run makes for itself may be."""
    if "-" not in noted:
        return noted if os.path.exists(path) else ""  # noqa: PTH110
    now = _like(path, 0)
    return _like(path, _LARGE) if now == noted else now and noted


def _family_of(path: str) -> tuple[str, str]:
    """The directory of a file, and how its name ends: what is looked for together."""
    directory, name = os.path.split(path)
    return directory or ".", _suffix_of(name)


def _suffix_of(name: str) -> str:
    stem, point, end = name.rpartition(".")
    return f"{point}{end}" if stem and end else ""


def _digest_of_names(names: list[str], suffix: str) -> str:
    found = sorted(name for name in names if _suffix_of(name) == suffix and not name.startswith("."))
    return hashlib.sha256("\0".join(found).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _below(directory: str) -> str:
    return f"{directory.rstrip(os.sep)}{os.sep}"


def _really(path: str) -> str:
    """A path whose directory is no link."""
    directory, name = os.path.split(path)
    return os.path.join(_real_directory(directory), name)  # noqa: PTH118


_real_directory = functools.lru_cache(maxsize=4096)(os.path.realpath)
_watching: ContextVar[FilesRead | None] = ContextVar("doteval_files_read", default=None)
_watching_all: FilesRead | None = None
_running: list[tuple[FilesRead, int]] = []
"""Whose rows are run, and in which thread."""
_NOBODY = FilesRead(None)
_listening = threading.Lock()
_listens = False
_news = 0


def count_of_news() -> int:
    """How many files anybody has noted by now."""
    return _news


def _tell_of_news() -> None:
    global _news  # noqa: PLW0603
    _news += 1


def _listen() -> None:
    """Ask Python to tell, once: whoever asks is told as long as the process lives."""
    global _listens  # noqa: PLW0603
    with _listening:
        if not _listens:
            sys.addaudithook(_told)
            _listens = True


def _watcher() -> FilesRead | None:
    found = _watching.get() or _watching_all
    if found is None and len(_running) == 1:
        sole, thread = _running[0]
        return None if threading.get_ident() == thread else sole
    return found


def _told(event: str, given: tuple[Any, ...]) -> None:
    if event not in _EVENTS or is_reading():
        return
    watcher = _watcher()
    if watcher is None or watcher.project is None:
        return
    with suppress(Exception):  # it would come out of the user's `open`
        if event == "open":
            watcher.opened(*given)
        elif event in _WRITTEN:
            paths, directories = _WRITTEN[event]
            for path, directory in zip(given[paths], given[directories] or (-1,), strict=True):
                if directory == -1 or os.path.isabs(path):  # noqa: PTH117 - else it is seen from somewhere else
                    watcher.written(path)
        elif sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] != "importlib":
            watcher.listed(*given)
