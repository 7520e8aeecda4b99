"""Parts of a slot: several servers may have one slot together, each a part of it, and never more than all of it.

Whoever has a part has the slot's own file locked beside others who do, so it is nobody's alone meanwhile; and for
itself alone a file that is named after how much it has. What the files say that somebody has locked is taken. To add
one, or to count, takes a lock on their directory; those of the dead are removed by whoever counts.
"""

from __future__ import annotations

import contextlib
import os
import sys

if sys.platform != "win32":
    import fcntl

WHOLE = 10_000
"""All of a slot, in the amounts that parts have."""
LEAST = 0.01
"""The smallest part that is a sensible one."""


def amount_of(fraction: float) -> int:
    """A part of 1 as an amount; so many thirds as fit into 1 fit into a slot."""
    return int(fraction * WHOLE + 1e-6)


def amount_in(path: str) -> int:
    """How much the file of a part says; 0 where it is none."""
    word = os.path.basename(path).partition("-")[0]
    return int(word) if word.isdecimal() else 0


def unused(path: str) -> str:
    """What the file of a part is called while a server has the file, and not the part."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f"unused-{name}")


def taken(directory: str) -> int:
    """How much of a slot its parts have, given their directory, on which the caller has the lock."""
    total = 0
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        with contextlib.suppress(FileNotFoundError):  # whoever has it gives it back just now
            file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            except BlockingIOError:
                total += amount_in(path)
            finally:
                os.close(file)
    return total
