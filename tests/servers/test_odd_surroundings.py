"""Servers where something around them is odd: a starter that stops or dies, a full disk, an old locale."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.servers.callers import PATIENCE, Supervisors
from tests.servers.leftovers import leftovers

import doteval.servers
from doteval.servers._local import supervisors as starting
from doteval.servers._supervisor.log import Log

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.process,
    pytest.mark.counts_open_files,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc"),
]


def test_a_starter_that_is_stopped_in_the_middle_keeps_nobody_from_starting(
    supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor has its job from the beginning: it gives the lock of the directory back without any help."""
    has_listened: list[bool] = []

    class Stopped(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            deadline = time.monotonic() + PATIENCE
            path = supervisors.runtime.socket_path("bad-1")
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.005)
            has_listened.append(path.exists())

    monkeypatch.setattr(starting.subprocess, "Popen", Stopped)
    caller = supervisors.start()
    assert has_listened == [True]
    caller.expect("started")


def test_a_job_that_does_not_fit_into_a_socket_arrives(supervisors: Supervisors) -> None:
    """A server may have large files."""
    text = "→" * (1 << 20)
    caller = supervisors.start(files={"large": text})
    caller.expect_up()
    assert (caller.directory / "large").read_text("utf-8") == text


def test_a_starter_that_dies_in_the_middle_starts_nothing(
    supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Though the supervisor has its job: it looks whether somebody is left who wants that."""

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            processes.append(self.pid)
            self.returncode = 0  # it is waited for below
            raise KeyboardInterrupt

    processes: list[int] = []
    monkeypatch.setattr(starting.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        supervisors.start(argv=["touch", str(tmp_path / "started")])
    assert os.waitpid(processes[0], 0)[1] == 0
    assert not (tmp_path / "started").exists()
    assert leftovers(supervisors.runtime.root) == []


def test_a_server_keeps_no_directory_of_its_starter_in_use(
    supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody who looks after it is in there: what it is on can be unmounted."""
    monkeypatch.chdir(tmp_path)
    caller = supervisors.start()
    caller.expect_up()
    for pid in (caller.keeper, caller.supervisor):
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")


def test_a_log_goes_on_when_the_disk_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was full when the log was to be rotated: what is printed meanwhile is lost, and the server goes on."""
    log = Log(str(tmp_path / "log"), 8192, [])
    log.open()
    log.write(b"before\n" * 500)

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "open", full)
        for _ in range(3):
            log.write(b"meanwhile\n" * 100)
    log.write(b"after\n" * 200)
    log.close()
    assert (tmp_path / "log").read_bytes() == b"after\n" * 200
    assert (tmp_path / "log.1").read_bytes().startswith(b"before\n")


def test_the_files_of_a_server_are_in_utf_8(tmp_path: Path) -> None:
    """Whatever the locale of the program says."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from _supervisor.place import Place
Place("socket", sys.argv[2], {}, {"template": "caf\\u00e9 \\u2192"}, {}).make_directory()
"""
    arguments = [str(Path(doteval.servers.__file__).parent), str(tmp_path / "server")]
    old = {**os.environ, "LC_ALL": "C"}
    subprocess.run([sys.executable, "-I", "-S", "-X", "utf8=0", "-c", code, *arguments], env=old, check=True)
    assert (tmp_path / "server" / "template").read_text("utf-8") == "café →"
