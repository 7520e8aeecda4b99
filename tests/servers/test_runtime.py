"""The directory where servers find each other: nobody else may look into it, and what is dead in it is removed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers.leftovers import await_end, is_locked

from doteval import RuntimeDirectoryError
from doteval.servers._local.runtime import VARIABLE, Runtime, processes_of
from doteval.servers._supervisor.protocol import MARKER

pytestmark = pytest.mark.counts_open_files


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path."""
    place = Path(tempfile.mkdtemp(prefix="dt-", dir="/tmp"))
    yield place
    shutil.rmtree(place)


def test_the_directory_is_made_for_its_owner_only(place: Path) -> None:
    """It is made with its parents, whatever the umask; one that is there is used as it is."""
    before = os.umask(0)
    try:
        root = Runtime(place / "a" / "b").root
    finally:
        os.umask(before)
    assert root.stat().st_mode & 0o777 == 0o700
    assert Runtime(root).root == root


def test_the_directory_can_be_named_by_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else is said, the variable says where it is; without it, it is the same for all of a user."""
    monkeypatch.setenv(VARIABLE, str(place / "here"))
    assert Runtime().root == place / "here"
    assert Runtime(place / "there").root == place / "there"
    monkeypatch.chdir(place)
    monkeypatch.setenv(VARIABLE, "relative")
    assert Runtime().root == place / "relative"


def _file(place: Path) -> Path:
    place.joinpath("x").touch()
    return place / "x"


def _link(place: Path) -> Path:
    place.joinpath("real").mkdir(0o700)
    place.joinpath("x").symlink_to(place / "real")
    return place / "x"


def _dangling(place: Path) -> Path:
    place.joinpath("x").symlink_to(place / "nowhere")
    return place / "x"


def _open(place: Path) -> Path:
    place.joinpath("x").mkdir()
    place.joinpath("x").chmod(0o750)
    return place / "x"


def _below_a_file(place: Path) -> Path:
    return _file(place) / "y"


def _long(place: Path) -> Path:
    return place / ("x" * 60)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_file, "it cannot be made (File exists)"),
        (_below_a_file, "it cannot be made (Not a directory)"),
        (_link, "it is not a directory"),
        (_dangling, "it cannot be made (File exists)"),
        (_open, "others can reach it (mode 750)"),
        (_long, "its path is too long for the sockets in it"),
    ],
    ids=["file", "below-a-file", "link", "dangling-link", "open", "long"],
)
def test_a_directory_that_cannot_be_trusted_is_refused(place: Path, make: Callable[[Path], Path], why: str) -> None:
    """The error names the directory, and says what is wrong with it."""
    root = make(place)
    with pytest.raises(RuntimeDirectoryError) as caught:
        Runtime(root)
    assert str(root) in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_refused(place: Path) -> None:
    """Whoever owns it could look into it."""
    (place / "x").mkdir(0o700)
    os.chown(place / "x", 65534, 65534)
    with pytest.raises(RuntimeDirectoryError, match="it belongs to the user 65534"):
        Runtime(place / "x")


def test_the_longest_directory_has_room_for_sockets(place: Path) -> None:
    """Up to the limit, a socket of any provider can be made in it."""
    runtime = Runtime(place / ("x" * (62 - len(str(place)))))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime.socket_path("transformers-0123456789ab")))


def test_one_at_a_time_may_start_a_server(runtime: Runtime) -> None:
    """The lock is not waited for; it is free again at the end, also where a child was forked in between."""
    with runtime.locked() as lock:
        assert lock is not None
        with runtime.locked() as other:
            assert other is None
        assert is_locked(runtime.root)
        copy = os.dup(lock.descriptor)
    assert not is_locked(runtime.root)
    os.close(copy)


@pytest.mark.process
def test_the_lock_can_be_passed_on(runtime: Runtime) -> None:
    """Then it is held until whoever has inherited it is gone."""
    with runtime.locked() as lock:
        assert lock is not None
        heir = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor], text=True
        )
        lock.is_passed_on = True
    assert is_locked(runtime.root)
    heir.communicate("\n")
    assert not is_locked(runtime.root)


def test_a_supervisor_with_too_many_callers_is_alive(runtime: Runtime) -> None:
    """Nobody waits for it, and nobody takes it for dead."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime.socket_path("bad-1")))
        assert not runtime.is_alive("bad-1")
        listener.listen(1)
        callers = []
        while (caller := runtime.connect("bad-1")) is not None:
            callers.append(caller)
        assert callers
        assert runtime.is_alive("bad-1")
        runtime.bury_dead()
        assert runtime.server_ids() == ["bad-1"]
        for caller in callers:
            caller.close()
    runtime.bury_dead()
    assert runtime.server_ids() == []


