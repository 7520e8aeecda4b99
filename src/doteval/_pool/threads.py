"""Threads that wait: whatever one has set up and not entered, another one may give back, so little of it is certain."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from .._caller import Caller, is_anybody_else_there
from .ledger import Ledger
from .owners import Owner
from .records import Request
from .reporter import logger


def is_of_thread(request: Request) -> bool:
    """Whether it is the request of a thread, which may have handed on what it has set up."""
    return isinstance(request.owner, Owner) and request.owner.caller is not None


def is_nobody_else_there(asking: Iterable[object], *more: Caller) -> bool:
    """Whether no thread is left that could give anything back, besides those who wait.

    Args:
        asking: Who waits for a lease.
        more: Who waits for something else.
    """
    waiting = [owner.caller for owner in asking if isinstance(owner, Owner) and owner.caller is not None]
    return not is_anybody_else_there([*waiting, *more])


def warn(request: Request, account: Sequence[str], *, is_left_behind: bool) -> None:
    """Say that somebody will wait for ever, unless somebody else does something about it.

    Args:
        request: What is waited for.
        account: Who holds what, and who waits.
        is_left_behind: Whether those who hold it have ended.
    """
    logger.warning(
        "setup of %s will wait for ever unless %s:%s",
        ", ".join(repr(want.label) for want in request.wants),
        "a handle is torn down that a task has set up which has ended, such as another cell of a notebook"
        if is_left_behind
        else "another thread gives back what those hold who wait, too",
        "".join(f"\n  {line}" for line in account),
    )


def left_behind(ledger: Ledger) -> list[str]:
    """Who holds what, where all of them have ended: in a notebook, say, as tasks of a program that end hand it on."""
    is_kept = ledger.capacity is not None  # asked first, as each wait for an opening asks
    return ledger.left_behind() if is_kept and _is_interactive() else []


def _is_interactive() -> bool:
    """Whether somebody types what is run, as in a notebook, so that tasks end whose handles are there still."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    program = getattr(sys.modules.get("__main__"), "__spec__", None)
    return shell is not None or "ps1" in vars(sys) or getattr(program, "name", "") == "asyncio.__main__"
