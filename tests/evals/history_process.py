"""Does one step of a history, in a process of its own; see `histories.py`."""

from __future__ import annotations

import sys

from tests.evals.histories import play_here

play_here(sys.argv[1])
