"""``Waiting``: a launch that waits for slots, and whether it would do so for ever.

A task that leases one server and waits for another keeps the first one's slots for as long as it waits. Providers know
nothing of each other, nor do processes. So whoever waits tells the supervisors of all servers that those who wait for
it lease: "who leases you here waits for these slots". Everybody who waits can ask all supervisors, and finds a circle.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from anyio import current_time
from anyio.lowlevel import current_token

from ..._errors import CapacityDeadlockError
from .._contract import LeaseListener
from .._slots.queue import in_line
from .._supervisor.messages import Ask
from .._supervisor.parts import WHOLE
from .._supervisor.protocol import PROTOCOL
from .connection import Connection
from .making_room import taken_by
from .room import statuses
from .runtime import Runtime

logger = logging.getLogger("doteval.servers")

LOOK_SECONDS = 0.25
"""How often somebody who waits asks the supervisors, in seconds."""
SAY_SECONDS = 10.0
"""How long somebody waits until it is said who holds what, in seconds; after that, each time as long again."""


class Wish(NamedTuple):
    """What somebody waits for.

    Args:
        names: The slots that will do.
        number: How many of them it needs.
        amount: How much of each.
    """

    names: tuple[str, ...]
    number: int
    amount: int = WHOLE


class Uses:
    """The servers that are leased in this process, each by a connection, with who tells by whom."""

    def __init__(self) -> None:
        self._uses: dict[Connection, tuple[object, LeaseListener]] = {}
        self._waiting: dict[Connection, dict[Waiting, None]] = {}

    def add(self, connection: Connection, listener: LeaseListener) -> None:
        """A server is leased from now on."""
        self._uses[connection] = (current_token().native_token, listener)

    def remove(self, connection: Connection) -> None:
        """It is not any more."""
        self._uses.pop(connection, None)
        self._waiting.pop(connection, None)

    def told(self, waiting: Waiting, users: Collection[object]) -> list[Connection]:
        """Tell the servers that any of these users lease in this event loop; returns their connections."""
        found: list[Connection] = []
        here = current_token().native_token
        for connection, (loop, listener) in list(self._uses.items()):
            is_in_use = loop is here and not set(users).isdisjoint(listener.users())
            wishes = self._waiting.setdefault(connection, {})
            if is_in_use:
                found.append(connection)
            if is_in_use is not (waiting in wishes) and loop is here:
                wishes[waiting] = None
                if not is_in_use:
                    del wishes[waiting]
                connection.send(Ask.waits(each.wish for each in wishes))
        return found

    def users_of(self, connections: Iterable[Connection]) -> set[object]:
        """Who leases the servers behind these."""
        return {user for each in connections for user in self._uses[each][1].users()}


USES = Uses()
"""Those of this process, whichever provider and launcher they belong to."""


class Waiting:
    """One launch that waits.

    Args:
        runtime: Where the servers are.
        spec: What it waits for, for messages.
        wish: The slots that it needs.
        listener: Who tells which tasks wait for it.
    """

    def __init__(self, runtime: Runtime, spec: str, wish: Wish, listener: LeaseListener) -> None:
        self.wish = wish
        self._runtime = runtime
        self._spec = spec
        self._listener = listener
        self._look_at = current_time()
        self._began = current_time()
        self._say_after = SAY_SECONDS
        self._was_stuck = False

    async def look(self) -> None:
        """Find out whether this would be for ever; say who holds what where it takes long. Call it again and again.

        Raises:
            CapacityDeadlockError: Those who hold the slots wait for them, or for others that are held in this way.
        """
        now = current_time()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        users = set(self._listener.users())
        holders = users & USES.users_of(USES.told(self, users))
        has_leases = bool(holders)
        is_long = now >= self._began + self._say_after
        if not has_leases and not is_long:
            return
        known = await statuses(self._runtime)
        # Twice, as the supervisors are asked one after the other, and somebody may have been served in between.
        is_stuck = has_leases and is_held_for_ever(self.wish, known.values())
        if is_stuck and self._was_stuck:
            error = CapacityDeadlockError([self._spec], self._account(known))
            if holders == users:
                raise error
            self._was_stuck = False
            self._listener.on_stuck(holders, error)  # who holds nothing is served once these let go
            return
        self._was_stuck = is_stuck
        if is_long:
            self._say_after *= 2
            account = "\n".join(f"  {line}" for line in self._account(known))
            logger.warning("'%s' has been waiting for a slot for %.0f s.\n%s", self._spec, now - self._began, account)

    def end(self) -> None:
        """It does not wait any more."""
        USES.told(self, ())

    def _account(self, known: Mapping[str, Mapping[str, Any]]) -> list[str]:
        lines = [
            _described(known[each])
            for each in sorted(known)
            if not set(self.wish.names).isdisjoint(known[each]["slots"])
        ]
        lines += [
            f"{each} is of another version of doteval, which does not tell its slots; 'doteval stop {each}' ends it"
            for each in sorted(known)
            if known[each]["protocol"] != PROTOCOL and not known[each]["slots"] and known[each]["bed"] is None
        ]
        silent = [each for each in self._runtime.server_ids() if each not in known]
        lines += [
            f"{each} does not answer: its supervisor is stopped, killed, or very busy; "
            f"'doteval stop --force {each}' ends it"
            for each in silent
        ]
        size = f"{self.wish.number} of {', '.join(self.wish.names)}"
        if self.wish.amount < WHOLE:
            size = f"a part ({self.wish.amount / WHOLE:g}) of {size}"
        queue = in_line(self._runtime.root, self.wish.names)
        if len(queue) > 1:
            lines.append(f"served in this order: {', '.join(queue)}")
        return [*lines, f"'{self._spec}' waits for {size}"]


def is_held_for_ever(wish: Wish, known: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a wish cannot be fulfilled though all who do not wait let go of what they lease.

    Args:
        wish: What is waited for.
        known: What each supervisor says: its slots, how much it has of each, and what those who lease its server wait
            for.
    """
    held = [(each, [Wish(tuple(names), count, amount) for names, count, amount in each["waits"]]) for each in known]
    while True:
        taken = taken_by(each for each, _ in held)
        still = [(each, wishes) for each, wishes in held if any(_is_short(wish, taken) for wish in wishes)]
        if len(still) == len(held):
            return _is_short(wish, taken)
        held = still


def _is_short(wish: Wish, taken: Mapping[str, int]) -> bool:
    return sum(taken.get(name, 0) + wish.amount <= WHOLE for name in set(wish.names)) < wish.number


def _described(status: Mapping[str, Any]) -> str:
    slots = ", ".join(status["slots"])
    if status["fraction"] < 1:
        slots = f"{status['fraction']:g} of {slots}"
    leases = f"{status['leases']} lease{'' if status['leases'] == 1 else 's'}"
    waits: Sequence[object] = status["waits"]
    waiting = f", of which {len(waits)} wait{'s' if len(waits) == 1 else ''} for slots" if waits else ""
    return (
        f"{slots}: '{status['spec']}' ({status['id']}, process {status['pid']}), {status['state']}, {leases}{waiting}"
    )
