"""A program that uses a server, and forks while it does: ``forking_program.py ROOT BACKEND WAY [then]``.

It leases one model, has a hold on the server, and another task waits for the only slot with a ticket in the queue. Then
it starts children in the WAY that is named, says who they are, and goes on. With ``then``, each child does all that it
could do wrong, ends, and the program shows that nothing of its own was disturbed.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import anyio

from doteval import ServerProvider
from doteval.servers import LocalLauncher

LIGHT = [sys.executable, "-I", "-S", str(Path(__file__).with_name("light_server.py")), "{port}", "model={spec}"]

context = multiprocessing.get_context("fork")
misdeeds: list[Callable[[], object]] = []
"""What a child does before it ends; it goes on for ever where there are none."""


def child() -> None:
    for misdeed in misdeeds:
        misdeed()
    if not misdeeds:
        threading.Event().wait()


def forked(then: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            then()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def by_fork() -> list[int]:
    return [forked(child)]


def by_fork_of_a_fork() -> list[int]:
    reads, writes = os.pipe()

    def first() -> None:
        os.write(writes, f"{forked(child)}\n".encode())
        child()

    return [forked(first), int(os.read(reads, 100))]


def by_pool() -> list[int]:
    executor = ProcessPoolExecutor(2, mp_context=context)
    kept.append(executor)
    executor.submit(os.getpid).result()
    return list(executor._processes)


def by_multiprocessing() -> list[int]:
    process = context.Process(target=child)
    process.start()
    kept.append(process)
    assert process.pid is not None
    return [process.pid]


kept: list[Any] = []
WAYS = {"fork": by_fork, "fork of a fork": by_fork_of_a_fork, "pool": by_pool, "multiprocessing": by_multiprocessing}


def tickets(root: str) -> list[Path]:
    return list(Path(root, "queue").glob("*"))


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def main(root: str, way: str, then: bool) -> None:
    launcher = LocalLauncher(Path(root), keeps=True)
    async with (
        ServerProvider(LIGHT, launcher=launcher) as provider,
        ServerProvider(LIGHT, launcher=LocalLauncher(Path(root))) as other,
        anyio.create_task_group() as group,
    ):
        handle = await provider.setup("m")

        async def wait() -> None:
            async with await other.setup("another") as another:
                await another.model.generate("Hello")
                served.set()

        served = anyio.Event()
        group.start_soon(wait)
        while not tickets(root):  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.01)
        if then:
            misdeeds.extend((launcher.abandon, launcher.close, kept.clear, gc.collect))
        pids = WAYS[way]()
        print(json.dumps(pids), flush=True)
        if not then:
            await anyio.sleep_forever()
        if way == "fork":
            assert exit_code(pids[0]) == 0
        await anyio.run_process([sys.executable, "-I", "-S", "-c", ""])  # uvloop forks by itself
        assert await handle.model.generate("Hello") == str(handle.model.server.pid)
        assert len(tickets(root)) == 1
        await handle.teardown()
        launcher.close()
        await served.wait()
    print("done", flush=True)


if __name__ == "__main__":
    loop = {"uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}}}
    settings: dict[str, Any] = loop.get(sys.argv[2], {"backend": sys.argv[2]})
    anyio.run(main, sys.argv[1], sys.argv[3], len(sys.argv) > 4, **settings)
