"""Who is to make room: how much of each slot its servers have, and which of them have to go for a wish to fit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from .._supervisor.parts import WHOLE, amount_of

Status = dict[str, Any]


def taken_by(known: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How much of each slot is taken by these servers."""
    found: dict[str, int] = {}
    for status in known:
        for name in status["slots"]:
            found[name] = found.get(name, 0) + amount_of(status["fraction"])
    return found


def is_going(status: Status) -> bool:
    """Whether its slots are going to be free."""
    return status["state"] in ("ending", "falling asleep")


def is_in_vain(
    known: Iterable[Status], taken: Collection[str], missing: int, amount: int, spared: Collection[str]
) -> bool:
    """Whether those that are never asked have so much of these slots that all others could go, and it were too little.

    Args:
        known: What the servers say of themselves.
        taken: The slots that would do, and have no room.
        missing: How many of them are needed.
        amount: How much of each.
        spared: Those that are never asked, by their ids.
    """
    used = taken_by(status for status in known if status["id"] in spared and not is_going(status))
    return sum(used.get(name, 0) + amount <= WHOLE for name in taken) < missing


def whom_to_ask(
    known: Collection[Status], taken: Collection[str], missing: int, amount: int, spared: Collection[str] = ()
) -> Sequence[Status]:
    """Those that have to go so that so many more of the slots have room, the least recently used first.

    Those that are going anyway go first, and those that are leased last. Of the slots, those are made room on where
    nobody has to go who would not elsewhere. Where that cannot be enough, it is as many as can be.

    Args:
        known: What the servers say of themselves.
        taken: The slots that would do, and have no room.
        missing: How many of them are needed.
        amount: How much of each.
        spared: Those that are never asked, by their ids.
    """
    plans: list[list[Status]] = []
    for name in taken:
        holders = sorted((status for status in known if name in status["slots"]), key=_cost)
        room = WHOLE - taken_by(holders).get(name, 0)
        going: list[Status] = []
        for status in holders:
            if room >= amount:
                break
            if status["id"] in spared:
                continue
            room += amount_of(status["fraction"])
            going.append(status)
        if going and room >= amount:
            plans.append(_needed(going, amount, room))
        elif room >= amount and any(not status.get("ready", True) for status in holders):
            plans.append([])  # one starts there, and then there is room
    plans.sort(key=lambda plan: (_cost(plan[-1]) if plan else (), len(plan)))
    asked: dict[str, Status] = {}
    for going in plans[:missing]:
        asked.update({status["id"]: status for status in going})
    return sorted(asked.values(), key=_cost)


def _needed(going: list[Status], amount: int, room: int) -> list[Status]:
    """Without those that need not go, as others that came after them leave enough room."""
    kept = list(going)
    for status in going[-2::-1]:
        if not is_going(status) and room - amount_of(status["fraction"]) >= amount:
            room -= amount_of(status["fraction"])
            kept.remove(status)
    return kept


def _cost(status: Status) -> tuple[bool, bool, float]:
    return not is_going(status), status["leases"] > 0, status["last_used"]
