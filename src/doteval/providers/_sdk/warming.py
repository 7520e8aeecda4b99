"""Connections that are open before the first request needs one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from anyio import CancelScope, create_task_group

_TIMEOUT = (10.0, 10.0, 10.0, 0.0)
"""How long a server may be silent until nothing more is expected of it; where the pool has no room, nobody waits."""


@asynccontextmanager
async def warming(http_client: Any, url: Any, connections: int) -> AsyncGenerator[None]:
    """Open connections beside what the block does; whatever goes wrong is for the first request to find.

    HTTP has no request that asks for nothing, so each is opened by a HEAD of the address, without a key and without
    what the client sends else. All answers are there before the first connection is given back, or one would serve all.

    Args:
        http_client: What has the pool.
        url: Where the API is.
        connections: How many.
    """
    async with create_task_group() as task_group:
        task_group.start_soon(_open, http_client, url, connections, name=f"doteval connects to {url}")
        try:
            yield
        finally:
            task_group.cancel_scope.cancel()


async def _open(http_client: Any, url: Any, connections: int) -> None:
    answers: list[Any] = []

    async def open_one() -> None:
        with suppress(Exception):
            request = http_client.build_request("HEAD", url, timeout=_TIMEOUT)
            answers.append(await http_client.send(request, stream=True, follow_redirects=False))

    try:
        async with create_task_group() as task_group:
            for _ in range(connections):
                task_group.start_soon(open_one)
        for answer in answers:
            with suppress(Exception):
                await answer.aread()  # one that is not read to its end takes its connection with it
    finally:
        with CancelScope(shield=True):
            for answer in answers:
                with suppress(Exception):
                    await answer.aclose()
