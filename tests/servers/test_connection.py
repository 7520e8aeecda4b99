"""A client's end of the line to a supervisor: leases, holds and visits, also where nobody answers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from anyio import fail_after
from tests.conftest import anyio_backend  # noqa: F401 - every loop
from tests.servers.callers import Caller, Supervisors
from tests.servers.leftovers import await_end

from doteval.servers._local.connection import SUPERVISOR_KILLED, Connection, SupervisorGoneError, join, visit
from doteval.servers._local.holds import Holds
from doteval.servers._supervisor.messages import Ask

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.counts_open_files,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the fixtures look for what is left in /proc"),
]

PATIENCE = 30.0
GRACE = 0.6


def ready(supervisors: Supervisors, kind: str = "good", **job: object) -> Caller:
    """A server that is ready and leased by the caller."""
    caller = supervisors.start(kind, **job)
    caller.expect_up()
    caller.ask("ready")
    return caller


async def connected(supervisors: Supervisors) -> Connection:
    connection = supervisors.runtime.connect("bad-1")
    assert connection is not None
    joined = await join(connection, keep_alive=0)
    assert joined is not None
    return joined


# ---------------------------------------------------------------- leases


async def test_a_lease_is_made_kept_and_given_back(supervisors: Supervisors) -> None:
    """Who joins knows the server; who leaves without being the last one does not wait for its end."""
    caller = ready(supervisors)
    joined = await connected(supervisors)
    assert joined.met == {""}
    assert joined.server["pid"] == joined.pid
    with fail_after(PATIENCE):
        async with joined.running():
            assert (await joined.ask(Ask.status()))["status"]["leases"] == 2
            joined.hold(0)
            assert (await joined.ask(Ask.status()))["status"]["holds"] == 1
            assert (await joined.lease(0))["granted"]
            await joined.leave()
            assert (await joined.ask(Ask.status()))["status"]["leases"] == 1
    assert caller.status()["leases"] == 1


async def test_who_leaves_last_waits_for_the_end(supervisors: Supervisors) -> None:
    """When it has left, nothing of the server is left, and it is known how it ended."""
    caller = ready(supervisors, "ignores_term", grace=GRACE)
    joined = await connected(supervisors)
    caller.close()
    with fail_after(PATIENCE):
        async with joined.running():
            while (await joined.ask(Ask.status()))["status"]["leases"] == 2:
                pass
            await joined.leave()
    assert joined.exit is not None
    assert (joined.exit.code, joined.exit.expected) == (-signal.SIGKILL, True)
    assert not supervisors.runtime.server_ids()


async def test_the_end_of_the_server_ends_every_question(supervisors: Supervisors) -> None:
    """Who asks when it is too late, or waits for an answer that never comes, is told so."""
    caller = ready(supervisors)
    joined = await connected(supervisors)
    ends: list[int] = []
    joined.on_exit = lambda: ends.append(1)
    with fail_after(PATIENCE):
        async with joined.running():
            with caller.standstill():
                os.kill(caller.supervisor, signal.SIGKILL)
                with pytest.raises(SupervisorGoneError):
                    await joined.ask(Ask.status())
            await joined.is_over.wait()
            with pytest.raises(SupervisorGoneError):
                await joined.ask(Ask.status())
            await joined.leave()
    assert joined.exit is SUPERVISOR_KILLED
    assert ends == [1]
    assert await_end(caller.supervisor)
    with supervisors.runtime.locked():
        supervisors.runtime.bury_dead()


async def test_what_the_block_raises_stays_what_it_is(supervisors: Supervisors) -> None:
    """No group is put around it, and the connection is closed."""
    ready(supervisors)
    joined = await connected(supervisors)
    with pytest.raises(LookupError, match="mine"):
        async with joined.running():
            raise LookupError("mine")


async def test_nobody_joins_a_server_that_ends(supervisors: Supervisors) -> None:
    """There is no lease on it, and no connection is left open."""
    caller = ready(supervisors, "ignores_term", grace=GRACE)
    caller.ask("stop", reason="enough")
    connection = supervisors.runtime.connect("bad-1")
    assert connection is not None
    assert await join(connection, keep_alive=0) is None
    assert connection.fileno() == -1


async def test_a_supervisor_that_does_not_answer_is_not_waited_for(
    supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A visit, or a wish for a lease, is given up after a while; the lease that may have been meant is none."""
    monkeypatch.setattr("doteval.servers._local.connection._VISIT_SECONDS", 0.05)
    caller = ready(supervisors)
    connections = [supervisors.runtime.connect("bad-1") for _ in range(2)]
    assert connections[0] is not None
    assert connections[1] is not None
    with caller.standstill():
        assert await visit(connections[0], Ask.status()) is None
        assert await join(connections[1], keep_alive=3600) is None
    while caller.status()["leases"] != 1:
        pass
    caller.ask("stop", reason="it may have heard of the 3600 seconds")


async def test_a_visit_is_answered(supervisors: Supervisors) -> None:
    """It counts for nothing."""
    ready(supervisors)
    connection = supervisors.runtime.connect("bad-1")
    assert connection is not None
    answer = await visit(connection, Ask.status())
    assert answer is not None
    assert (answer["status"]["leases"], answer["status"]["holds"]) == (1, 0)
    assert connection.fileno() == -1


# ---------------------------------------------------------------- holds


def test_a_hold_keeps_a_server_without_any_event_loop(supervisors: Supervisors) -> None:
    """It counts from the moment it is made, and until it is closed, which waits for the end of the server."""
    caller = ready(supervisors)
    holds = Holds(supervisors.runtime)
    with caller.standstill():
        holds.hold("bad-1", 0)
        holds.hold("bad-1", 0)
        caller.close()
    visitor = supervisors.call()
    while visitor.status()["leases"]:
        pass
    assert visitor.status()["holds"] == 1
    assert holds.why_ended("bad-1") == ""
    holds.close(PATIENCE)
    assert not supervisors.runtime.server_ids()
    visitor.expect_end()


def test_a_hold_that_others_share_is_not_waited_for(supervisors: Supervisors) -> None:
    """Where the server stays because of others, closing takes no time."""
    caller = ready(supervisors)
    holds = Holds(supervisors.runtime)
    holds.hold("bad-1", 0)
    holds.close(3600)
    assert caller.status()["holds"] == 0
    assert caller.status()["state"] == "ready"


def test_a_server_that_does_not_end_is_not_waited_for_longer_than_told(supervisors: Supervisors) -> None:
    """It ends without anybody who waits for it."""
    caller = ready(supervisors, "ignores_term", grace=GRACE)
    holds = Holds(supervisors.runtime)
    holds.hold("bad-1", 0)
    caller.close()
    holds.close(0.05)
    holds.close(0.05)
    assert supervisors.runtime.server_ids() == ["bad-1"]


def test_it_is_known_why_a_server_that_was_held_has_ended(supervisors: Supervisors) -> None:
    """The reason is asked for when it is started again, and can be held again then."""
    holds = Holds(supervisors.runtime)
    holds.hold("bad-1", 0)
    assert holds.why_ended("bad-1") == ""
    for _ in range(2):
        caller = ready(supervisors)
        holds.hold("bad-1", 0)
        caller.ask("stop", reason="its slots are needed")
        caller.expect_end()
        assert await_end(caller.supervisor)
        assert holds.why_ended("bad-1") == "its slots are needed"
        assert holds.why_ended("bad-1") == ""
    holds.close(PATIENCE)
