"""``Caller``: who has called, and from where.

What a thread asks of an event loop is done by a task of that loop, but it is the thread that waits, and that has what
comes of it. A worker of a pool of threads works for one now and for another later, so there it is the piece of work.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Hashable, Iterable
from contextvars import ContextVar
from types import FrameType
from typing import Any
from weakref import WeakSet

from anyio import get_current_task

_BETWEEN = frozenset(
    {"doteval", "anyio", "asyncio", "trio", "uvloop", "outcome", "concurrent", "contextlib", "threading"}
)
"""What is between the one who calls and the task that does it."""

_POOLS = frozenset({"concurrent.futures.thread", "multiprocessing.pool", "trio._core._thread_cache"})
_POOL_METHOD = "WorkerThread.run"  # anyio's, which is in the module of its event loop


def place_of_the_caller(otherwise: str = "a thread of its own") -> str:
    """The file and line from where the package is called now; of a task of its own, from where its loop is run.

    Args:
        otherwise: What to say where nobody else's code is on the stack.
    """
    frame = sys._getframe()
    while frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        if frame.f_back is None:
            return otherwise
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class _Thread:
    """A thread, which its own number would not tell apart from later ones."""

    def __init__(self) -> None:
        self.name = threading.current_thread().name
        self.number = threading.get_ident()
        self.is_of_a_pool = _is_of_a_pool()


class _Work:
    """What a worker of a pool does until its context is another one."""

    def __init__(self, thread: _Thread) -> None:
        self.thread = thread


_threads = threading.local()
_work: ContextVar[_Work] = ContextVar("doteval_work")


def _thread_here() -> _Thread:
    thread: _Thread | None = getattr(_threads, "here", None)
    if thread is None:
        thread = _threads.here = _Thread()
    return thread


def _who_is_here() -> _Thread | _Work:
    thread = _thread_here()
    if not thread.is_of_a_pool:
        return thread
    work = _work.get(None)
    if work is None or work.thread is not thread:  # the context is a copy of another thread's
        work = _Work(thread)
        _work.set(work)
    return work


def _is_of_a_pool() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") in _POOLS or frame.f_code.co_qualname == _POOL_METHOD:
            return True
    return False


class Caller:
    """Who calls now, in a thread that waits until it is done; equal to whoever calls from the same one."""

    __slots__ = ("_block", "_who", "is_passed_on", "place")

    def __init__(self) -> None:
        self._who = _who_is_here()
        self.place = place_of_the_caller()
        """The file and line of the call."""
        self._block: FrameType | None = None
        self.is_passed_on = isinstance(self._who, _Work)
        """Whether what came of it seems to be somebody else's by now, as is what a worker of a pool returns."""

    def enter(self) -> None:
        """The caller enters the block of what came of it: called by what is called for that, as by ``with``."""
        self._block = sys._getframe(2)

    def leave(self) -> None:
        """The block is left."""
        self._block = None

    @property
    def is_in_block(self) -> bool:
        """Whether the caller certainly is in that block, which nobody else leaves: what it calls has not returned."""
        if self._block is None:
            return False
        frame = sys._current_frames().get(self._thread.number)
        while frame is not None and frame is not self._block:
            frame = frame.f_back
        return frame is not None

    @property
    def _thread(self) -> _Thread:
        return self._who.thread if isinstance(self._who, _Work) else self._who

    @property
    def is_here(self) -> bool:
        """Whether it would be the caller now, too."""
        return _who_is_here() is self._who

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Caller) and self._who is other._who

    def __hash__(self) -> int:
        return id(self._who)

    def __str__(self) -> str:
        return f"thread {self._thread.name}"


_nobodys: WeakSet[threading.Thread] = WeakSet()


def is_nobodys(thread: threading.Thread) -> threading.Thread:
    """Have a thread count as nobody, as it does only what others ask for; the thread."""
    _nobodys.add(thread)
    return thread


def is_anybody_else_there(callers: Iterable[Caller]) -> bool:
    """Whether a thread runs that is neither one of these callers', which wait, nor this one, which serves them.

    Nor one of nobody's, nor the worker of a pool that has nothing to do, as those who could give it something are here.
    """
    waiting = {threading.get_ident(), *(caller._thread.number for caller in callers)}
    others = [each for each in threading.enumerate() if each.ident not in waiting and each not in _nobodys]
    if not others:
        return False
    return not _are_idle(others) or _is_work_left() or not _are_idle(others)  # what was run meanwhile may call others


def _are_idle(threads: Iterable[threading.Thread]) -> bool:
    frames = sys._current_frames()
    return all(_is_idle(each, frames.get(each.ident or 0)) for each in threads)


def _is_idle(thread: Any, frame: FrameType | None) -> bool:
    """Whether a thread is the worker of a pool and waits for work, or is about to begin with it."""
    if thread in getattr(thread, "idle_workers", ()):  # anyio's
        return True
    if frame is None or frame.f_globals.get("__name__") not in _POOLS:
        return False
    if frame.f_code.co_qualname == "WorkerThread._work":  # trio's
        worker = frame.f_locals["self"]
        return worker in worker._thread_cache._idle_workers
    return frame.f_code.co_qualname == "_worker"


def _is_work_left() -> bool:
    """Whether an executor was given what is not done yet; what a worker has just taken can be seen nowhere else."""
    futures = sys.modules.get("concurrent.futures.thread")
    if futures is None:
        return False
    kind = futures._WorkItem
    return any(type(each) is kind and not each.future.done() for each in gc.get_objects())


_served: ContextVar[tuple[Caller, object]] = ContextVar("doteval_served")


def serve(caller: Caller) -> None:
    """From now on the current task, and no child of it, does what it does for the caller, who waits for its end."""
    _served.set((caller, get_current_task().coro))


def served_by(coroutine: object) -> Caller | None:
    """For whom the current task does what it does; `None` where nobody waits for it in a thread.

    Args:
        coroutine: That of the current task.
    """
    served = _served.get(None)
    return served[0] if served is not None and served[1] is coroutine else None


def who_is_here() -> Hashable:
    """The current task, or the thread that it does something for."""
    task = get_current_task()
    return served_by(task.coro) or task.id
