"""A few crashes at random moments; ``nox -s crashes`` tries many."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator

import pytest
from tests.forks import Forks
from tests.servers.crash_matrix import KILLS, OTHERS, PROGRAMS, Kind, Stage, stage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc")

SEED = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(10**6)))
GRACE = 0.2
"""How long a server may take to end, in seconds: one part of it takes all of it, and is looked for all the time."""
CHOSEN = {"SIGINT twice, pytest", "SIGTERM, asyncio", "os._exit in a test"}


@pytest.fixture(scope="module")
def here(forks: Forks) -> Iterator[Stage]:
    """A stage on which no time is spent to find out how long runs take."""
    with stage(SEED) as here:
        here.forks = forks
        here.grace = GRACE
        here.lasts = dict.fromkeys(PROGRAMS, 2.0)
        yield here


@pytest.mark.parametrize(
    "kind", [*KILLS[:4], *(kind for kind in OTHERS if kind.name in CHOSEN)], ids=lambda kind: kind.name
)
def test_a_crash_leaves_nothing(here: Stage, kind: Kind) -> None:
    """Within 15 seconds no process, socket or lock is left of the server, and the next run starts clean."""
    print(f"CRASH_SEED={SEED}")
    here.crash(kind)
