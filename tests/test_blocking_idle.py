"""Who could still give a lease back: a thread that runs something, and no worker of a pool that has nothing to do."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.forks import Forks
from trio._core import _thread_cache

from doteval._caller import is_anybody_else_there
from doteval.blocking._loop import Loop

pytestmark = pytest.mark.concurrency

PATIENCE = 30
BACKENDS = ["asyncio", "trio"]
Job = Callable[[], Any]


def in_the_loop(function: Callable[[Job], Any], loop: Loop, job: Job) -> Any:
    """Have a worker of the event loop's do a job, which has begun then."""
    has_begun = threading.Event()

    def begin() -> object:
        has_begun.set()
        return job()

    async def work() -> None:
        await function(begin)

    done = loop._portal.start_task_soon(work)
    assert has_begun.wait(PATIENCE)
    return done


async def in_the_executor(job: Job) -> None:
    await asyncio.get_running_loop().run_in_executor(None, job)


@contextmanager
def places(backend: str) -> Generator[list[Callable[[Job], Any]]]:
    """Where a job may be done by a worker."""
    loop = Loop("provider", backend, None)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(3) as several:
        found = [one.submit, several.submit, partial(in_the_loop, anyio.to_thread.run_sync, loop)]
        if backend == "asyncio":
            found.append(partial(in_the_loop, in_the_executor, loop))
        try:
            yield found
        finally:
            loop.end()


@pytest.mark.parametrize("backend", BACKENDS)
def test_whoever_runs_something_is_there_and_who_waits_for_work_is_not(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From when a job is given to a worker until it is done; thread by thread, at random."""
    monkeypatch.setattr(_thread_cache, "THREAD_CACHE", _thread_cache.ThreadCache())  # else those of before are used
    before = {*threading.enumerate()}
    everybody = threading.enumerate
    monkeypatch.setattr(threading, "enumerate", lambda: [each for each in everybody() if each not in before])
    rng = random.Random(backend)
    running: list[threading.Event] = []
    with places(backend) as work:
        assert not is_anybody_else_there([])
        for _ in range(300):
            if len(running) < 5 and rng.random() < 0.5:
                running.append(threading.Event())
                rng.choice(work)(partial(running[-1].wait, PATIENCE))
            elif running:
                running.pop(rng.randrange(len(running))).set()
            if running:  # some may not have begun
                assert is_anybody_else_there([])
            else:
                until = time.monotonic() + PATIENCE
                while is_anybody_else_there([]):
                    assert time.monotonic() < until, "an idle worker counts"
        for may_end in running:
            may_end.set()


ALONE = """
import asyncio, logging, sys, threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from anyio import getaddrinfo, to_thread
from doteval import CapacityDeadlockError, PooledProvider
from doteval._pool import pool
from doteval.blocking import entered

pool.A_WHILE, pool._AGAIN = 0, 0.01
may_end, warned = threading.Event(), []


class Provider(PooledProvider):
    @asynccontextmanager
    async def open(self, spec, **config):
        await to_thread.run_sync(int)
        await getaddrinfo("127.0.0.1", 80)
        if self.is_busy:
            asyncio.get_running_loop().run_in_executor(None, may_end.wait)
        yield object()


def told(record):
    warned.append(record.getMessage())
    may_end.set()
    return False


logging.getLogger("doteval.pool").addFilter(told)
with ExitStack() as stack:
    executor = stack.enter_context(ThreadPoolExecutor(1))
    executor.submit(int).result()
    other = stack.enter_context(entered(Provider(capacity=1), backend="{backend}"))
    for is_busy in {busy}:
        Provider.is_busy = is_busy
        warned.clear()
        may_end.clear()
        with entered(Provider(capacity=1), backend="{backend}") as provider:
            kept = provider.setup("a")
            try:
                provider.setup("b")
            except CapacityDeadlockError as exc:
                print("told", is_busy, len(warned))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thread_that_waits_for_itself_is_told_where_all_others_are_idle(
    forks: Forks, tmp_path: Path, backend: str
) -> None:
    """At once, and where a worker still runs something, as soon as it has ended; it is warned once."""
    is_asyncio = backend == "asyncio"
    program = tmp_path / "program.py"
    program.write_text(ALONE.format(backend=backend, busy=[False, True] if is_asyncio else [False]))
    done = forks.run(str(program))
    first, *others = done.stdout.splitlines()
    assert first in ("told False 0", "told False 1"), done  # a worker takes a moment to come back
    assert others == (["told True 1"] if is_asyncio else []), done
