"""Makes room: asks servers that nobody leases to sleep or end, because somebody waits for their slots."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .._description.sleeping import sleep_told
from .._supervisor.messages import Ask
from .._supervisor.parts import WHOLE
from .connection import status_of, visit
from .making_room import Status, is_going, is_in_vain, whom_to_ask
from .runtime import Runtime
from .switching import KNOWN, put_to_sleep


async def statuses(runtime: Runtime) -> dict[str, Status]:
    """What every server of this user says of itself, by its id, but not its memory, which takes time to find out.

    Those that do not answer are left out.
    """
    found: dict[str, Status] = {}
    for server_id in runtime.server_ids():
        connection = runtime.connect(server_id)
        status = None if connection is None else await status_of(connection, server_id, memory=False)
        if status is not None:
            found[server_id] = status
    return found


class Room:
    """What is made for one launch that waits.

    Args:
        runtime: Where the servers are.
        server_id: What is to be launched; where it sleeps, it is not ended for others.
        reason: What the servers are told.
        amount: How much of each slot it needs.
        spared: Servers that are never asked.
    """

    def __init__(
        self, runtime: Runtime, server_id: str, reason: str, amount: int = WHOLE, spared: Collection[str] = ()
    ) -> None:
        self._runtime = runtime
        self._server_id = server_id
        self._reason = reason
        self._amount = amount
        self._spared = spared

    async def make(self, missing: int, taken: Collection[str]) -> bool:
        """Ask servers to sleep or end, the least recently used first, until enough slots are going to be free.

        One that is leased is asked last: it is then leased to nobody new, and makes way after its last lease. Who is
        asked decides; this does not wait for it. `False`, and nobody asked, where it would be in vain.

        Args:
            missing: How many slots are needed besides those that are free.
            taken: The slots that would do.
        """
        known = (await statuses(self._runtime)).values()
        if is_in_vain(known, taken, missing, self._amount, self._spared):
            return False
        for status in whom_to_ask(known, taken, missing, self._amount, self._spared):
            if not is_going(status):
                await self._ask(status, known)
        return True

    async def make_all(self, taken: Collection[str]) -> bool:
        """The same for just these slots; `False`, and nobody asked, where that would take somebody's lease."""
        known = (await statuses(self._runtime)).values()
        holders = whom_to_ask(known, taken, len(taken), self._amount, self._spared)
        held = {name for status in holders for name in status["slots"]}
        if not held.issuperset(taken) or any(status["leases"] for status in holders):
            return False
        for status in holders:
            if not is_going(status):
                await self._ask(status, known)
        return True

    async def _ask(self, status: Status, known: Iterable[Status]) -> None:
        connection = self._runtime.connect(status["id"])
        if connection is None:
            return
        how = KNOWN.get(status["id"]) or sleep_told(status["sleep"])
        if how is None:
            await visit(connection, Ask.end(self._reason, drain=True))
            return
        answer = await put_to_sleep(connection, how, self._reason)
        if answer.get("is_full"):
            await self._find_bed(status, known)

    async def _find_bed(self, status: Status, known: Iterable[Status]) -> None:
        """End who sleeps longest where another one is to sleep; where nobody can be ended, the other one is."""
        beds = range(status["beds"])
        sleepers = [each for each in known if each["bed"] in beds and each["id"] != self._server_id]
        if any(each["state"] == "ending" for each in sleepers):
            return
        sleepers = [each for each in sleepers if each["state"] == "asleep"]
        sleeper = min(sleepers, key=lambda each: each["last_used"], default=None)
        connection = self._runtime.connect(status["id"] if sleeper is None else sleeper["id"])
        if connection is not None:
            await visit(connection, Ask.end(self._reason) if sleeper is None else Ask.end_sleeping(self._reason))
