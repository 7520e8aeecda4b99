"""The keeper: where a supervisor is killed, nothing of its server is left, whoever is killed with it."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.servers.callers import Caller, Supervisors
from tests.servers.leftovers import await_end, is_locked, leftovers

from doteval.servers._supervisor.protocol import MARKER

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.counts_open_files,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc"),
]

SECONDS = 5.0
"""After how long nothing may be left."""
GRACE = 0.5


def assert_nothing_is_left(supervisors: Supervisors) -> None:
    began = time.monotonic()
    assert leftovers(supervisors.runtime.root) == []
    assert time.monotonic() - began < SECONDS


@pytest.mark.parametrize("kind", ["family", "ignores_term", "detaches", "stands_still", "daemon"])
def test_what_a_killed_supervisor_leaves_is_ended_by_its_keeper(supervisors: Supervisors, kind: str) -> None:
    """With its files, and whatever the server is made of; nobody else does anything."""
    caller = supervisors.start(kind, grace=60, files={"key": "the-key"})
    if kind != "daemon":
        caller.expect_up()
    caller.kill(keeper=False)
    assert_nothing_is_left(supervisors)


def _slot(supervisors: Supervisors) -> tuple[Path, int]:
    supervisors.runtime.slots.mkdir(0o700)
    slot = supervisors.runtime.slots / "slot-0"
    descriptor = os.open(slot, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return slot, descriptor


def test_slots_are_taken_until_the_keeper_is_done(supervisors: Supervisors) -> None:
    """Its lock is the supervisor's."""
    slot, descriptor = _slot(supervisors)
    caller = supervisors.start("family", slot_fds=[descriptor])
    os.close(descriptor)
    caller.expect_up()
    os.kill(caller.keeper, signal.SIGSTOP)
    caller.kill(keeper=False)
    assert is_locked(slot)
    os.kill(caller.keeper, signal.SIGCONT)
    assert await_end(caller.keeper)
    assert not is_locked(slot)


@pytest.mark.parametrize(
    "victims", [each for count in (2, 3) for each in itertools.permutations(("user", "supervisor", "server"), count)]
)
def test_nothing_outlives_its_users_whoever_is_killed_together(
    supervisors: Supervisors, victims: tuple[str, ...]
) -> None:
    """In whatever order: the kernel, the keeper or the supervisor ends what is left."""
    caller = supervisors.start("family", grace=GRACE)
    pids = caller.expect_up()
    for victim in victims:
        if victim == "user":
            caller.close()
        else:
            with suppress(ProcessLookupError):  # the one before may have ended it
                os.kill(caller.supervisor if victim == "supervisor" else pids[0], signal.SIGKILL)
    assert_nothing_is_left(supervisors)


def test_a_server_dies_with_its_supervisor_though_the_keeper_does_too(supervisors: Supervisors) -> None:
    """By the signal of the kernel; no program of ours is left to send it."""
    caller = supervisors.start("ignores_term")
    (pid,) = caller.expect_up()
    caller.kill()
    assert await_end(pid, SECONDS)
    with supervisors.runtime.locked():
        supervisors.runtime.bury_dead()


def test_who_kills_the_children_of_a_program_kills_no_supervisor(supervisors: Supervisors) -> None:
    """The keeper is that child; the supervisor serves on without it, and ends all in order."""
    caller = supervisors.start("family", grace=GRACE)
    caller.expect_up()
    os.kill(caller.keeper, signal.SIGKILL)
    assert await_end(caller.keeper)
    assert caller.status()["leases"] == 1
    caller.close()
    assert_nothing_is_left(supervisors)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_keeper_that_is_told_to_end_tells_its_supervisor(supervisors: Supervisors, number: signal.Signals) -> None:
    """And ends after it."""
    caller = supervisors.start("family", grace=GRACE)
    caller.expect_up()
    os.kill(caller.keeper, number)
    assert caller.expect("exited")["reason"] == f"its supervisor got {number.name}"
    assert_nothing_is_left(supervisors)


def test_the_next_server_of_this_name_is_left_alone(supervisors: Supervisors) -> None:
    """Somebody buries the dead and starts it again before the keeper comes to it."""
    before = supervisors.start("family")
    before.expect_up()
    os.kill(before.keeper, signal.SIGSTOP)
    before.kill(keeper=False)
    after = supervisors.start()
    (pid,) = after.expect_up()
    os.kill(before.keeper, signal.SIGCONT)
    assert await_end(before.keeper)
    os.kill(pid, 0)
    assert supervisors.call().status()["pid"] == pid
    assert (after.directory / "server.log").exists()


@pytest.mark.parametrize("step", ["rmtree", "unlink"])
def test_who_buries_the_dead_and_dies_leaves_the_rest_to_the_keeper(
    supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """At whichever step that is."""
    caller = supervisors.start("family")
    caller.expect_up()
    os.kill(caller.keeper, signal.SIGSTOP)
    caller.kill(keeper=False)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    runtime = supervisors.runtime
    monkeypatch.setattr(shutil if step == "rmtree" else Path, step, die)
    with pytest.raises(KeyboardInterrupt), runtime.locked():
        runtime.bury_dead()
    monkeypatch.undo()
    os.kill(caller.keeper, signal.SIGCONT)
    assert_nothing_is_left(supervisors)


def test_it_is_said_what_ends_a_server(supervisors: Supervisors) -> None:
    """Where the supervisor is killed, that is."""
    caller = supervisors.start()
    assert caller.status()["ended_by"] == ["kernel", "keeper"]


def test_what_the_starter_ignores_is_not_ignored(supervisors: Supervisors) -> None:
    """As its signals that are blocked, which both would inherit."""
    numbers = [signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT]
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        caller = supervisors.start("good")
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    (server,) = caller.expect_up()
    for pid, wanted in (
        (caller.supervisor, {signal.SIGPIPE, signal.SIGXFSZ}),
        (server, {signal.SIGPIPE, signal.SIGXFSZ}),
    ):
        found = re.search(r"^SigIgn:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        assert {number for number in signal.valid_signals() if int(found[1], 16) >> (number - 1) & 1} <= wanted
    os.kill(server, signal.SIGKILL)
    assert caller.expect("exited")["code"] == -signal.SIGKILL


# ---------------------------------------------------------------- other servers


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_belongs_to_another_server_is_left_alone(supervisors: Supervisors, tmp_path: Path, end: str) -> None:
    """A server may have started one for everybody: that has a mark of its own, and outlives it."""
    caller = supervisors.start("starts_for_others", environment={"OTHER": str(tmp_path)}, grace=GRACE)
    printed = caller.expect_text("\nup\n")
    while len(others := re.findall(r"^other (\d+)$", printed, re.MULTILINE)) < 2:
        caller.expect("output")
        printed = (caller.directory / "server.log").read_text()
    try:
        if end == "stop":
            caller.ask("stop", reason="")
            caller.expect_end()
        else:
            caller.kill(keeper=False)
        assert_nothing_is_left(supervisors)
        for pid in others:
            assert f"{MARKER}={tmp_path}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    finally:
        for pid in map(int, others):
            os.kill(pid, signal.SIGKILL)
            assert await_end(pid)


def test_a_supervisor_is_no_part_of_the_server_that_starts_it(
    supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a mark of its own, whatever it inherits."""
    monkeypatch.setenv(MARKER, "/another/server")
    caller: Caller = supervisors.start()
    for pid in (caller.keeper, caller.supervisor):
        marks = [
            each for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if each.startswith(b"DOTEVAL_S")
        ]
        assert marks == [f"{MARKER}={caller.directory}/supervisor".encode()]
