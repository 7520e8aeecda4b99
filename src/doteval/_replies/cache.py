"""``ReplyCache``: replies of models that are kept, and answer the same requests again."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from heapq import heappop, heappush
from pathlib import Path
from threading import Lock
from typing import Literal, TypeAlias, get_args

from .._errors import ReplyCacheError
from .._forked import tell_when_forked
from .._model import Usage
from .._unwritable import why_unwritable
from .file import Kept, KeptReplies, ReplyFile, Use, is_busy, tag_of
from .form import digest_of_name
from .opening import FileGoneError

CacheMode: TypeAlias = Literal["on", "read", "write"]
"""Whether replies answer requests and are kept, only answer, or are only kept."""
DEFAULT_PATH = Path(".doteval", "replies.db")

_logger = logging.getLogger("doteval.replies")


class ReplyCache:
    """Replies of models in a file; the same request is answered from it and not sent again.

    For example::

        with ReplyCache("replies.db").answering() as replies:
            reply = await handle.model.generate("Hello")
        print(replies.answered, replies.sent)

    The same request is one with the same messages and parameters to the same model of the same server, with the same
    headers and settings of the provider; keys play no part, and are not in the file. Asked for several times, it has
    several replies, and the n-th time gets the n-th. Many processes may use the file at once.

    Args:
        path: The file; it is made when a reply is to be kept.
        mode: ``"on"``: requests are answered from it, and replies to others are kept. ``"read"``: nothing new is kept.
            ``"write"``: everything is asked anew, and its replies take the places of those that are there.

    Raises:
        ValueError: There is no such mode.
    """

    def __init__(self, path: Path | str = DEFAULT_PATH, mode: CacheMode = "on") -> None:
        if mode not in get_args(CacheMode):
            raise ValueError(f"the mode of a cache is one of {', '.join(map(repr, get_args(CacheMode)))}, not {mode!r}")
        self.path = Path(path).absolute()
        self.mode: CacheMode = mode
        self._file = ReplyFile(Path(path))
        self._lock = Lock()
        self._users = 0
        tell_when_forked(self)

    @contextmanager
    def answering(self) -> Generator[CachedReplies]:
        """Use it for what is asked of models in the block, and in the tasks, threads and `doteval.blocking` it starts.

        In a block, no reply is used for two requests: two that are the same get two replies. At its end, what is not
        written yet is waited for, which blocks, in most cases for milliseconds.

        Raises:
            ReplyCacheError: The file is something else.
        """
        with self._lock:  # who leaves closes the file, unless there is somebody else
            self._users += 1
        try:
            self._file.check()
            replies = CachedReplies(self, self._file)
            token = _PRESENT.set(Row(replies, "", ""))
            try:
                yield replies
            finally:
                with suppress(ValueError):  # a generator that is closed elsewhere; where it began, it is over
                    _PRESENT.reset(token)
                replies.flush()
        finally:
            self._left()

    @staticmethod
    @contextmanager
    def inherited() -> Generator[CachedReplies | None]:
        """Go on with the one that answers where this code runs, if there is one, for rows of their own.

        Within a row, all belongs to that row.
        """
        row = _PRESENT.get()
        if row is None or row.name:
            yield None if row is None else row.replies
        else:
            with row.replies.cache.answering() as replies:
                yield replies

    @staticmethod
    @contextmanager
    def paused() -> Generator[None]:
        """Use none in the block."""
        token = _PRESENT.set(None)
        try:
            yield
        finally:
            _PRESENT.reset(token)

    def kept(self) -> list[KeptReplies]:
        """What is in it, by model; blocks.

        Raises:
            ReplyCacheError: The file is something else, or cannot be read.
        """
        with self._looking():
            return self._file.kept()

    def remove(self, *, before: float | None = None, model: str | None = None) -> int:
        """Remove replies, and tell how many; blocks.

        Args:
            before: Only those that were written before, in seconds since 1970.
            model: Only those of this model.

        Raises:
            ReplyCacheError: The file is something else, or cannot be written.
        """
        with self._looking():
            return self._file.remove(before=before, model=model)

    @contextmanager
    def _looking(self) -> Generator[None]:
        with self._lock:
            self._users += 1
        try:
            self._file.check()
            yield
        except sqlite3.Error as exc:
            if is_busy(exc):
                problem, advice = "is in use by another process", "Try again when that is done."
            else:
                problem = f"cannot be used: {_why(exc, self.path)}"
                advice = f"Make it readable and writable, or remove {self._file.shown}."
            raise ReplyCacheError(self._file.shown, problem, advice) from exc
        finally:
            self._left()

    def _left(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._file.close()

    def forked(self) -> None:
        """In a child, nobody has the lock."""
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<ReplyCache {self._file.shown} mode={self.mode!r}>"


class CachedReplies:
    """What a cache answers in one block of `ReplyCache.answering`.

    Args:
        cache: The cache.
        file: Its file.
    """

    def __init__(self, cache: ReplyCache, file: ReplyFile) -> None:
        self.cache = cache
        """Whose replies they are."""
        self.answered = 0
        """How many requests were answered from it."""
        self.sent = 0
        """How many were sent."""
        self.unknown = 0
        """How many of those that were sent have something in them that is known by nothing but itself."""
        self.saved = Usage(0, 0)
        """What the replies that it answered with had cost."""
        self.problems: list[str] = []
        """Why it does not answer, or keeps nothing more, or what it does not know; in sentences."""
        self._file = file
        self._lock = Lock()
        self._written: set[Use] = set()
        """In mode ``"write"``, what was asked anew already: the next attempt of a row gets it again."""
        self._can_read = self._can_write = True
        self._was_busy = False
        tell_when_forked(self)

    def forked(self) -> None:
        """In a child, nobody has the lock."""
        self._lock = Lock()

    @contextmanager
    def row(self, name: str, evaluation: str = "", *, has_id: bool = False) -> Generator[None]:
        """Requests of the block are told apart from those of other rows that ask the same.

        A row gets what it has got before, whatever order rows run in, and whatever else is asked. One that is new gets
        what the same row of another evaluation has, or else another reply that no row of its evaluation has.

        Args:
            name: What the row is known by; the same row has the same name again. Within another row it is a part of
                that.
            evaluation: What it is a row of.
            has_id: Whether the name is its own in all evaluations: then it gets no reply that another such row has.
        """
        above = _PRESENT.get()
        if above is not None and self.is_in_a_row():
            row = Row(self, above.evaluation, f"{above.name}\n{evaluation}\n{name}", has_id=has_id)
        else:
            row = Row(self, evaluation, name, has_id=has_id)
        token = _PRESENT.set(row)
        try:
            yield
        finally:
            _PRESENT.reset(token)

    def is_in_a_row(self) -> bool:
        """Whether this code runs in a row of the block."""
        row = _PRESENT.get()
        return row is not None and row.replies is self and bool(row.name)

    def look(self, use: Use) -> str | None:
        """The reply for a request; blocks for about a second at most."""
        if not self._can_read or (self.cache.mode == "write" and use not in self._written):
            return None
        if (found := self._reading(lambda: self._file.find(use))) is not None or self.cache.mode == "write":
            return found
        if self.cache.mode == "on" and self._can_write:
            return self._reading(lambda: self._file.share(use))
        return self._reading(lambda: self._file.same(use))

    def pending(self, use: Use) -> str | None:
        """The reply for a request whose row has made it before, just now; never blocks."""
        return None if self.cache.mode == "write" and use not in self._written else self._file.pending(use)

    def keep(self, use: Use, model: str, reply: str, *, replaces: bool) -> None:
        """Keep a reply; never blocks.

        Args:
            use: Who got it.
            model: Who replied.
            reply: What.
            replaces: Whether what is kept for the use is of no use.
        """
        if not self._can_write or self.cache.mode == "read":
            return
        if self.cache.mode == "write":
            self._written.add(use)
            replaces = True
        self._writing(lambda: self._file.put(Kept(use, model, reply, replaces)))

    def flush(self) -> None:
        """Wait until all that is to be kept is written; blocks."""
        self._writing(self._file.flush)

    def answered_with(self, usage: Usage | None) -> None:
        """A reply has answered a request."""
        with self._lock:
            self.answered += 1
            if usage is not None:
                known = self.saved
                self.saved = Usage(
                    known.input_tokens + usage.input_tokens,
                    known.output_tokens + usage.output_tokens,
                    known.cached_tokens + usage.cached_tokens,
                    known.cache_write_tokens + usage.cache_write_tokens,
                    known.reasoning_tokens + usage.reasoning_tokens,
                )

    def was_sent(self, why_unknown: str | None = None) -> None:
        """A request is sent; `why_unknown` says what in it is known by nothing but itself."""
        with self._lock:
            self.sent += 1
            if why_unknown is not None:
                self.unknown += 1
                if self.unknown == 1:
                    self._tell(
                        f"Some requests were sent and their replies not kept, as they depend on {why_unknown}, of "
                        "which nobody can say whether it is the same again."
                    )

    def _reading(self, work: Callable[[], str | None]) -> str | None:
        """Do it; what fails is told once, and not tried again, unless the file is only busy."""
        try:
            return work()
        except (sqlite3.Error, OSError) as exc:
            if is_busy(exc):
                self._tell_busy()
            elif isinstance(exc, sqlite3.OperationalError) and exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
                self._cannot(exc, reads=False)
            else:
                self._cannot(exc, reads=True)
        return None

    def _writing(self, work: Callable[[], object]) -> None:
        """Do it; what fails is told once, and not tried again."""
        try:
            work()
        except (sqlite3.Error, OSError) as exc:
            self._cannot(exc, reads=isinstance(exc, FileGoneError))

    def _cannot(self, error: Exception, *, reads: bool) -> None:
        with self._lock:
            was_able = self._can_read if reads else self._can_write
            self._can_write = False
            self._can_read = self._can_read and not reads
        if was_able:
            what = "answers nothing more, and requests are sent" if reads else "keeps no more replies"
            why = error.problem if isinstance(error, ReplyCacheError) else _why(error, self.cache.path)
            why = "it is in use by another process" if is_busy(error) else why
            self._tell(f"The cache of replies {self._file.shown} {what}: {why}.")

    def _tell_busy(self) -> None:
        with self._lock:
            was_busy, self._was_busy = self._was_busy, True
        if not was_busy:
            self._tell(
                f"The cache of replies {self._file.shown} was in use by another process for so long that requests were "
                "sent which it may have a reply to."
            )

    def _tell(self, problem: str) -> None:
        self.problems.append(problem)
        _logger.warning(problem)

    def __repr__(self) -> str:
        return f"<CachedReplies of {self._file.shown} answered={self.answered} sent={self.sent}>"


class Row:
    """Where requests are told apart from those of others that are the same.

    Args:
        replies: Who answers them.
        evaluation: What it is a row of.
        name: What it is known by.
        has_id: Whether that is its own in all evaluations.
    """

    __slots__ = ("_free", "_has_id", "_lock", "_next", "evaluation", "name", "replies")

    def __init__(self, replies: CachedReplies, evaluation: str, name: str, *, has_id: bool = False) -> None:
        self._has_id = has_id
        self.replies = replies
        self.evaluation = evaluation
        self.name = name
        self._next: dict[bytes, int] = {}
        self._free: dict[bytes, list[int]] = {}
        self._lock = Lock()

    def take(self, request: bytes) -> int:
        """How many times the same request was begun before it, not counting those that failed."""
        with self._lock:
            if free := self._free.get(request):
                return heappop(free)
            number = self._next.get(request, 0)
            self._next[request] = number + 1
            return number

    def give_back(self, request: bytes, number: int) -> None:
        """It failed: who asks again, as many do, asks for the same reply."""
        with self._lock:
            heappush(self._free.setdefault(request, []), number)

    def use(self, request: bytes, number: int) -> Use:
        """What the reply to it is known by."""
        tag = tag_of(digest_of_name(f"{number} {self.name}"), has_id=self._has_id)
        return Use(digest_of_name(self.evaluation), request, tag)


_PRESENT: ContextVar[Row | None] = ContextVar("doteval_replies", default=None)
"""The row, or block, that requests belong to where this code runs."""


def present_row() -> Row | None:
    """Where requests belong to that are made here; `None`: nothing is cached."""
    return _PRESENT.get()


def _why(error: Exception, path: Path) -> str:
    """What is in the way, where SQLite only says that it could not open or write the file."""
    code = getattr(error, "sqlite_errorcode", None)
    is_about_place = isinstance(error, OSError) or (
        code is not None and code & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
    )
    return (why_unwritable(path) if is_about_place else None) or str(error).splitlines()[0]
