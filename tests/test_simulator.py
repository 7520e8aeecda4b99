"""Random programs over the public face: whatever tasks do, what the documentation promises holds.

Time is virtual on asyncio and trio. On uvloop it is real, so what happens depends on how busy the machine is: that is
for the session only.

``SIMULATIONS=20000`` says how many runs there are on each loop (``nox -s simulator``), ``python -m
tests.simulator.runs 1 --first SEED --loop LOOP`` repeats one.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from tests.simulator.runs import LOOPS, simulate

RUNS = int(os.environ.get("SIMULATIONS", "100"))
SEEN = {
    *("opened", "open_failed", "open_cancelled", "leased", "released", "checking", "retiring", "closing"),
    *("closed", "close_failed", "lost"),
    *("CapacityDeadlockError", "CapacityExceededError", "ModelSetupError", "ProviderClosedError"),
    *("QueueFullError", "SetupTimeoutError"),
}
"""What must happen in the runs at some time, or they would show less than they seem to."""


@pytest.mark.process
@pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop != "uvloop" or "SIMULATIONS" in os.environ])
def test_whatever_tasks_do_what_is_promised_holds(loop: str) -> None:
    """Each run ends, and leaves nothing open; at no time is there more than may be, or anything that is not told."""
    counts: Counter[str] = Counter()
    for seed in range(LOOPS.index(loop), 3 * RUNS, 3):  # on each loop other programs
        counts += simulate(seed, loop)
    assert counts["runs"] == RUNS
    assert set(counts) >= SEEN, f"never seen: {SEEN - set(counts)}"


@pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop != "uvloop"])
def test_a_seed_is_a_run(loop: str) -> None:
    """Where time is virtual, what is seen once is seen again."""
    assert simulate(7, loop) == simulate(7, loop)
