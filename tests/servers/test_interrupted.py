"""A program that is interrupted lets go of all servers, also where it hangs, and wherever the interrupt strikes."""

from __future__ import annotations

import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any

import pytest
from anyio import create_task_group, sleep_forever, to_thread
from tests.servers.callers import Supervisors
from tests.servers.leftovers import files_left, leftovers, processes_left
from tests.servers.lights import PATIENCE, light

from doteval import ModelSetupError, ServerLostError, ServerProvider
from doteval.servers import LocalLauncher
from doteval.servers._local import launcher as launching
from doteval.servers._local import starting, supervisors
from doteval.servers._local.holds import Holds
from doteval.servers._local.runtime import Runtime

pytestmark = [pytest.mark.concurrency, pytest.mark.process]

ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["trio"])


@pytest.mark.anyio
async def test_it_lets_go_of_what_it_leases(runtime: Runtime) -> None:
    """`abandon` ends the server though nobody leaves a block; the handle is inactive, the provider can be closed."""
    launcher = LocalLauncher(runtime.root, keeps=True)
    async with ServerProvider(light(), launcher=launcher) as provider:
        handle = await provider.setup("m")
        lease = handle.model.lease
        launcher.abandon()
        await lease.ended()
        assert not handle.is_active
        with pytest.raises(ModelSetupError, match="this program was interrupted"):
            await provider.setup("m")


def before_it_starts(strike: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    _strike_before(starting, "start_supervisor", strike, monkeypatch)


def when_there_is_a_supervisor(strike: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    start = supervisors.start_supervisor

    def started(*arguments: Any) -> Any:
        try:
            return start(*arguments)
        finally:
            strike()

    monkeypatch.setattr(starting, "start_supervisor", started)


def before_it_is_joined(strike: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    _strike_before(starting, "join", strike, monkeypatch)


def when_it_is_leased(strike: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    _strike_before(launching, "get_ready", strike, monkeypatch)


def before_it_is_held(strike: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    _strike_before(Holds, "hold", strike, monkeypatch)


def _strike_before(place: Any, name: str, strike: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = getattr(place, name)

    def struck(*arguments: Any) -> Any:
        strike()
        return goes_on(*arguments)

    monkeypatch.setattr(place, name, struck)


@pytest.mark.anyio
@ONE_LOOP
@pytest.mark.parametrize(
    "at", [before_it_starts, when_there_is_a_supervisor, before_it_is_joined, when_it_is_leased, before_it_is_held]
)
async def test_it_starts_and_joins_none_from_then_on(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, at: Callable[..., None]
) -> None:
    """Its event loop goes on, and nobody closes anything: as when the clean-up hangs after a second Ctrl-C."""
    launcher, other = LocalLauncher(runtime.root, keeps=True), LocalLauncher(runtime.root)

    @asynccontextmanager
    async def somebody_else() -> AsyncIterator[None]:
        async with ServerProvider(light(), launcher=other) as provider, await provider.setup("m"):
            yield

    async with create_task_group() as group:

        async def hangs() -> None:
            async with ServerProvider(light(), launcher=launcher) as provider:
                with suppress(ModelSetupError, ServerLostError):
                    await provider.setup("m")
                await sleep_forever()

        if at is before_it_is_joined:
            async with somebody_else():
                at(launcher.abandon, monkeypatch)
                group.start_soon(hangs)
                while not launcher.runtime.is_abandoned:
                    await to_thread.run_sync(lambda: None)
        else:
            at(launcher.abandon, monkeypatch)
            group.start_soon(hangs)
            while not launcher.runtime.is_abandoned:
                await to_thread.run_sync(lambda: None)
        assert await to_thread.run_sync(processes_left, runtime.root, PATIENCE) == []
        assert files_left(runtime.root) == []
        group.cancel_scope.cancel()
    launcher.close()


class Interrupt:
    """Interrupts the line of a function that is the n-th to be run."""

    def __init__(self, function: Callable[..., object], number: int) -> None:
        self._code = function.__code__
        self._left = number
        self.is_over = False

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code is self._code:
            if event == "line":
                self._left -= 1
            if self._left == 0 and not self.is_over:
                self.is_over = True
                raise KeyboardInterrupt
            return self
        return None


def test_an_interrupt_at_any_line_of_a_start_leaves_nothing(supervisors: Supervisors, runtime: Runtime) -> None:
    """Also while what was interrupted is kept with all that it had, as pytest keeps it."""
    lines = 0
    while True:
        supervisors.runtime = Runtime(runtime.root)
        interrupt = Interrupt(starting.start_supervisor, lines + 1)
        sys.settrace(interrupt)
        try:
            supervisors.start()
        except KeyboardInterrupt as exc:
            kept = exc
        else:
            break
        finally:
            sys.settrace(None)
        lines += 1
        supervisors.runtime.abandon()
        assert leftovers(runtime.root) == [], f"interrupted in line {line_of(kept)}"
        close_all_that(kept)
    assert lines > 15


def line_of(error: BaseException) -> int:
    """Where in `start_supervisor` it was."""
    return next(number for frame, number in traceback.walk_tb(error.__traceback__) if is_start(frame))


def close_all_that(error: BaseException) -> None:
    """Close what the interrupted function had opened, of which the end of the program would take care."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for value in frame.f_locals.values() if is_start(frame) else ():
            if isinstance(value, socket.socket):
                value.close()
            if isinstance(value, subprocess.Popen):
                value.returncode = None
                value.wait(PATIENCE)


def is_start(frame: FrameType) -> bool:
    return frame.f_code is starting.start_supervisor.__code__
