"""Kills at random moments; ``nox -s crashes`` makes a thousand, ``KILLS`` says how many are made here."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator

import pytest
from tests.forks import Forks
from tests.servers.crash_matrix import Stage, stage
from tests.servers.kill_matrix import kill, plan, prepare

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

SEED = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
KILLS, OF_XDIST, AT_ONCE = int(os.environ.get("KILLS", "30")), 3, 10


@pytest.fixture(scope="module")
def here(forks: Forks) -> Iterator[Stage]:
    with stage(SEED) as here:
        prepare(here, forks)
        yield here


@pytest.mark.parametrize("part", range(KILLS // AT_ONCE))
def test_whoever_is_killed_together_nothing_is_left(here: Stage, part: int) -> None:
    """Within five seconds no process, socket or lock is left of the server; the next run starts clean."""
    print(f"KILL_SEED={SEED}")
    kills = list(plan(random.Random(SEED), KILLS, OF_XDIST))[part :: KILLS // AT_ONCE]
    for number, (program, group) in enumerate(kills, 1):
        print(kill(here, program, group, checked=number == len(kills)))
