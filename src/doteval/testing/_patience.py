"""``Patience``: ends a test that waits for ever, also inside of a shield, and says in which line of the author's.

What keeps a cancellation away is cancelled itself. Where such shields are, only the frames of the tasks that wait in
them know, so they are looked through: where a test waits too long, and not before.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, MethodType
from typing import Any, cast

from anyio import (
    CancelScope,
    create_task_group,
    current_time,
    get_cancelled_exc_class,
    get_current_task,
    get_running_tasks,
    sleep,
)

_NOT_THE_AUTHORS = frozenset({"doteval", "anyio", "asyncio", "trio", "contextlib", "outcome", "_pytest", "pluggy"})
_LOOKS = 5
_SUSPENDED: tuple[type[object], ...] = (CoroutineType, GeneratorType, AsyncGeneratorType)
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")


class StuckError(AssertionError):
    """A test waits for something that does not come."""


ENDED: list[StuckError] = []
"""What had to be ended in this test as nothing else could; whoever was told of it may have had no use for that."""


async def in_time(test: Coroutine[Any, Any, None], patience: float) -> None:
    """Run a test to its end.

    Args:
        test: The test.
        patience: How long it may wait for one and the same thing, in seconds.

    Raises:
        StuckError: It has waited for longer.
    """
    failures: list[BaseException] = []
    ENDED.clear()
    scope = CancelScope()
    watch = _Watch(patience, scope)
    with scope:
        async with create_task_group() as task_group:
            task_group.start_soon(watch.look)
            try:
                await test
            except get_cancelled_exc_class():
                raise
            except BaseException as exc:
                failures.append(exc)  # as it is, and not in a group
            finally:
                watch.looking.cancel()
    if ENDED:
        raise ENDED[0] from (failures[0] if failures else None)
    if watch.found:
        raise StuckError(watch.found) from (failures[0] if failures else None)
    for failure in failures:
        raise failure


class _Watch:
    """Looks at one test.

    Args:
        patience: As for `in_time`.
        scope: What ends the test.
    """

    def __init__(self, patience: float, scope: CancelScope) -> None:
        self.found = ""
        """Where it waits, if it waits for too long."""
        self.looking = CancelScope(shield=True)
        """What ends the looking; the end of the test does not, as what it waits for then may be no better."""
        self._patience = patience
        self._scope = scope
        self._test = get_current_task()
        self._others = {task.id for task in get_running_tasks()} - {self._test.id}

    async def look(self) -> None:
        """Wait until the test waits for too long, and then end whatever it waits for, until it has ended itself."""
        self._others.add(get_current_task().id)
        place, since = None, current_time()
        with self.looking:
            while True:
                await sleep(min(1.0, self._patience / _LOOKS))
                now = _place_of(self._test.coro)
                if now != place and not self.found:
                    place, since = now, current_time()
                elif self.found or current_time() >= since + self._patience:
                    self._break_off()

    def _break_off(self) -> None:
        waiting = [list(_chain_of(task.coro)) for task in get_running_tasks() if task.id not in self._others]
        frames = [(each, frame) for chain in waiting for each in chain if (frame := _authors_frame(each))]
        shielded = [(frame, shields) for each, frame in frames if (shields := _shields_in(each))]
        self.found = self.found or self._said_of(
            frames[-1][1] if frames else None, shielded[-1][0] if shielded else None
        )
        for _, shields in shielded:
            for shield in shields:
                shield.cancel()
        self._scope.cancel()

    def _said_of(self, frame: FrameType | None, shielded: FrameType | None) -> str:
        waited = f"it has waited for {self._patience:g} s"
        if shielded is not None:
            return (
                f"{waited} in a shield, at {_told(shielded)}: no close_timeout gets in there, so give the shield "
                "an end of its own, as with anyio.move_on_after(5, shield=True)"
            )
        return (
            f"{waited}{f', at {_told(frame)}' if frame else ''}: what is waited for while something is opened or "
            "closed must come to an end; where it only takes longer, set 'patience' in the test"
        )


def place_of_the_author(coroutine: object) -> str:
    """Where a coroutine waits, in the innermost function that is neither ours nor a library's; may be nothing."""
    frames = list(filter(None, map(_authors_frame, _chain_of(coroutine))))
    return _told(frames[-1]) if frames else ""


def _told(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}()"


def _chain_of(coroutine: object) -> Iterator[object]:
    """A coroutine, what it awaits, and so on: whatever has a frame."""
    each: object = coroutine
    while each is not None:
        awaited: object = None
        if isinstance(each, _SUSPENDED):
            yield each
            awaited = next(filter(None, (getattr(each, name, None) for name in _AWAITED)), None)
        if awaited is None:  # what iterates over another one, or sends to it by itself, does not say whose it is
            awaited = next((other for other in gc.get_referents(each) if isinstance(other, _SUSPENDED)), None)
        each = awaited


def _frame_of(each: object) -> FrameType | None:
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        frame: FrameType | None = getattr(each, name, None)
        if frame is not None:
            return frame
    return None


def _authors_frame(each: object) -> FrameType | None:
    frame = _frame_of(each)
    module = "" if frame is None else str(frame.f_globals.get("__name__", ""))
    return None if module.partition(".")[0] in _NOT_THE_AUTHORS else frame


def _place_of(coroutine: object) -> tuple[int, int] | None:
    *_, last = [None, *_chain_of(coroutine)]
    frame = _frame_of(last)
    return None if frame is None else (id(last), frame.f_lasti)


def _shields_in(each: object) -> list[CancelScope]:
    """The shields without an end that a frame is in, by its ``with`` statements."""
    found: list[CancelScope] = []
    left = [each]
    while left:
        for other in gc.get_referents(left.pop()):
            owner: Any = other.__self__ if isinstance(other, MethodType) else other
            inner = getattr(owner, "gen", None) if isinstance(other, MethodType) else None
            if isinstance(inner, _SUSPENDED):  # of a @contextmanager
                left.append(inner)
            with suppress(Exception):
                if owner.shield and not owner.cancel_called and owner.deadline == math.inf and owner not in found:
                    found.append(cast(CancelScope, owner))
    return found
