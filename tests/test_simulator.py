"""Random programs over the public face: whatever tasks do, what the documentation promises holds.

Time is virtual on asyncio and trio. On uvloop it is real, so what happens depends on how busy the machine is: that is
for the session only.

``SIMULATIONS=20000`` says how many runs there are on each loop (``nox -s simulator``), ``python -m
tests.simulator.runs 1 --first SEED --loop LOOP`` repeats one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from anyio.lowlevel import checkpoint
from tests.simulator.program import Run
from tests.simulator.runs import LOOPS, entered, nobody_leases, simulate
from tests.simulator.scenario import BreakError, Clock, CloseError, Scenario, SimulatedProvider
from tests.simulator.world import Books, Model, ViolationError

from doteval import CloseTimeoutError

RUNS = int(os.environ.get("SIMULATIONS", "100"))
SEEN = {
    *("opened", "open_failed", "open_cancelled", "leased", "released", "checking", "retiring", "closing"),
    *("closed", "close_failed", "lost"),
    *("CapacityDeadlockError", "CapacityExceededError", "ModelSetupError", "ProviderClosedError"),
    *("QueueFullError", "SetupTimeoutError"),
}
"""What must happen in the runs at some time, or they would show less than they seem to."""
FOUND = [("asyncio", 36780), ("trio", 13391), ("uvloop", 1339)]
"""Runs in which something did not hold once."""


@pytest.mark.process
@pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop != "uvloop" or "SIMULATIONS" in os.environ])
def test_whatever_tasks_do_what_is_promised_holds(loop: str) -> None:
    """Each run ends, and leaves nothing open; at no time is there more than may be, or anything that is not told."""
    counts: Counter[str] = Counter()
    for seed in range(LOOPS.index(loop), 3 * RUNS, 3):  # on each loop other programs
        counts += simulate(seed, loop)
    assert counts["runs"] == RUNS
    assert set(counts) >= SEEN, f"never seen: {SEEN - set(counts)}"


@pytest.mark.parametrize(("loop", "seed"), [run for run in FOUND if run[0] != "uvloop" or "SIMULATIONS" in os.environ])
def test_what_was_found_once_holds(loop: str, seed: int) -> None:
    """Beside the tests of each, with all that happened around it."""
    simulate(seed, loop)


@pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop != "uvloop"])
def test_a_seed_is_a_run(loop: str) -> None:
    """Where time is virtual, what is seen once is seen again."""
    assert simulate(7, loop) == simulate(7, loop)


class Planned(SimulatedProvider):
    """Opens in so many turns of the loop, and raises this as it closes, or nothing.

    Args:
        turns: How many.
        error: What closing raises.
    """

    def __init__(self, turns: int = 0, error: Exception | None = None) -> None:
        scenario = Scenario(0, Clock(virtual=False))
        super().__init__(Books("planned", scenario.slots, None, scenario.history), scenario, {})
        self.program = Run(scenario, self, None)
        self._turns = turns
        self._error = error

    @asynccontextmanager
    async def open(self, spec: str, /, **_: object) -> AsyncIterator[Model]:
        for _turn in range(self._turns):
            await checkpoint()
        model = Model(spec, ())
        model.state = "open"
        yield model
        if self._error is not None:
            raise self._error


@pytest.mark.anyio
async def test_what_is_opened_ahead_at_the_very_end_is_no_lease_of_anybody() -> None:
    """In whichever turn it is open, when all tasks are over; and a lease that somebody has left is told."""
    for turns in range(12):
        async with Planned(turns) as provider:
            assert provider.preload("a")
            await nobody_leases(provider.program)
    async with Planned() as provider, provider.setup("a"):
        with pytest.raises(ViolationError, match="nobody leases anything"):
            await nobody_leases(provider.program)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error",
    [CloseError("a"), BreakError("a"), CloseTimeoutError("a", 1.0), ExceptionGroup("several", [BreakError("a")])],
    ids=repr,
)
async def test_whatever_closing_a_resource_may_raise_may_come_out_of_a_block(error: Exception) -> None:
    """What breaks as it closes is a failure of the closing; what else a closing or the block itself raises is wrong."""
    provider = Planned(error=error)
    async with entered(provider.program), provider.setup("a"):
        pass
    assert not provider.program.books.is_wrong
    with pytest.raises(type(error)):
        async with entered(Planned().program):
            raise error
    other = Planned(error=ValueError("its own"))
    with pytest.raises(ViolationError, match="its own"):
        async with entered(other.program), other.setup("a"):
            pass
