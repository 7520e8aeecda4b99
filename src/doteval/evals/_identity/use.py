"""What code is run for."""

from __future__ import annotations

from enum import IntEnum


class Use(IntEnum):
    """What code is run for; what is run for more than one thing is run for the first."""

    RUN = 1
    """The evaluation: it may change whatever there is."""
    INIT = 2
    """A new object: what it does to that is no change of another one."""
    MAKE = 3
    """What the evaluation is given, before that is looked at."""
