"""``doteval servers``: what runs."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import anyio

from .._printed import say
from .._tables import Table
from ..servers._description.command import LOOPBACK
from ..servers._local.runtime import Runtime
from ._json import print_json
from ._look import Servers, Status, look, short_ids
from ._units import short_size, short_time

_HEAD = ("ID", "PID", "PORT", "STATE", "SLOTS", "LEASES", "HOLDS", "AGE", "IDLE", "MEMORY", "MODEL")
_NUMBERS = {1, 2, 4, 5, 6, 7, 8, 9}


def run(options: argparse.Namespace) -> int:
    """Print a line for each server, oldest first."""
    servers = anyio.run(look, Runtime())
    statuses = sorted(servers.known.values(), key=lambda status: status["started"])
    if options.json:
        print_json(map(_for_programs, statuses))
    elif statuses:
        say(*_table(statuses, short_ids(servers.ids)).texts_for(sys.stdout))
    elif not (servers.silent or servers.abandoned):
        say("no server is running")
    for problem in _problems(servers):
        say(f"doteval: {problem}", file=sys.stderr)
    return 0


def _table(statuses: list[Status], ids: dict[str, str]) -> Table:
    now = time.time()
    rows = [_row(status, ids[status["id"]], now) for status in statuses]
    return Table(rows, _HEAD, right=_NUMBERS, long=len(_HEAD) - 1)


def _row(status: Status, short_id: str, now: float) -> tuple[str, ...]:
    memory = status["memory"]
    return (
        short_id,
        str(status["pid"] or "-"),
        str(status["port"]),
        status["state"],
        _slots(status),
        str(status["leases"]),
        str(status["holds"]),
        short_time(now - status["started"]),
        "-" if status["leases"] else short_time(now - status["last_used"]),
        "-" if memory is None else short_size(memory),
        status["spec"],
    )


def _slots(status: Status) -> str:
    """How many slots it has, and how much of each where that is not all of it."""
    number, fraction = len(status["slots"]), status["fraction"]
    if not number or fraction == 1:
        return str(number or "-")
    return f"{fraction:g}" if number == 1 else f"{number} x {fraction:g}"


def _for_programs(status: Status) -> dict[str, Any]:
    now = time.time()
    same = ("id", "kind", "spec", "pid", "port", "state", "leases", "holds", "memory", "slots", "fraction", "log")
    return {
        **{name: status[name] for name in same},
        "url": f"http://{LOOPBACK}:{status['port']}",
        "command": status["shown"],
        "started": status["started"],
        "age": now - status["started"],
        "idle": None if status["leases"] else now - status["last_used"],
        "keep_alive": status["keep_alive"],
        "supervisor": status["supervisor"],
        "ended_by": status["ended_by"],
    }


def _problems(servers: Servers) -> list[str]:
    """What there is besides servers that answer."""
    return [
        *(f"{each} does not answer: its supervisor is stopped, or very busy" for each in sorted(servers.silent)),
        *(
            f"the supervisor of {each} was killed; 'doteval stop {each}' removes what it left"
            for each in sorted(servers.abandoned)
        ),
    ]
