"""What a row, a dataset, or whoever is told of results lets escape, and whom it concerns.

Code that is evaluated may do anything. An agent cancels a task of its own and awaits it, a script calls ``sys.exit()``:
on its way up, each looks like the end of the whole program. To an event loop such a cancellation is no failure at all,
so the row would be gone without a word. Here it is told apart: a run ends with its own cancellation, with an interrupt,
and with what whoever runs it names; everything else is the failure of whoever let it escape.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import cast

from anyio import get_cancelled_exc_class
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from .._chains import leaves_of

INTERRUPTS: tuple[type[BaseException], ...] = (KeyboardInterrupt,)
"""What ends every run."""


async def raise_own_cancellation(error: BaseException, *, is_rows_task: bool = False) -> None:
    """Raise again what was caught, where it is, or holds, the cancellation of the run.

    Args:
        error: What was caught.
        is_rows_task: Whether this task runs a row. Nobody knows it but the row, which may cancel it; who stops a
            program task by task has come to that of the run, and so to the scope of the rows, a turn of the event loop
            later.

    Raises:
        BaseException: The run's own cancellation.
    """
    if not _holds_cancellation(error):
        return
    if not is_rows_task and _is_cancelled_natively():
        raise error
    await checkpoint()
    await checkpoint_if_cancelled()


async def raise_cancellation_of_row(error: BaseException | None = None) -> None:
    """Raise the cancellation of the run in a row's task, whatever the row has made of it.

    A row may turn its cancellation into anything: in a ``finally`` that fails, in a library that wraps what it catches,
    in an agent that returns what it has by then. What comes of a row that the run has cancelled is not the row's.

    Args:
        error: What the row raised; `None`: it returned.

    Raises:
        BaseException: The run's own cancellation.
    """
    if _is_cancelled_natively() or (error is not None and _holds_cancellation(error)):
        # Whoever cancels task by task comes to that of the run in this turn; what the row has done to its own is its.
        with suppress(get_cancelled_exc_class()):
            await checkpoint()
    await checkpoint_if_cancelled()


def ends_the_run(error: BaseException, ends: tuple[type[BaseException], ...] = INTERRUPTS) -> bool:
    """Whether something that was caught, and is no cancellation of the run, ends it."""
    return any(isinstance(leaf, ends) for leaf in leaves_of(error))


def _is_cancelled_natively() -> bool:
    """Whether somebody has cancelled this task as such, as `asyncio.timeout` does; no cancel scope knows of that."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or get_cancelled_exc_class() is not asyncio.CancelledError:
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextmanager
def as_it_is(ends: tuple[type[BaseException], ...] = INTERRUPTS) -> Generator[None]:
    """What a task group has put into a group comes out as it is; of several, what ends the run, else the first."""
    try:
        yield
    except BaseExceptionGroup as exc:
        leaves = list(leaves_of(cast("BaseException", exc)))
        chosen = next((leaf for leaf in leaves if isinstance(leaf, ends)), leaves[0])
    else:
        return
    raise chosen


def told_apart(error: BaseException, where: str, ends: tuple[type[BaseException], ...] = INTERRUPTS) -> BaseException:
    """What is raised for an error: of a group, what ends the run; and no cancellation that is nobody's.

    That one would end whoever gets it without a word.
    """
    ending = next((leaf for leaf in leaves_of(error) if isinstance(leaf, ends)), None)
    if ending is not None:
        return ending
    if isinstance(error, get_cancelled_exc_class()):
        visible = RuntimeError(f"{where} let a cancellation escape that was not meant for the evaluation")
        visible.__cause__ = error
        return visible
    return error


def _holds_cancellation(error: BaseException) -> bool:
    return any(isinstance(leaf, get_cancelled_exc_class()) for leaf in leaves_of(error))
