"""Starting and stopping servers again and again costs nothing that stays."""

from __future__ import annotations

import gc
import os
import sys
import threading
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import pytest

from doteval import ServerProvider
from doteval.servers._local.launcher import LocalLauncher
from doteval.servers._local.runtime import Runtime

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc"),
]

STARTS = int(os.environ.get("STARTS", "12"))
_WORKERS = ("AnyIO worker thread", "Trio thread")
"""Threads that event loops keep for the next call that blocks; they end when they have been idle for ten seconds."""
SERVER = Path(__file__).with_name("light_server.py")


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is of everything that could become more."""

    open_files: int
    threads: int
    children: int
    """Among them those that have ended and were not waited for."""
    paths: int

    @classmethod
    def now(cls, root: Path) -> Counts:
        gc.collect()
        return cls(
            open_files=sum(1 for _ in Path("/proc/self/fd").iterdir()),
            threads=sum(not thread.name.startswith(_WORKERS) for thread in threading.enumerate()),
            children=sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children")),
            paths=sum(1 for _ in root.rglob("*")),
        )

    def __le__(self, other: Counts) -> bool:
        return all(ours <= theirs for ours, theirs in zip(astuple(self), astuple(other), strict=True))


async def _start_and_stop(launcher: LocalLauncher) -> None:
    command = [sys.executable, "-I", "-S", str(SERVER), "{port}"]
    async with ServerProvider(command, launcher=launcher) as provider:
        async with await provider.setup("one") as handle:
            assert (await handle.model.generate("hello")).isdigit()
    launcher.close(30)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("keeps", [False, True], ids=["", "kept-warm"])
async def test_many_starts_leave_as_much_as_few(runtime: Runtime, keeps: bool) -> None:
    """After many starts there are as many open files, threads, child processes and paths as after five."""
    launcher = LocalLauncher(runtime.root, keeps=keeps)
    for _ in range(5):
        await _start_and_stop(launcher)
    few = Counts.now(runtime.root)
    for _ in range(STARTS - 5):
        await _start_and_stop(launcher)
    many = Counts.now(runtime.root)
    print(f"after 5: {few}\nafter {STARTS}: {many}")
    assert len(launcher.starts) == STARTS
    # Less there may be: what an earlier test has left ends meanwhile. The last supervisor may be about to end.
    assert many <= replace(few, children=few.children + 1)
