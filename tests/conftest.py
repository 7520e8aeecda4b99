"""What all tests share: the backends they run on, and a guard against what they might leave behind."""

from __future__ import annotations

import functools
import gc
import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import settings

# For tests that need time to pass there is tests/virtual_time.py.
BACKENDS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}

settings.register_profile("default", deadline=None)
settings.register_profile("long", deadline=None, max_examples=2000)  # nox -s ledger_machine
settings.load_profile("default")

PATIENCE = 30.0
"""How long something that is ending anyway may take, in seconds; only ever waited for where something is left."""

_OPEN_FILES = Path("/proc/self/fd")
_OWN_TASKS = Path("/proc/self/task")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "counts_open_files: fails when file descriptors are open that were not before")
    # What is run in the background or under nohup may ignore these, and every process we start would inherit that.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(scope="module", params=BACKENDS.values(), ids=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every async test runs on each of these."""
    return request.param


@pytest.fixture(scope="session")
def forks() -> Iterator[Any]:
    """Starts Python without waiting for its imports: a `tests.forks.Forks`."""
    from tests.forks import Forks  # here, so that these lines also serve where there is no tests

    with Forks() as forks:
        yield forks


@pytest.fixture(autouse=True)
def leak_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves a thread of ours or a child process; a test marked ``counts_open_files`` no open file either."""
    counts_files = request.node.get_closest_marker("counts_open_files") is not None and _OPEN_FILES.exists()
    threads, children = _our_threads(), _children()
    if counts_files:
        _open_what_stays_open()
    files = _open_files() if counts_files else 0
    yield
    for thread in _our_threads() - threads:
        thread.join(PATIENCE)
    assert not _our_threads() - threads, "the test left threads of doteval running"
    left = [_command(child) for child in _children() - children if not _ends_soon(child)]
    assert not left, f"the test left child processes running: {left}"
    if counts_files:
        gc.collect()
        assert _open_files() <= files, "the test left files or sockets open"


def _our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("doteval")}


def _children() -> set[int]:
    """The processes this one has started and not waited for; none where the system does not tell."""
    found: set[int] = set()
    for task in _OWN_TASKS.glob("*/children"):
        try:
            found.update(map(int, task.read_text().split()))
        except OSError:
            continue  # the thread has just ended
    return found


def _ends_soon(pid: int) -> bool:
    try:
        watch = os.pidfd_open(pid)
    except OSError:
        return True  # it has ended and was waited for
    try:
        return bool(select.select([watch], [], [], PATIENCE)[0])
    finally:
        os.close(watch)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return f"process {pid}"


@functools.cache
def _open_what_stays_open() -> None:
    """The first loop of uvloop opens what the process then keeps."""
    backend, options = BACKENDS["uvloop"]
    run = functools.partial(anyio.run, anyio.sleep, 0, backend=backend, backend_options=options)
    thread = threading.Thread(target=run)  # in this one a fixture may keep an event loop open
    thread.start()
    thread.join()


def _open_files() -> int:
    return sum(1 for _ in _OPEN_FILES.iterdir())
