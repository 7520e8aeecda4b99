"""The pool of connections where tasks are cancelled as asyncio cancels them, of which no scope knows."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from tests.providers.network import BODY, Network
from tests.providers.test_connections import assert_nobody_waits_for_nothing, client_on, connections_of


@pytest.mark.parametrize("is_read", [True, False])
def test_who_is_cancelled_when_it_has_just_been_served_gives_it_on(
    is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scopes of anyio and trio cancel nobody who has been woken; `asyncio.Task.cancel` does."""

    async def main() -> None:
        network = Network()
        async with client_on(network, 1, 1) as client:
            pool = connections_of(client)
            give_on = pool._give_on

            def and_cancel(connection: object) -> object:
                unneeded = give_on(connection)
                waits[0].cancel()
                return unneeded

            first = await client.send(client.build_request("GET", "http://a/ok"), stream=True)
            waits = [asyncio.create_task(client.get("http://a/ok")) for _ in range(2)]
            await anyio.wait_all_tasks_blocked()
            assert len(pool._waiting) == 2
            monkeypatch.setattr(pool, "_give_on", and_cancel)
            await (first.aread() if is_read else first.aclose())
            assert (await waits[1]).content == BODY
            with pytest.raises(asyncio.CancelledError):
                await waits[0]
            assert_nobody_waits_for_nothing(pool)
            assert len(pool.connections) == len(network.open) == 1
        assert not network.open

    asyncio.run(main())
