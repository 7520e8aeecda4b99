"""Several wait for one server to get ready: each by a condition of its own, and for as long as it likes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group, fail_after, move_on_after
from tests.servers.callers import state
from tests.servers.lights import PATIENCE, light

from doteval import ModelSetupError, ServerProvider
from doteval.servers import HTTPReady, LocalLauncher, PortOpen, ReadinessView, ReadyWhen
from doteval.servers._local import getting_ready, starting, supervisors
from doteval.servers._local.runtime import Runtime

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency, pytest.mark.process]


class Gate:
    """What a server waits for before it listens."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path)
        self.command = light("trouble=slow", f"gate={path}")
        self._descriptor = os.open(path, os.O_RDWR)

    def open(self) -> None:
        """Let it go on, also where it has not come to it yet."""
        free = self._path.with_name("free")
        free.touch()
        free.replace(self._path)
        os.close(self._descriptor)


async def complains(view: ReadinessView) -> bool:
    raise KeyError("a mistake")


@pytest.mark.parametrize("is_first", [True, False], ids=["starts it", "joins it"])
@pytest.mark.parametrize(
    ("impatient", "why"),
    [({"start_timeout": 0.1}, "did not get ready within 0.1 s"), ({"ready": ReadyWhen(complains)}, "KeyError")],
    ids=["short of time", "mistaken"],
)
async def test_who_gives_up_leaves_the_others_alone(
    runtime: Runtime, tmp_path: Path, impatient: dict[str, Any], why: str, is_first: bool
) -> None:
    """The server goes on starting for the one that waits; only the other one is told, with what was printed."""
    gate = Gate(tmp_path / "gate")
    launchers = [LocalLauncher(runtime.root) for _ in range(2)]
    here = [anyio.Event(), anyio.Event()]
    for launcher, event in zip(launchers, here, strict=True):
        launcher.on_connected = lambda *_, event=event: event.set()
    async with (
        ServerProvider(gate.command, launcher=launchers[0]) as patient,
        ServerProvider(gate.command, launcher=launchers[1], **impatient) as other,
    ):

        async def ask() -> None:
            async with await patient.setup("m") as handle:
                assert await handle.model.generate("Hello") == str(handle.model.server.pid)

        async def give_up() -> None:
            with pytest.raises(ModelSetupError, match=why):
                await other.setup("m")

        with fail_after(PATIENCE):
            async with create_task_group() as group:
                if is_first:
                    async with create_task_group() as both:
                        both.start_soon(give_up)
                        await here[1].wait()
                        group.start_soon(ask)
                else:
                    group.start_soon(ask)
                    await here[0].wait()
                    await give_up()
                await here[0].wait()
                gate.open()
    assert sum(len(launcher.starts) for launcher in launchers) in (1, 2)


async def test_the_last_one_that_gives_up_ends_it(runtime: Runtime, tmp_path: Path) -> None:
    """Nobody is there who would wait for it."""
    gate = Gate(tmp_path / "gate")
    async with ServerProvider(gate.command, launcher=LocalLauncher(runtime.root), start_timeout=0.1) as provider:
        with pytest.raises(ModelSetupError, match=r"did not get ready within 0\.1 s"):
            await provider.setup("m")
        assert not runtime.server_ids()
        assert list(runtime.logs.iterdir()), "its log is kept"
    gate.open()


async def test_nobody_takes_a_server_for_ready_because_somebody_else_does(runtime: Runtime) -> None:
    """Who waits for more waits for that; who waits for the same does not look again."""
    looked: list[str] = []
    may_be = anyio.Event()

    async def loaded(view: ReadinessView) -> bool:
        looked.append("loaded")
        return may_be.is_set()

    command = light()
    async with (
        ServerProvider(command, launcher=LocalLauncher(runtime.root), ready=PortOpen()) as easy,
        ServerProvider(command, launcher=LocalLauncher(runtime.root), ready=ReadyWhen(loaded)) as hard,
        ServerProvider(command, launcher=LocalLauncher(runtime.root), ready=ReadyWhen(loaded)) as same,
        await easy.setup("m") as first,
    ):
        done = anyio.Event()

        async def ask() -> None:
            async with await hard.setup("m") as handle:
                assert handle.model.server.pid == first.model.server.pid
                looks = len(looked)
                async with await same.setup("m"):
                    assert len(looked) == looks
            done.set()

        with fail_after(PATIENCE):
            async with create_task_group() as group:
                group.start_soon(ask)
                while len(looked) < 3:
                    await anyio.lowlevel.checkpoint()
                assert not done.is_set()
                may_be.set()


def test_conditions_that_look_the_same_are_the_same() -> None:
    """They are told apart by what they are, in every process."""
    assert repr(HTTPReady("/health")) == repr(HTTPReady("/health")) != repr(HTTPReady("/ready"))


@pytest.mark.parametrize("moment", ["before its first answer", "while the server starts"])
async def test_a_stopped_supervisor_is_named_when_the_time_is_over(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Neither the first answer nor the last words are waited for without end, nor is the end of the lease."""
    monkeypatch.setattr(starting, "CONFIRM_SECONDS", 0.1)
    monkeypatch.setattr(getting_ready, "GIVE_UP_SECONDS", 0.1)
    gate = Gate(tmp_path / "gate")
    launcher = LocalLauncher(runtime.root)
    before = set(supervisors._children)
    stopped: list[int] = []

    def stop(*_: object) -> None:
        for keeper in supervisors._children - before:
            os.kill(keeper, signal.SIGSTOP)
            stopped.append(keeper)
            while state(keeper) != "T":  # from then on it has no more children
                time.sleep(0.001)
            for child in map(int, Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()):
                os.kill(child, signal.SIGSTOP)
                stopped.append(child)

    async def stops(_: ReadinessView) -> bool:
        if not stopped:
            stop()
        return False

    settings: dict[str, Any] = {"ready": ReadyWhen(stops)}
    if moment.startswith("before"):
        settings = {}
        launcher.on_connected = stop
    try:
        async with ServerProvider(gate.command, launcher=launcher, start_timeout=0.5, **settings) as provider:
            with fail_after(PATIENCE), pytest.raises(ModelSetupError) as told:
                await provider.setup("m")
            process = "" if moment.startswith("before") else r", process \d+"
            assert re.search(rf"its supervisor \(server-\w+{process}\) does not answer", str(told.value))
            assert "doteval stop --force" in str(told.value)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    gate.open()


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)


async def test_the_wait_for_a_keeper_that_is_stopped_can_be_given_up() -> None:
    """And its exit code is taken once it has ended."""
    keeper = sleeper()
    keeper.returncode = 0  # it is waited for below
    supervisors._children.add(keeper.pid)
    with move_on_after(0.05) as scope:
        await supervisors.wait_for(keeper.pid)
    assert scope.cancelled_caught
    os.kill(keeper.pid, signal.SIGKILL)
    with fail_after(PATIENCE):
        await supervisors.wait_for(keeper.pid)
    assert keeper.pid not in supervisors._children
    assert keeper.stdin is not None
    keeper.stdin.close()
