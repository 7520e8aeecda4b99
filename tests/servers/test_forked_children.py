"""A forked child has no part in the servers of its parent: it keeps none, and it disturbs none."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.forks import PIPE, Fork, Forks
from tests.servers.forking_program import WAYS
from tests.servers.leftovers import await_end, is_locked, leftovers

from doteval.servers._local.runtime import Runtime
from doteval.servers._unshared import Descriptor, _making, making, unshared

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc"),
]

PROGRAM = str(Path(__file__).with_name("forking_program.py"))
BACKENDS = ("asyncio", "uvloop", "trio")


def started(forks: Forks, runtime: Runtime, *arguments: str) -> tuple[Fork, list[int]]:
    """A program that has forked, and its children."""
    program = forks.start(PROGRAM, str(runtime.root), *arguments, stdout=PIPE)
    assert program.stdout is not None
    return program, json.loads(program.stdout.readline() or "[]")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_child_that_lives_keeps_nothing_of_a_program_that_was_killed(
    forks: Forks, runtime: Runtime, backend: str, way: str
) -> None:
    """Neither its connection nor its hold, lock or ticket: the server ends, and its slot is free."""
    program, children = started(forks, runtime, backend, way)
    try:
        with program:
            program.kill()
            program.wait()
        assert leftovers(runtime.root, tickets=False) == []
        for ticket in runtime.root.glob("queue/*"):  # which the next one in the queue would do
            ticket.unlink()
        assert children
        for pid in children if way != "pool" else ():  # those of a pool end with it
            os.kill(pid, 0)
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await_end(pid)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["fork", "multiprocessing"])
def test_a_child_disturbs_nothing_of_its_parent(forks: Forks, runtime: Runtime, backend: str, way: str) -> None:
    """Whatever it does with what it finds: the lease, the hold, the place in the queue and the slot are as before."""
    program, _ = started(forks, runtime, backend, way, "then")
    with program:
        printed, _ = program.communicate()
    assert (printed.strip(), program.returncode) == ("done", 0)


def test_a_lock_outlives_the_child_and_its_copy(tmp_path: Path) -> None:
    """The child has it closed, and closing, unlocking or dropping it there does nothing."""
    file = Descriptor(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    assert file.lock()
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):
            was_open = file.is_open
            file.unlock()
            file.close()
            code = 2 if was_open else 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert is_locked(tmp_path / "lock")
    file.close()
    assert not is_locked(tmp_path / "lock")


def test_a_fork_in_another_thread_sees_nothing_half_made(tmp_path: Path) -> None:
    """It waits until what is being made is known to be unshared."""
    begun, codes = threading.Event(), []

    def fork() -> None:
        begun.set()
        pid = os.fork()
        if pid == 0:
            try:
                os.fstat(number)
            except OSError:
                os._exit(0)
            os._exit(1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    thread = threading.Thread(target=fork)
    with making():
        number = os.open(tmp_path, os.O_RDONLY)
        thread.start()
        begun.wait()
        thread.join(0.05)  # it would have forked by now
        file = _Closes(number)
        unshared(file)
    thread.join()
    os.close(number)
    assert codes == [0]


class _Closes:
    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        os.close(self.number)


def test_what_cannot_be_closed_keeps_nothing_else_open(tmp_path: Path) -> None:
    """Somebody else has closed one of the files, by its number; the child closes all others, and can make more."""
    files = [Descriptor(tmp_path / str(number), os.O_RDWR | os.O_CREAT) for number in range(9)]
    os.close(files[4].fileno())
    child = os.fork()
    if child == 0:
        os._exit(sum(file.is_open for file in files) + (not _making.acquire(blocking=False)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for file in files:
        with suppress(OSError):
            file.close()
