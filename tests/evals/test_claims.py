"""Who runs an evaluation holds a lock of the kernel, whatever the machine is called, until it ends or is killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from doteval.evals import ConcurrentRunError, Record, Store, StoreError
from doteval.evals._results import claims
from doteval.evals._results.reading import Moved

PROGRAM = """
import os, socket, sys
from doteval.evals import ConcurrentRunError, Store

path, host, *names = sys.argv[1:]
socket.gethostname = lambda: host
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

    def start(*names: str, host: str = "elsewhere") -> tuple[subprocess.Popen[str], list[str]]:
        """The host is another one, as in another container, or after somebody has renamed the machine."""
        command = [sys.executable, "-c", PROGRAM, str(path), host, *names]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(len(names) + 1)]
        return process, lines[:-1]

    yield start
    for process in started:
        process.communicate("")


def row(number: int) -> Record:
    return Record(number=number, key=f"row {number}", digest="", inputs={}, scores={"good": True})


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
    store._write().flush()  # it is given up as soon as all is written
    _, told = other("left", "held", "started over")
    assert told == ["begun", "refused", "refused"]
    for run in ("held", "started over"):
        store.leave(runs[run])
    store.close()
    assert other("held", "started over")[1] == ["begun", "begun"]


class Held(Store):
    """A store whose thread writes nothing until it may."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.may_write = threading.Event()

    def _write_items(self, connection: Any, items: Any) -> None:
        assert self.may_write.wait(60)
        super()._write_items(connection, items)


@pytest.fixture
def held(path: Path) -> Iterator[Held]:
    with Held(path) as store:
        yield store
        store.may_write.set()


@pytest.mark.process
@pytest.mark.parametrize("is_closed", [False, True], ids=["left", "left while the store is closed"])
def test_a_run_that_has_ended_is_over_when_all_of_it_is_written(
    is_closed: bool, held: Held, path: Path, other: Any
) -> None:
    """Nobody can begin before, in another process or in this one, so no row comes to stand among those of another."""
    one = begin(held, "one")
    held.put(one, row(1))
    closing = threading.Thread(target=held.close)
    if is_closed:
        held._ending, held._is_closed = held._writer, True  # as it is while `close` waits
        leaving = threading.Thread(target=lambda: held.leave(one))
        leaving.start()
        closing.start()
    else:
        held.leave(one)
    assert other("one")[1] == ["refused"]
    found: list[Any] = []
    again = threading.Thread(target=lambda: found.append(begin(Store(path), "one")))
    if not is_closed:
        again.start()
    held.may_write.set()
    if is_closed:
        closing.join()
        leaving.join()
        again.start()
    again.join()
    assert found[0].stored == 1


def test_a_run_of_which_nothing_can_be_written_any_more_is_over(path: Path) -> None:
    """Nobody waits for what is lost."""

    class Full(Store):
        def _write_items(self, connection: Any, items: Any) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    store = Full(path)
    one = begin(store, "one")
    store.put(one, row(1))
    store.leave(one)
    with Store(path) as another:
        one = begin(another, "one")
        assert one.stored == 0
        another.leave(one)
    with pytest.raises(StoreError):
        store.close()


@pytest.mark.parametrize("work", ["put", "move", "finish", "note", "begin anew"])
def test_nothing_is_written_of_an_evaluation_that_another_run_has(work: str, path: Path) -> None:
    """Whatever has told the other one that this one was over: it is told so, too."""
    about = {"tags": {"by": "me"}}
    with Store(path) as before, Store(path) as store:
        for sample in (1, 2):
            before.put(run := begin(before, "one"), row(sample))
            before.leave(run)
        store_run = begin(store, "one", fresh=work == "begin anew")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE evaluations SET run = 'another'")
        match work:
            case "put" | "begin anew":
                store.put(store_run, row(3))
            case "move":
                store.move(store_run, [Moved("row 1", "row 1", 7)])
            case "finish":
                store.finish(store_run, 2, ["row 1"])
            case _:
                store.note(store_run, about)
        store._write().flush()
        if work != "note":
            with pytest.raises(ConcurrentRunError, match="another run"):
                store.check(store_run)
        store.leave(store_run)
        store._write().flush()
        found = store.find("e", "one")
        assert found is not None
        assert [record.number for record in store.records(found)] == [1, 2]
        assert found.finished is None
        assert [each.tags for each in store.runs(found)] == []
    with closing(sqlite3.connect(path)) as connection:
        assert {*connection.execute("SELECT run FROM evaluations")} == {("another",)}


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="locks of an open file")
@pytest.mark.parametrize("is_of_process", [False, True], ids=["locks of the file", "locks of the process"])
def test_whoever_copies_the_directory_meanwhile_keeps_its_claim(
    is_of_process: bool, path: Path, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing a file drops all locks that its process has on it, where they are not those of the open file.

    In the copy nobody is at work, whether the file with the locks is copied, too, or not.
    """
    if is_of_process:
        monkeypatch.setattr(claims, "_SET_LOCK", 2**30)  # as where the kernel knows no others
    with Store(path) as store:
        one = begin(store, "one")
        assert (claims._OF_PROCESS in store._holding._claims[one.id]) == is_of_process
        shutil.copytree(path.parent, path.parent / "copy")
        assert other("one", host=claims.socket.gethostname())[1] == ["refused"]
        for what in ("-runs", "-wal"):
            with Store(path.parent / "copy" / path.name) as copied:
                copied.leave(begin(copied, "one"))
            (path.parent / "copy" / f"{path.name}{what}").unlink(missing_ok=True)
        store.leave(one)


def test_no_file_stays_open_for_a_store_that_is_not_written_to(path: Path) -> None:
    """However many stores a process has written to; and one stays open for all runs that go on in one."""

    def opened() -> int:
        file, found = path.with_name(f"{path.name}-runs").stat(), 0
        for descriptor in Path("/dev/fd").iterdir():
            with suppress(OSError):  # that with which they are listed
                stat = os.fstat(int(descriptor.name))
                found += (stat.st_dev, stat.st_ino) == (file.st_dev, file.st_ino)
        return found

    with Store(path) as store:
        runs = [begin(store, name) for name in ("one", "two")]
        assert opened() == 1
        with pytest.raises(ConcurrentRunError):
            begin(store, "one")
        store.leave(runs[0])
        store._write().flush()
        assert opened() == 1
        store.leave(runs[1])
        store._write().flush()
        assert opened() == 0


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

    monkeypatch.setattr(claims, "_set_lock", refuses)
    with Store(path) as store:
        one = begin(store, "one")
        with pytest.raises(ConcurrentRunError):
            begin(store, "one")
        assert store._holding._claims[one.id].endswith(" -")
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
