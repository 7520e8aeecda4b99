"""Makes room: asks servers that nobody leases to end, because somebody waits for their slots."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .connection import status_of, visit
from .runtime import Runtime


async def statuses(runtime: Runtime) -> dict[str, dict[str, Any]]:
    """What every server of this user says of itself, by its id, but not its memory, which takes time to find out.

    Those that do not answer are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for server_id in runtime.server_ids():
        connection = runtime.connect(server_id)
        status = None if connection is None else await status_of(connection, server_id, memory=False)
        if status is not None:
            found[server_id] = status
    return found


async def make_room(runtime: Runtime, reason: str, missing: int, taken: Collection[str]) -> None:
    """Ask servers to end, the least recently used first, until enough slots are going to be free.

    One that is leased is asked last: it is then leased to nobody new, and ends after its last lease. Who is asked
    decides; this does not wait for it.

    Args:
        runtime: Where the servers are.
        reason: What the servers are told.
        missing: How many slots are needed besides those that are free.
        taken: The slots that would do.
    """
    known = [status for status in (await statuses(runtime)).values() if not set(status["slots"]).isdisjoint(taken)]
    known.sort(key=lambda status: (status["state"] != "ending", status["leases"] > 0, status["last_used"]))
    for status in known:
        if missing <= 0:
            return
        missing -= len(set(status["slots"]).intersection(taken))
        connection = None if status["state"] == "ending" else runtime.connect(status["id"])
        if connection is not None:
            await visit(connection, "end", reason=reason, drain=True)
