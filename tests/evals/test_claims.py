"""Who runs an evaluation holds a lock of the kernel, whatever the machine is called, until it ends or is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from doteval.evals import ConcurrentRunError, Store
from doteval.evals._results import claims

PROGRAM = """
import os, socket, sys
from doteval.evals import ConcurrentRunError, Store

socket.gethostname = lambda: "elsewhere"  # as in another container, or after somebody has renamed the machine
path, *names = sys.argv[1:]
store = Store(path)
for name in names:
    try:
        store.begin("e", name, model="", identity={})
    except ConcurrentRunError:
        print("refused", flush=True)
    else:
        print("begun", flush=True)
if os.fork():
    sys.stdin.read()
else:
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def other(path: Path) -> Iterator[Any]:
    """Runs evaluations in another process, which has a child of its own; it ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*names: str) -> tuple[subprocess.Popen[str], list[str]]:
        command = [sys.executable, "-c", PROGRAM, str(path), *names]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(len(names) + 1)]
        return process, lines[:-1]

    yield start
    for process in started:
        process.communicate("")


def begin(store: Store, name: str, **options: Any) -> Any:
    return store.begin("e", name, model="", identity={}, **options)[0]


@pytest.mark.process
def test_a_run_is_known_wherever_it_is_until_it_is_killed(path: Path, other: Any) -> None:
    """Also where it has a child that lives on; its lock is not the child's."""
    process, told = other("one")
    assert told == ["begun"]
    store = Store(path)
    with pytest.raises(ConcurrentRunError, match=f"is being run already, by process {process.pid}"):
        begin(store, "one")
    two = begin(store, "two")
    process.send_signal(signal.SIGKILL)
    process.wait()
    one = begin(store, "one")
    store.leave(one)
    store.leave(two)
    store.close()


@pytest.mark.process
def test_what_ends_gives_up_its_own_lock_only(path: Path, other: Any) -> None:
    """Of several runs in one process, through several stores, whatever is read meanwhile."""
    store, again = Store(path), Store(path)
    runs = {name: begin(store, name) for name in ("left", "held", "started over")}
    store.leave(runs["left"])
    with pytest.raises(ConcurrentRunError):
        begin(again, "held")
    fresh = begin(again, "started over", fresh=True)
    again.leave(fresh)
    again.close()
    assert store.evaluations()
    store._write().flush()
    _, told = other("left", "held", "started over")
    assert told == ["begun", "refused", "refused"]
    for run in ("held", "started over"):
        store.leave(runs[run])
    store.close()
    assert other("held", "started over")[1] == ["begun", "begun"]


@pytest.mark.process
def test_a_child_that_is_forked_has_no_run_of_its_parent(path: Path) -> None:
    """It is refused what the parent runs, and ending does not end that."""
    store = Store(path)
    one = begin(store, "one")
    for _ in range(2):
        child = os.fork()
        if not child:
            try:
                begin(Store(path), "one")
            except ConcurrentRunError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    store.leave(one)
    store.close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_where_a_file_system_has_no_locks_a_process_is_known_by_its_number(
    number: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a share of another machine, and on Windows."""

    def refuses(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(claims.fcntl, "lockf", refuses)
    with Store(path) as store:
        one = begin(store, "one")
        with pytest.raises(ConcurrentRunError):
            begin(store, "one")
        assert store._claims[one.id].endswith(" -")
        store.leave(one)
        store.leave(begin(store, "one"))


def test_where_no_file_can_be_made_a_process_is_known_by_its_number(path: Path) -> None:
    """A directory stands in its place."""
    path.with_name("results.db-runs").mkdir()
    with Store(path) as store:
        one = begin(store, "one")
        with pytest.raises(ConcurrentRunError):
            begin(store, "one")
        store.leave(one)


def test_only_its_owner_can_read_the_file(path: Path) -> None:
    """As it is with the store."""
    with Store(path) as store:
        store.leave(begin(store, "one"))
    assert path.with_name("results.db-runs").stat().st_mode & 0o777 == 0o600
