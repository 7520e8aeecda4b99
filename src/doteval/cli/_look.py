"""Which servers there are, as their supervisors tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyio import create_task_group

from ..servers._local.connection import status_of
from ..servers._local.runtime import Runtime

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of a runtime directory.

    Args:
        known: What those that answer say, by id.
        silent: The ids of those that do not answer.
        abandoned: The ids of those whose supervisor was killed.
    """

    known: dict[str, Status] = field(default_factory=dict[str, Status])
    silent: list[str] = field(default_factory=list[str])
    abandoned: list[str] = field(default_factory=list[str])

    @property
    def ids(self) -> list[str]:
        """All of them."""
        return sorted([*self.known, *self.silent, *self.abandoned])


async def look(runtime: Runtime) -> Servers:
    """Ask all supervisors, at the same time; who is silent for two seconds does not answer."""
    found = Servers()

    async def ask(server_id: str) -> None:
        connection = runtime.connect(server_id)
        if connection is None:
            if is_abandoned(runtime, server_id):
                found.abandoned.append(server_id)
            return
        status = await status_of(connection, server_id)
        if status is not None:
            found.known[server_id] = status
        elif runtime.socket_path(server_id).exists():  # or it ended at this moment
            found.silent.append(server_id)

    async with create_task_group() as task_group:
        for server_id in runtime.server_ids():
            task_group.start_soon(ask, server_id)
    return found


def is_abandoned(runtime: Runtime, server_id: str) -> bool:
    """Whether there is a socket, but nobody behind it: not even somebody who has just made it."""
    with runtime.locked() as lock:
        return lock is not None and runtime.socket_path(server_id).exists() and not runtime.is_alive(server_id)


def short_ids(ids: Collection[str]) -> dict[str, str]:
    """The ids with as much of the digest at their end as tells all of them apart, at least four digits."""
    shortened = dict.fromkeys(ids, "")
    for length in range(4, 13):
        shortened = {each: f"{kind}-{digest[:length]}" for each in ids for kind, _, digest in [each.rpartition("-")]}
        if len(set(shortened.values())) == len(shortened):
            break
    return shortened
