"""The virtual clocks that our own tests use."""

from __future__ import annotations

import anyio
import pytest
from tests.virtual_time import virtual_time

pytestmark = [pytest.mark.anyio, virtual_time]

YEAR = 365 * 24 * 3600.0


async def test_a_year_passes_at_once() -> None:
    """Sleepers wake in order, at their time, and the test does not wait."""
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await anyio.sleep(seconds)
        woken.append((name, anyio.current_time()))

    start = anyio.current_time()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(sleeper, "year", YEAR)
        task_group.start_soon(sleeper, "second", 1)
    assert [name for name, _ in woken] == ["second", "year"]
    assert [when - start for _, when in woken] == pytest.approx([1, YEAR])


async def test_a_deadline_in_a_day_is_met() -> None:
    """Time-outs run on the same clock."""
    with anyio.move_on_after(24 * 3600) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
