"""Somebody deletes the runtime directory while a server runs: it is found again, and nobody takes its slot."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers.callers import Caller, Supervisors
from tests.servers.leftovers import PATIENCE, await_end, is_locked, leftovers

from doteval.servers._local.runtime import Runtime
from doteval.servers._supervisor import processes
from doteval.servers._supervisor.files import delete, is_on_path

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.counts_open_files,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc"),
]


@pytest.fixture
def slot(runtime: Runtime) -> Iterator[Path]:
    """The file of a slot; its directory is there."""
    runtime.slots.mkdir(0o700)
    yield runtime.slots / "slot-0"
    runtime.root.mkdir(0o700, exist_ok=True)


def taken(slot: Path) -> int:
    slot.parent.mkdir(0o700, parents=True, exist_ok=True)
    descriptor = os.open(slot, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def started(supervisors: Supervisors, slot: Path) -> tuple[Caller, int]:
    """A server with a slot and a file of its own, and its process."""
    descriptor = taken(slot)
    caller = supervisors.start("good", slot_fds=[descriptor], files={"key": "the-key"})
    os.close(descriptor)
    (pid,) = caller.expect_up()
    caller.ask("ready")
    return caller, pid


def until_it_listens(runtime: Runtime) -> None:
    deadline = time.monotonic() + PATIENCE
    while (connection := runtime.connect("bad-1")) is None:
        assert time.monotonic() < deadline, "nobody makes the socket again"
        time.sleep(0.001)
    connection.close()


def the_whole(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)  # a part may be made again before the rest is deleted


def what_is_in_it(root: Path) -> None:
    for path in list(root.iterdir()):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def its_name(root: Path) -> None:
    root.rename(root.with_name(f"{root.name}-moved"))
    shutil.rmtree(root.with_name(f"{root.name}-moved"))


def its_slot(root: Path) -> None:
    shutil.rmtree(root / "slots")
    (root / "bad-1.sock").unlink()


@pytest.mark.parametrize("gone", [the_whole, what_is_in_it, its_name, its_slot], ids=lambda gone: gone.__name__)
def test_what_is_deleted_is_made_again(supervisors: Supervisors, slot: Path, gone: Callable[[Path], None]) -> None:
    """The server is found as before, its slot is taken, its files are there; who leases it notices nothing."""
    caller, pid = started(supervisors, slot)
    gone(supervisors.runtime.root)
    until_it_listens(supervisors.runtime)
    other = supervisors.call()
    assert other.ask("lease")["server"]["pid"] == pid
    assert is_locked(slot)
    assert (caller.directory / "key").read_text() == "the-key"
    assert (caller.directory / "server.log").exists()
    assert (caller.directory / "tmp").is_dir()
    gone(supervisors.runtime.root)  # and again
    until_it_listens(supervisors.runtime)
    assert supervisors.call().status()["leases"] == 2
    for each in (other, caller):
        each.ask("leave")
    caller.expect_end()
    assert not is_locked(slot)
    assert leftovers(supervisors.runtime.root) == []


def test_what_is_deleted_for_its_age_is_made_again(supervisors: Supervisors, slot: Path) -> None:
    """What cleans up ``/tmp`` takes what is old, and leaves the rest, where a server is kept for weeks."""
    caller, _ = started(supervisors, slot)
    key, log, temporary = (caller.directory / name for name in ("key", "server.log", "tmp"))
    for _ in range(2):
        key.unlink()
        log.unlink()
        temporary.rmdir()
        deadline = time.monotonic() + PATIENCE
        while not (key.exists() and key.read_text() and log.exists() and temporary.is_dir()):
            assert time.monotonic() < deadline, "nobody makes it again"
            time.sleep(0.001)
    caller.ask("leave")
    caller.expect_end()
    assert leftovers(supervisors.runtime.root) == []


def test_who_has_taken_its_slot_keeps_it(supervisors: Supervisors, slot: Path) -> None:
    """Two cannot have it: the one that lost its directory ends, and touches nothing of the other one."""
    caller, pid = started(supervisors, slot)
    with caller.standstill():
        shutil.rmtree(supervisors.runtime.root)
        supervisors.runtime.root.mkdir(0o700)
        descriptor = taken(slot)
        other = supervisors.start("good", slot_fds=[descriptor])
        os.close(descriptor)
        (others_pid,) = other.expect_up()
    assert caller.expect("exited")["reason"] == "its runtime directory was deleted, and its place is taken"
    caller.expect_end()
    assert await_end(pid)
    assert is_locked(slot)
    assert supervisors.call().ask("lease")["server"]["pid"] == others_pid
    assert (other.directory / "server.log").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_not_used(supervisors: Supervisors, slot: Path) -> None:
    """It may be there in the place of ours."""
    caller, _ = started(supervisors, slot)
    with caller.standstill():
        shutil.rmtree(supervisors.runtime.root)
        supervisors.runtime.root.mkdir(0o700)
        os.chown(supervisors.runtime.root, 65534, 65534)
    assert "its place is taken" in caller.expect("exited")["reason"]
    caller.expect_end()
    assert list(supervisors.runtime.root.iterdir()) == []


def test_a_supervisor_looks_by_itself_where_the_system_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be no such thing, or no more of them."""
    assert processes.watch(["/not/there"]) == -1
    monkeypatch.setattr(processes, "_inotify", None)
    assert processes.watch(["/"]) == -1


def test_a_directory_is_deleted_and_not_what_links_in_it_lead_to(tmp_path: Path) -> None:
    """With all that is in it, whatever that is; one that is not there is no error."""
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    (gone / "a" / "b").mkdir(parents=True)
    kept.mkdir()
    (kept / "file").touch()
    (gone / "a" / "b" / "file").touch()
    os.mkfifo(gone / "a" / "pipe")
    for name, target in (("directory", kept), ("file", kept / "file"), ("nowhere", tmp_path / "nowhere"), ("up", gone)):
        (gone / "a" / name).symlink_to(target)
    for _ in range(2):
        delete(str(gone))
        assert not gone.exists()
    assert (kept / "file").exists()
    link = tmp_path / "link"
    link.symlink_to(kept)
    delete(str(link))
    assert (kept / "file").exists()


def test_a_program_is_found_where_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any directory of `PATH`, and where it can be run."""
    monkeypatch.setenv("PATH", os.pathsep.join(["/nowhere", str(tmp_path)]))
    assert not is_on_path("a-program")
    program = tmp_path / "a-program"
    program.touch(0o600)
    assert is_on_path("a-program") is (shutil.which("a-program") is not None)
    program.chmod(0o700)
    assert is_on_path("a-program")
