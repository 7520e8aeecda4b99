"""``ReplyCache``: replies of models that are kept, and answer the same requests again."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from threading import Lock, RLock
from typing import Literal, TypeAlias, TypeVar, get_args

from .._errors import DotevalError, ReplyCacheError
from .._model import Usage
from .file import KeptReplies, ReplyFile
from .form import tag_of

CacheMode: TypeAlias = Literal["on", "read", "write"]
"""Whether replies answer requests and are kept, only answer, or are only kept."""
DEFAULT_PATH = Path(".doteval", "replies.db")

_logger = logging.getLogger("doteval.replies")
_ResultT = TypeVar("_ResultT")


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
        self.path = Path(path)
        self.mode: CacheMode = mode
        self._file = ReplyFile(self.path)
        self._lock = Lock()
        self._users = 0

    @contextmanager
    def answering(self) -> Generator[CachedReplies]:
        """Use it for what is asked of models in the block, and in the tasks, threads and `doteval.blocking` it starts.

        In a block, no reply is used for two requests: two that are the same get two replies.

        Raises:
            ReplyCacheError: The file is something else.
        """
        self._file.check()
        replies = CachedReplies(self, self._file)
        with self._lock:
            self._users += 1
        token = _PRESENT.set(Row(replies, ""))
        try:
            yield replies
        finally:
            _PRESENT.reset(token)
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._file.close()

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
        self._file.check()
        try:
            yield
        except sqlite3.Error as exc:
            raise ReplyCacheError(str(self.path), f"cannot be used: {exc}") from exc
        finally:
            with self._lock:
                if not self._users:
                    self._file.close()

    def __repr__(self) -> str:
        return f"<ReplyCache {self.path} mode={self.mode!r}>"


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
        self._lock = RLock()
        """Held while the file is read or written; never in an event loop."""
        self._counting = Lock()
        self._taken: set[int] = set()
        """The replies that were used."""
        self._others: dict[bytes, list[int]] = {}
        """The replies to a request that were there when one was wanted, whosoever they were."""
        self._given: dict[tuple[bytes, bytes], int] = {}
        """The reply that each request has got, by its tag: the next attempt of a row gets it again."""
        self._can_read = self._can_write = True

    @contextmanager
    def row(self, name: str) -> Generator[None]:
        """Requests of the block are told apart from those of other rows that ask the same.

        The first time that a row makes a request, it gets what it got the first time in an earlier run, whatever order
        rows run in. A row that is new gets a reply that no other row has used, where there is one.

        Args:
            name: What the row is known by; the same row has the same name again. Within another row it is a part of
                that.
        """
        above = _PRESENT.get()
        is_within = above is not None and above.replies is self and above.name
        token = _PRESENT.set(Row(self, f"{above.name}\n{name}" if above is not None and is_within else name))
        try:
            yield
        finally:
            _PRESENT.reset(token)

    def look(self, request: bytes, tag: bytes) -> str | None:
        """The reply for a request; blocks."""
        if not self._can_read or (self.cache.mode == "write" and (request, tag) not in self._given):
            return None
        return self._degrading(lambda: self._found(request, tag), reads=True)

    def keep(self, request: bytes, tag: bytes, model: str, reply: str) -> None:
        """Keep a reply; blocks."""

        def put() -> None:
            with self._lock:
                self._take(self._file.put(request, tag, model, reply), request, tag)

        if self._can_write and self.cache.mode != "read":
            self._degrading(put, reads=False)

    def answered_with(self, usage: Usage | None) -> None:
        """A reply has answered a request."""
        with self._counting:
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
        with self._counting:
            self.sent += 1
            if why_unknown is not None:
                self.unknown += 1
                if self.unknown == 1:
                    self._tell(
                        f"Some requests were sent and their replies not kept, as there is {why_unknown} in them, of "
                        "which nobody can say whether it is the same again."
                    )

    def _found(self, request: bytes, tag: bytes) -> str | None:
        with self._lock:
            given = self._given.get((request, tag))
            if given is not None:
                return self._file.reply(given)
            exact = self._file.find(request, tag)
            if exact is not None and exact[0] not in self._taken:
                self._take(exact[0], request, tag)
                return exact[1]
            others = self._others.get(request)
            if others is None:  # once, as there may be as many as there are rows
                others = self._others[request] = self._file.numbers(request)
            while others:
                number = others.pop()
                if number in self._taken or (reply := self._file.reply(number)) is None:
                    continue
                self._take(number, request, tag)
                if self.cache.mode == "on" and exact is None and self._can_write:
                    self._degrading(partial(self._file.retag, number, tag), reads=False)
                return reply
            return None

    def _take(self, number: int, request: bytes, tag: bytes) -> None:
        self._taken.add(number)
        self._given[request, tag] = number

    def _degrading(self, work: Callable[[], _ResultT], *, reads: bool) -> _ResultT | None:
        """Do it; what fails is told once, and not tried again."""
        try:
            return work()
        except (sqlite3.Error, OSError, DotevalError) as exc:
            with self._lock:
                was_able = self._can_read if reads else self._can_write
                self._can_write = False
                self._can_read = self._can_read and not reads
                if was_able:
                    what = "answers nothing, and requests are sent" if reads else "keeps no more replies"
                    self._tell(f"The cache of replies {self.cache.path} {what}: {str(exc).splitlines()[0]}.")
            return None

    def _tell(self, problem: str) -> None:
        self.problems.append(problem)
        _logger.warning(problem)

    def __repr__(self) -> str:
        return f"<CachedReplies of {self.cache.path} answered={self.answered} sent={self.sent}>"


class Row:
    """Where requests are told apart from those of others that are the same.

    Args:
        replies: Who answers them.
        name: What it is known by.
    """

    __slots__ = ("_free", "_lock", "_next", "name", "replies")

    def __init__(self, replies: CachedReplies, name: str) -> None:
        self.replies = replies
        self.name = name
        self._next: dict[bytes, int] = {}
        self._free: dict[bytes, list[int]] = {}
        self._lock = Lock()

    def take(self, request: bytes) -> int:
        """How many times the same request was made before it, not counting those that came to nothing."""
        with self._lock:
            if free := self._free.get(request):
                return heappop(free)
            number = self._next.get(request, 0)
            self._next[request] = number + 1
            return number

    def give_back(self, request: bytes, number: int) -> None:
        """It came to nothing."""
        with self._lock:
            heappush(self._free.setdefault(request, []), number)

    def tag(self, number: int) -> bytes:
        """What the reply to it is known by."""
        return tag_of(self.name, number)


_PRESENT: ContextVar[Row | None] = ContextVar("doteval_replies", default=None)
"""The row, or block, that requests belong to where this code runs."""


def present_row() -> Row | None:
    """Where requests belong to that are made here; `None`: nothing is cached."""
    return _PRESENT.get()
