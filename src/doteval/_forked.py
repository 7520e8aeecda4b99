"""What a forked child must not take along: the locks that other threads held, and threads that it has not.

A thread that is not in the child releases nothing there. So whatever has a lock, a thread or a connection is told of
the fork before the child does anything else, and begins anew.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import Protocol


class _Forkable(Protocol):
    def forked(self) -> None:
        """This is the child."""
        ...


_told: weakref.WeakSet[_Forkable] = weakref.WeakSet()


def tell_when_forked(thing: _Forkable) -> None:
    """Have it told in a child, as long as it exists."""
    _told.add(thing)


def _tell() -> None:
    for thing in list(_told):
        with suppress(Exception):  # the others are told all the same
            thing.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell)