@pytest.mark.process
def test_processes_are_known_by_their_mark(runtime: Runtime) -> None:
    """Only those of the very directory are killed, and their files removed."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", "input()"],
            stdin=subprocess.PIPE,
            env={**os.environ, MARKER: str(runtime.directory(server_id))},
        )
        for server_id in ("bad-1", "bad-12")
    ]
    try:
        for server_id in ("bad-1", "bad-12"):
            runtime.directory(server_id).mkdir()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(runtime.socket_path("bad-1")))
        assert list(processes_of(runtime.directory("bad-1"))) == [processes[0].pid]
        runtime.bury_dead()
        assert await_end(processes[0].pid)
        assert processes[1].poll() is None
        assert [path.name for path in runtime.root.iterdir()] == ["bad-12"]
        assert list(processes_of(runtime.directory("bad-12"))) == [processes[1].pid]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        runtime.directory("bad-12").rmdir()


@pytest.mark.process
def test_processes_of_another_container_are_left_alone(runtime: Runtime) -> None:
    """It has a directory of its own by the same name, and its processes have the same mark."""
    command = f"mount -t tmpfs none {runtime.root} && echo up && read x"
    with subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, MARKER: str(runtime.directory("bad-1"))},
    ) as other:
        assert other.stdout is not None
        if other.stdout.readline() != b"up\n":
            pytest.skip("no mount namespace can be made here")
        assert list(processes_of(runtime.directory("bad-1"))) == []
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(runtime.socket_path("bad-1")))
        runtime.bury_dead()
        assert runtime.server_ids() == []
        assert other.poll() is None
        other.communicate(b"\n")


@pytest.mark.process
@pytest.mark.parametrize("options", [(), ("--mount-proc",)], ids=["not-its-own-proc", "its-own-proc"])
def test_numbers_of_another_namespace_are_nobodys(runtime: Runtime, options: tuple[str, ...]) -> None:
    """A process in a pid namespace that sees the ``/proc`` of another one finds no process by it, and kills none."""
    ours = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", *options]
    code = f"""if True:
        from pathlib import Path
        from doteval.servers._local.runtime import processes_of
        from doteval.servers._supervisor.processes import adopt_orphans
        print(adopt_orphans(), len(list(processes_of(Path({str(runtime.directory("bad-1"))!r})))))
    """
    environment = {**os.environ, MARKER: str(runtime.directory("bad-1"))}
    done = subprocess.run(
        [*ours, sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode and not done.stdout:
        pytest.skip("no pid namespace can be made here")
    assert done.stdout.split() == (["True", "1"] if options else ["False", "0"])


@pytest.mark.process
def test_processes_are_known_where_the_directory_is_a_link(runtime: Runtime, tmp_path: Path) -> None:
    """What the mark says is compared as it is; where it leads is looked at as the kernel does."""
    link = tmp_path / "link"
    link.symlink_to(runtime.root)
    with subprocess.Popen(
        [sys.executable, "-c", "input('up')"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, MARKER: str(link / "bad-1")},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"up"
        assert list(processes_of(link / "bad-1")) == [process.pid]
        process.kill()


def test_servers_are_listed_by_their_sockets(runtime: Runtime) -> None:
    """A name may have anything in it that a kind may have."""
    for name in ("bad-2", "my_kind-0", "bad-1"):
        runtime.socket_path(name).touch()
    assert runtime.server_ids() == ["bad-1", "bad-2", "my_kind-0"]
    for name in runtime.server_ids():
        runtime.socket_path(name).unlink()
