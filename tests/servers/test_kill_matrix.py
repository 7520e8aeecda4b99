"""A hundred kills at random moments; ``nox -s crashes`` makes a thousand, ``KILLS`` says how many are made here."""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.forks import Forks
from tests.servers.crash_matrix import stage
from tests.servers.kill_matrix import can_contain, plan, play, prepare
from tests.servers.test_crashes import GRACE

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

SEED = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
KILLS, OF_XDIST, CONTAINED, SIDES = int(os.environ.get("KILLS", "100")), 4, 4, 3
PARTS = max(1, KILLS // 50)


@pytest.mark.parametrize("part", range(PARTS))
def test_whoever_is_killed_together_nothing_is_left(forks: Forks, part: int) -> None:
    """Within five seconds no process, socket, lock or file is left of a server; the next run starts clean.

    Most of the time is waited for something to happen or to end, so this is seen in some directories side by side.
    """
    print(f"KILL_SEED={SEED}")

    def killed(side: int) -> None:
        with stage(SEED + part * SIDES + side) as here:
            prepare(here, forks)
            here.grace = GRACE
            contained = CONTAINED * can_contain(forks, here)
            rounds = plan(random.Random(SEED), KILLS, with_xdist=OF_XDIST, contained=contained)
            mine = rounds[part * SIDES + side :: PARTS * SIDES]
            for number, this in enumerate(mine, 1):
                print(play(here, this, checked=number == len(mine)))

    with ThreadPoolExecutor(SIDES) as threads:
        list(threads.map(killed, range(SIDES)))
