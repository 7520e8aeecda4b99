"""The supervisor: its server may behave as badly as it likes, and its clients may die; nothing is left.

All of this is about real processes. The server is a bad child (`bad_children.py`); a `Caller` is one of its users.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.servers.callers import Caller, Supervisors
from tests.servers.leftovers import PATIENCE, await_end, is_locked, leftovers

from doteval.servers import _supervisor
from doteval.servers._local.runtime import Runtime
from doteval.servers._supervisor.clients import BUFFER_LIMIT, RESERVED_FILES, Client, peer_user
from doteval.servers._supervisor.log import TAIL_LINE_BYTES, Log

pytestmark = [
    pytest.mark.concurrency,
    pytest.mark.counts_open_files,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc"),
]

GRACE = 0.6
"""How long bad children have until they are killed, in seconds; where that happens, the test waits for it."""


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX"
    except OSError:
        return False


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def memory(pid: int) -> int:
    """What a process has in memory, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---------------------------------------------------------------- badly behaved children


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("good", -signal.SIGTERM),
        ("ends_gracefully", 0),
        ("ignores_term", -signal.SIGKILL),
        ("detaches", -signal.SIGTERM),
        ("family", -signal.SIGTERM),
        ("forks_when_told_to_end", -signal.SIGKILL),
        ("falls_silent", -signal.SIGTERM),
        ("stands_still", -signal.SIGTERM),
    ],
)
def test_whatever_a_server_is_made_of_all_of_it_ends(supervisors: Supervisors, kind: str, code: int) -> None:
    """When the supervisor hangs up, no process of the server is left, whatever its group, session or manners."""
    caller = supervisors.start(kind, grace=GRACE if code == -signal.SIGKILL or kind == "family" else 30)
    pids = caller.expect_up()
    caller.ask("stop", reason="the test is over")
    exited = caller.expect("exited")
    assert (exited["code"], exited["reason"], exited["expected"]) == (code, "the test is over", True)
    caller.expect_end()
    assert not [pid for pid in pids if is_running(pid)]
    assert leftovers(supervisors.runtime.root) == []
    assert not list(supervisors.runtime.logs.glob("*")), "the log of a server that was meant to end"


def test_a_server_is_told_once_then_again_then_killed(supervisors: Supervisors) -> None:
    """TERM, TERM again after a third of the grace, KILL after all of it; each process gets each signal once."""
    caller = supervisors.start("counts_terms", grace=1.5)
    caller.expect_up()
    caller.ask("stop", reason="")
    exited = caller.expect("exited")
    assert exited["code"] == -signal.SIGKILL
    assert exited["tail"].count("told to end") == 2


def test_the_whole_family_is_told_and_may_take_its_time(supervisors: Supervisors) -> None:
    """Parent and child both get the signal, once; what they print while they end is kept."""
    caller = supervisors.start("ends_gracefully")
    pids = caller.expect_up()
    caller.ask("stop", reason="")
    tail = caller.expect("exited")["tail"]
    assert sorted(line for line in tail if "told" in line) == sorted(f"{pid} told to end" for pid in pids)


def test_a_server_that_goes_into_the_background_counts_as_ended(supervisors: Supervisors) -> None:
    """Where the process that was started ends, that is the server's end, and what it has left running is stopped."""
    caller = supervisors.start("daemon")
    exited = caller.expect("exited")
    assert (exited["code"], exited["expected"]) == (0, False)
    assert exited["reason"] == "it ended before it was ready"
    pids = [int(line.split()[1]) for line in exited["tail"] if line.startswith("pid ")]
    caller.expect_end()
    assert len(pids) == 2
    assert not [pid for pid in pids if is_running(pid)]


def test_a_flood_is_kept_within_bounds(supervisors: Supervisors) -> None:
    """A server that prints without end fills neither disk nor memory, and keeps the supervisor from nothing."""
    caller = supervisors.start("floods", log_bytes=1 << 20)
    while caller.expect("output")["bytes"] < 20 << 20:
        assert caller.status()["state"] == "starting"
    assert caller.directory.joinpath("server.log.1").exists()
    assert _size(caller.directory) <= 1 << 20
    assert memory(caller.supervisor) < 64 << 20
    visitor = supervisors.call()
    assert visitor.ask("stop", reason="enough")["ending"]
    assert len(caller.expect("exited")["tail"]) == 50
    caller.expect_end()


def _size(directory: Path) -> int:
    """How large the files of a directory are together; they may be renamed meanwhile."""
    size = 0
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def test_a_server_may_close_its_output(supervisors: Supervisors) -> None:
    """Then there is nothing more to read; the server goes on, and the supervisor is at rest."""
    caller = supervisors.start("falls_silent")
    caller.expect_up()
    caller.ask("ready")
    before = _processor_time(caller.supervisor)
    assert caller.status()["state"] == "ready"
    for _ in range(20):
        assert caller.ask("nonsense") == {"id": caller._numbers, "error": "unknown request"}
    assert _processor_time(caller.supervisor) - before < 0.5


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_server_that_dies_is_accounted_for(supervisors: Supervisors) -> None:
    """Everybody hears the exit code, the last fifty lines, and where all of them are; only its user can read that."""
    caller = supervisors.start("dies")
    exited = caller.expect("exited")
    assert (exited["code"], exited["reason"], exited["expected"]) == (3, "it ended before it was ready", False)
    assert exited["tail"] == [f"line {number}" for number in range(11, 60)] + ["the end"]
    caller.expect_end()
    log = Path(exited["log"])
    assert log.parent == supervisors.runtime.logs
    assert log.read_text().splitlines()[1:] == [f"line {number}" for number in range(60)] + ["the end"]
    assert (mode(log), mode(log.parent)) == (0o600, 0o700)


def test_a_server_that_was_ready_and_dies(supervisors: Supervisors) -> None:
    """The exit code tells the signal, and the reason tells that it was ready before."""
    caller = supervisors.start()
    (pid,) = caller.expect_up()
    caller.ask("ready")
    os.kill(pid, signal.SIGKILL)
    exited = caller.expect("exited")
    assert (exited["code"], exited["reason"], exited["expected"]) == (-signal.SIGKILL, "it ended by itself", False)
    assert not any(message.get("event") == "ending" for message in caller.heard)


@pytest.mark.parametrize(
    ("job", "why"),
    [
        ({"cwd": "/not/there"}, "No such file or directory: '/not/there'"),
        ({"argv": ["/not/there/server"]}, "No such file or directory: '/not/there/server'"),
        ({"argv": [__file__]}, f"Permission denied: '{__file__}'"),
        ({"argv": ["/bin/true", "zero\0"]}, "embedded null byte"),
        ({"files": {"../../not/there": ""}}, "No such file or directory"),
    ],
    ids=["cwd", "vanished", "not-executable", "zero-byte", "file"],
)
def test_what_cannot_be_started_is_told(supervisors: Supervisors, job: dict[str, object], why: str) -> None:
    """The starter hears why, as if the server had printed it, and nothing is left."""
    caller = supervisors.start(**job)
    exited = caller.expect("exited")
    assert (exited["code"], exited["expected"]) == (None, False)
    assert why in exited["tail"][-1]
    caller.expect_end()
    assert leftovers(supervisors.runtime.root) == []


def test_a_server_gets_what_belongs_to_it_and_nothing_else(supervisors: Supervisors) -> None:
    """It leads its process group, has its own environment, directory and no open file of the supervisor."""
    slot = os.open(supervisors.runtime.root, os.O_RDONLY)
    caller = supervisors.start("shows_itself", environment={"MINE": "yes"}, slot_fds=[slot])
    os.close(slot)
    printed = caller.expect_text("\nup\n").splitlines()
    assert printed[1:5] == [f"cwd {caller.directory}", "mine yes", "files [0, 1, 2]", "leader True"]


# ---------------------------------------------------------------- its directory and its log


def test_nobody_else_may_look(supervisors: Supervisors) -> None:
    """Directories are for their owner only, and so are the log and the files that the server was given."""
    caller = supervisors.start(files={"key": "the-key\n"})
    caller.expect_up()
    assert (caller.directory / "key").read_text() == "the-key\n"
    modes = {path.name: mode(path) for path in [caller.directory, *caller.directory.iterdir()]}
    assert modes == {"bad-1": 0o700, "tmp": 0o700, "server.log": 0o600, "key": 0o600}


def test_secrets_are_masked(supervisors: Supervisors) -> None:
    """A secret that a server prints is neither in the log nor in its last lines, also where it prints it in pieces."""
    secret = "sk-0123456789"
    caller = supervisors.start("tells_secrets", environment={"KEY": secret}, secrets=[secret, "sk-01", ""])
    assert caller.expect_text("\nup\n").splitlines()[1:] == ["key: ***", "piece by piece: ***", "up"]
    assert "piece by piece: ***" in caller.ask("give up", reason="")["tail"]


@pytest.mark.parametrize(
    "secrets",
    [["aab"], ["aaaa"], ["abab"], ["s3cret"], ["abc", "abcdef"], ["bcd", "abcde"], ["ab", "bcab", "abcabd"]],
    ids="-".join,
)
def test_a_secret_is_masked_wherever_the_output_is_cut(tmp_path: Path, secrets: list[str]) -> None:
    """However the output arrives in two or three pieces, the log is the same, also where secrets are in one another."""
    text = f"a{'a'.join(secrets)}{secrets[-1]}{secrets[-1]} end{secrets[-1][:-1]}\n".encode()
    longest_first = sorted((secret.encode() for secret in secrets), key=len, reverse=True)
    wanted = re.sub(b"|".join(longest_first), b"***", text)
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            log = Log(str(tmp_path / "log"), 1 << 16, secrets)
            log.open()
            for piece in (text[:first], text[first:second], text[second:]):
                log.write(piece)
            log.close()
            assert (tmp_path / "log").read_bytes() == wanted
            assert log.tail() == [wanted.decode().rstrip("\n")]
            (tmp_path / "log").unlink()


def test_of_a_long_log_the_newer_part_is_kept(tmp_path: Path) -> None:
    """At its limit a log is begun anew beside its older half; kept logs keep both halves, in 20 files at most."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(25):
        (logs / f"old-{number}").touch()
        os.utime(logs / f"old-{number}", (number, number))
    log = Log(str(tmp_path / "log"), 8192, [])
    log.open()
    for number in range(1000):
        log.write(f"line {number}\n".encode())
    log.keep(str(logs), "kept")
    log.write(b"afterwards\n")
    log.close()
    assert not list(tmp_path.glob("log*.*"))
    lines = ((logs / "kept.1").read_text() + (logs / "kept").read_text()).splitlines()
    assert lines == [f"line {number}" for number in range(1000 - len(lines) + 1, 1000)] + ["afterwards"]
    assert 4096 < sum((logs / name).stat().st_size for name in ("kept", "kept.1")) <= 8192
    assert {path.name for path in logs.iterdir()} == {"kept", "kept.1"} | {f"old-{number}" for number in range(7, 25)}


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """Where the directory is gone, or was never there, the last lines are known all the same."""
    log = Log(str(tmp_path / "gone" / "log"), 8192, [])
    log.write(b"one\n" * 3000)
    (tmp_path / "gone").mkdir()
    log.open()
    (tmp_path / "gone" / "log").rename(tmp_path / "elsewhere")
    (tmp_path / "gone").rmdir()
    log.write(b"two\n" * 3000)
    log.keep(str(tmp_path / "logs"), "kept")
    log.close()
    assert log.tail() == ["two"] * 50


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    """Progress bars and floods without a newline do not grow in memory."""
    log = Log(str(tmp_path / "log"), 8192, [])
    log.open()
    for _ in range(100):
        log.write(b"x" * 4000)
    log.close()
    assert log.tail() == ["x" * TAIL_LINE_BYTES]


# ---------------------------------------------------------------- the end of others


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_supervisor_that_is_told_to_end_ends_its_server(supervisors: Supervisors, number: signal.Signals) -> None:
    """A signal to the supervisor is a signal to end all in order."""
    caller = supervisors.start("family", grace=GRACE)
    pids = caller.expect_up()
    caller.ask("ready")
    os.kill(caller.supervisor, number)
    reason = f"its supervisor got {number.name}"
    assert caller.expect("ending")["reason"] == reason
    assert caller.expect("exited")["reason"] == reason
    caller.expect_end()
    assert not [pid for pid in pids if is_running(pid)]
    assert leftovers(supervisors.runtime.root) == []


def test_signals_that_the_starter_has_blocked_reach_the_supervisor_and_the_server(supervisors: Supervisors) -> None:
    """A program that waits for its signals in one thread blocks them in all others; both would inherit that."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        caller = supervisors.start("family", grace=GRACE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for pid in (caller.supervisor, *caller.expect_up()):
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^SigBlk:\t0+$", status, re.MULTILINE), status
    os.kill(caller.supervisor, signal.SIGTERM)
    assert caller.expect("exited")["code"] == -signal.SIGTERM
    caller.expect_end()


def test_a_supervisor_that_fails_kills_first(supervisors: Supervisors) -> None:
    """Telling why may fail as well, or wait: here nobody reads, and the log cannot be written."""
    caller = supervisors.start("family", grace="long")
    pids = caller.expect_up()
    visitor = supervisors.call()
    visitor.status()
    log = caller.directory / "server.log"
    log.rename(log.with_name("moved"))
    log.mkdir()
    caller.close()
    assert all(await_end(pid) for pid in pids)
    visitor.expect("exited")
    visitor.expect_end()


def test_a_supervisor_that_fails_takes_its_server_along(supervisors: Supervisors) -> None:
    """Where it cannot go on, by a mistake of ours, everybody hears why, and nothing of the server is left."""
    caller = supervisors.start("family", grace="long")
    pids = caller.expect_up()
    visitor = supervisors.call()
    visitor.status()
    caller.close()
    exited = visitor.expect("exited")
    assert (exited["code"], exited["reason"], exited["expected"]) == (None, "its supervisor failed", False)
    assert exited["tail"][-1].startswith("the supervisor failed: TypeError: ")
    assert Path(exited["log"]).parent == supervisors.runtime.logs
    visitor.expect_end()
    assert all(await_end(pid) for pid in pids)
    assert leftovers(supervisors.runtime.root) == []


def test_the_next_start_buries_what_a_killed_supervisor_left(supervisors: Supervisors) -> None:
    """Its clients see that it has gone; the next start of any server ends what it could not, and removes its files."""
    caller = supervisors.start("family", id="bad-2", files={"key": "the-key"})
    pids = caller.expect_up()
    caller.kill()
    assert not any(message.get("event") == "exited" for message in caller.heard)
    assert [pid for pid in pids if is_running(pid)]
    assert supervisors.runtime.connect("bad-2") is None
    supervisors.start().expect_up()
    assert all(await_end(pid) for pid in pids)
    assert {path.name for path in supervisors.runtime.root.glob("bad-*")} == {"bad-1", "bad-1.sock"}


def test_a_killed_supervisor_can_be_followed_at_once(supervisors: Supervisors) -> None:
    """The same server can be started again; its old self is gone before."""
    before = supervisors.start("family")
    pids = before.expect_up()
    before.kill()
    after = supervisors.start()
    assert len(after.expect_up()) == 1
    assert all(await_end(pid) for pid in pids)


def test_a_socket_that_nobody_listens_at_is_in_nobodys_way(supervisors: Supervisors) -> None:
    """What is left of the socket of a dead supervisor is removed by the next start."""
    for server_id in ("bad-1", "bad-2"):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(supervisors.runtime.socket_path(server_id)))
    assert supervisors.runtime.connect("bad-2") is None
    supervisors.start().expect_up()
    assert supervisors.runtime.server_ids() == ["bad-1"]


def _shim_alone(runtime: Runtime, *, slot_fds: tuple[int, ...] = ()) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A supervisor that has no job yet."""
    with runtime.locked() as lock:
        assert lock is not None
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(lock.descriptor), str(runtime.socket_path("bad-1"))]
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(_supervisor.__file__).with_name("__main__.py")), *arguments],
                pass_fds=[theirs.fileno(), lock.descriptor, *slot_fds],
            )
        lock.is_passed_on = True
    return ours, process


@pytest.mark.parametrize("sent", [b"", b'{"id": "bad-1", '], ids=["nothing", "half"])
def test_a_starter_that_dies_before_the_job_leaves_nothing(runtime: Runtime, sent: bytes) -> None:
    """The supervisor ends without having made anything, and without the lock that it was given."""
    ours, process = _shim_alone(runtime)
    assert is_locked(runtime.root)
    ours.sendall(sent)
    ours.close()
    assert process.wait(30) == 0
    assert leftovers(runtime.root) == []


def test_a_starter_that_dies_after_the_job_leaves_nothing(supervisors: Supervisors) -> None:
    """The server may be there already; it ends."""
    caller = supervisors.start("family", grace=GRACE)
    caller.close()
    assert await_end(caller.supervisor)
    assert leftovers(supervisors.runtime.root) == []


def test_two_that_start_the_same_server_start_one(supervisors: Supervisors) -> None:
    """While one is being started nobody else starts any; then everybody finds it."""
    caller = supervisors.start()
    with_another_name = supervisors.try_start(id="bad-2")
    while with_another_name is None:  # as long as the first has not made its socket
        with_another_name = supervisors.try_start(id="bad-2")
    with_another_name.expect_up()
    assert supervisors.try_start() is None
    assert supervisors.call().ask("lease")["server"]["pid"] == caller.expect("started")["pid"]


# ---------------------------------------------------------------- clients


def test_a_client_that_never_reads_holds_nobody_up(supervisors: Supervisors) -> None:
    """What it asks is answered into the void, within bounds; others are served."""
    caller = supervisors.start()
    caller.expect_up()
    deaf = supervisors.call()
    for _ in range(60):
        deaf.socket.sendall(b'{"op": "nonsense"}\n' * 500)
    before = memory(caller.supervisor)
    for _ in range(60):
        deaf.socket.sendall(b'{"op": "nonsense"}\n' * 500)
    assert caller.status()["leases"] == 1
    assert memory(caller.supervisor) < before + (8 << 20)
    caller.close()
    assert await_end(caller.supervisor)


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe\x00\n", b"[]\n", b"[" * 100_000 + b"\n", b"1\n", b"{\n", b"x" * (1 << 20)],
    ids=["bytes", "list", "deep", "number", "half", "endless"],
)
def test_who_sends_garbage_is_hung_up_on(supervisors: Supervisors, garbage: bytes) -> None:
    """It only harms itself."""
    caller = supervisors.start()
    caller.expect_up()
    stranger = supervisors.call()
    with suppress(BrokenPipeError, ConnectionResetError):
        stranger.socket.sendall(garbage)
    stranger.expect_end()
    assert caller.status()["leases"] == 1


@pytest.mark.parametrize(
    "request_",
    [{}, {"op": 1}, {"op": ["lease"]}, {"op": "lease", "keep_alive": "x"}, {"op": "lease", "keep_alive": None}],
)
def test_a_senseless_request_is_answered_and_changes_nothing(
    supervisors: Supervisors, request_: dict[str, object]
) -> None:
    """The answer is an error, and the client is what it was."""
    caller = supervisors.start()
    caller.expect_up()
    visitor = supervisors.call()
    visitor.socket.sendall(json.dumps({"id": 7, **request_}).encode() + b"\n")
    assert "error" in visitor._next("id", 7)
    visitor.send("lease", keep_alive=10**400)
    assert "error" in visitor._next("id", 1)
    assert caller.status()["leases"] == 1


def test_who_does_not_read_misses_something() -> None:
    """What is kept for a client is bounded; what it reads in the end is whole lines."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = Client(ours)
        for number in range(5000):
            client.tell({"number": number, "text": "x" * 1000})
        theirs.setblocking(False)
        received, data = b"", theirs.recv(1 << 20)
        while data:
            received += data
            client.flush()
            with suppress(BlockingIOError):
                data = b""
                data = theirs.recv(1 << 20)
        numbers = [json.loads(line)["number"] for line in received.splitlines()]
        assert numbers == list(range(len(numbers)))
        assert BUFFER_LIMIT < len(received) < 5000 * 1000 / 2
        assert not client.is_behind


def test_more_clients_than_files_may_be_open(supervisors: Supervisors) -> None:
    """Who finds no room is hung up on; all others are served, and the server ends with them."""
    caller = supervisors.start("family", grace=GRACE)
    pids = caller.expect_up()
    caller.ask("ready")
    files = {int(path.name) for path in Path(f"/proc/{caller.supervisor}/fd").iterdir()}
    limit = max(files) + 6 + RESERVED_FILES
    room = limit - RESERVED_FILES - len(files)
    resource.prlimit(caller.supervisor, resource.RLIMIT_NOFILE, (limit, limit))
    visitors = [supervisors.call() for _ in range(room + 10)]
    for visitor in visitors[room:]:
        visitor.expect_end()
    for visitor in (caller, *visitors[:room]):
        assert visitor.status()["leases"] == 1
    visitors[0].close()
    while True:  # until the supervisor has heard that it left
        newcomer = supervisors.call()
        try:
            assert newcomer.ask("lease")["granted"]
        except (AssertionError, BrokenPipeError):
            continue
        break
    caller.close()
    newcomer.ask("leave")
    newcomer.expect_end()
    assert all(await_end(pid) for pid in pids)
    assert leftovers(supervisors.runtime.root) == []


def test_the_user_at_the_other_end_is_known() -> None:
    """The kernel says who it is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_user(ours) == os.getuid()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("is_open", [False, True], ids=["closed-directory", "open-directory"])
def test_another_user_gets_no_answer(supervisors: Supervisors, is_open: bool) -> None:
    """The directory keeps others out; where it does not, the supervisor hangs up on them."""
    caller = supervisors.start()
    caller.expect_up()
    path = supervisors.runtime.socket_path("bad-1")
    if is_open:
        path.chmod(0o777)
        path.parent.chmod(0o711)
    script = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "connection = socket.socket(socket.AF_UNIX); connection.settimeout(30)\n"
        "connection.connect(sys.argv[1])\n"
        "print(repr(connection.recv(1)))\n"
    )
    everybodys = Path("/usr/bin/python3")
    python = str(everybodys) if everybodys.exists() else sys.executable
    result = subprocess.run([python, "-I", "-c", script, str(path)], capture_output=True, text=True, check=False)
    path.parent.chmod(0o700)
    if is_open:
        assert result.stdout == "b''\n", result.stderr
    else:
        assert "PermissionError" in result.stderr
    assert caller.status()["leases"] == 1


# ---------------------------------------------------------------- leases and holds


def test_everybody_hears_what_happens(supervisors: Supervisors) -> None:
    """The start, the first output, being ready, and the end are told to all, in this order."""
    caller = supervisors.start()
    pid = caller.expect("started")["pid"]
    assert caller.expect_up() == [pid]
    other = supervisors.call()
    assert other.ask("lease")["server"]["ready"] is False
    caller.ask("ready")
    caller.ask("ready")
    other.expect("ready")
    other.ask("stop", reason="enough")
    for each in (caller, other):
        each.expect_end()
        assert [message["event"] for message in each.heard if message["event"] != "output"][-2:] == ["ending", "exited"]
        assert sum(message["event"] == "ready" for message in each.heard) == (each is caller)


def test_a_lease_says_what_its_holder_has_to_know(supervisors: Supervisors) -> None:
    """Address, key and process come with the lease; what everybody may see of the server leaves out the key."""
    caller = supervisors.start()
    (pid,) = caller.expect_up()
    caller.ask("ready")
    granted = supervisors.call().ask("lease", keep_alive=2)
    assert granted["granted"]
    server = granted["server"]
    assert (server["id"], server["port"], server["api_key"], server["slots"]) == ("bad-1", 1, "the-key", ["slot-0"])
    assert (server["pid"], server["supervisor"], server["ready"]) == (pid, caller.supervisor, True)
    assert server["log"] == str(caller.directory / "server.log")
    status = caller.status()
    assert "api_key" not in status
    assert (status["state"], status["leases"], status["holds"], status["keep_alive"]) == ("ready", 2, 0, 2)
    assert status["memory"] > 1 << 20
    assert server["started"] <= status["last_used"]
    caller.ask("stop", reason="")


def test_leases_and_holds_are_counted(supervisors: Supervisors) -> None:
    """A connection is a lease, a hold, or a visit, as it likes; the server lives as long as there is any of the two."""
    one = supervisors.start()
    one.expect_up()
    one.ask("ready")
    two, visitor = supervisors.call(), supervisors.call()

    def counts() -> tuple[int, int]:
        status = visitor.status()
        return status["leases"], status["holds"]

    assert counts() == (1, 0)
    assert two.ask("hold")["granted"]
    assert counts() == (1, 1)
    assert two.ask("lease")["granted"]
    assert counts() == (2, 0)
    assert one.ask("hold")["granted"]
    assert counts() == (1, 1)
    assert two.ask("leave") == {"id": 3, "ending": False}
    assert counts() == (0, 1)
    assert two.ask("lease")["granted"]
    one.close()
    while counts() != (1, 0):  # until the supervisor has seen that it has gone
        pass
    assert two.ask("leave")["ending"]
    assert two.expect("exited")["reason"] == "nobody is connected any more"
    two.expect_end()
    visitor.expect_end()


@pytest.mark.parametrize("leaves", [lambda holder: holder.ask("leave"), Caller.close], ids=["leaves", "hangs up"])
def test_a_hold_is_no_use(supervisors: Supervisors, leaves: Callable[[Caller], object]) -> None:
    """When the server was used last is not changed by somebody who only keeps it warm."""
    caller = supervisors.start()
    caller.expect_up()
    before = caller.status()["last_used"]
    holder = supervisors.call()
    assert holder.ask("hold")["granted"]
    leaves(holder)
    while (status := caller.status())["holds"]:
        pass
    assert status["last_used"] == before


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
def test_who_comes_while_the_last_one_leaves_is_served_first(supervisors: Supervisors, is_known: bool) -> None:
    """Where both have said so before the supervisor looks, the server stays, and who leaves is told that."""
    caller = supervisors.start()
    caller.expect_up()
    caller.ask("ready")
    if is_known:
        other = supervisors.call()
        other.status()
    caller.status()  # the last to speak is the first of whom the kernel tells
    with caller.standstill():
        if not is_known:
            other = supervisors.call()
        leaving, leasing = caller.send("leave"), other.send("lease")
    assert other._next("id", leasing)["granted"]
    assert not caller._next("id", leaving)["ending"]


def test_nobody_waits_for_a_server_that_nobody_wants(supervisors: Supervisors) -> None:
    """Where all have gone before it was ready it ends at once, however long it was to be kept."""
    caller = supervisors.start()
    caller.expect_up()
    assert caller.ask("lease", keep_alive=3600)["granted"]
    assert caller.ask("leave")["ending"]
    caller.expect_end()


@pytest.mark.parametrize("keep_alive", [3600, 1e12, float("inf")])
def test_a_server_is_kept_for_those_who_come_later(supervisors: Supervisors, keep_alive: float) -> None:
    """With a time to keep it, a server that was ready survives all its users."""
    caller = supervisors.start()
    caller.expect_up()
    caller.ask("ready")
    caller.ask("lease", keep_alive=keep_alive)
    assert caller.ask("leave") == {"id": 3, "ending": False}
    caller.close()
    later = supervisors.call()
    assert later.status()["leases"] == 0
    assert later.ask("lease")["granted"]
    assert later.ask("stop", reason="")["ending"]
    later.expect_end()


def test_a_server_is_not_kept_longer_than_that(supervisors: Supervisors) -> None:
    """After the longest time that anybody has asked for, it ends by itself, also where visitors are connected."""
    caller = supervisors.start()
    caller.expect_up()
    caller.ask("ready")
    caller.ask("hold", keep_alive=0.3)
    caller.ask("hold", keep_alive=0.1)
    visitor = supervisors.call()
    assert visitor.status()["keep_alive"] == 0.3
    caller.close()
    assert visitor.expect("exited")["reason"] == "nobody is connected any more"
    visitor.expect_end()


def test_nobody_leases_what_is_about_to_end(supervisors: Supervisors) -> None:
    """A wish for a lease or a hold is refused with the reason, and the connection stays until nothing is left."""
    caller = supervisors.start("ignores_term", grace=GRACE)
    caller.expect_up()
    other = supervisors.call()
    assert caller.ask("stop", reason="enough")["ending"]
    for op in ("lease", "hold"):
        assert other.ask(op) == {
            "id": other._numbers,
            "granted": False,
            "reason": "enough",
            "ending": True,
            "sleeps": False,
        }
    assert other.status()["state"] == "ending"
    other.expect_end()
    assert leftovers(supervisors.runtime.root) == []


def test_who_gives_up_gets_the_last_lines_and_the_log_is_kept(supervisors: Supervisors) -> None:
    """A server that did not get ready in time is stopped as one that failed."""
    caller = supervisors.start()
    caller.expect_up()
    answer = caller.ask("give up", reason="it did not get ready")
    assert answer["tail"][-1] == "up"
    assert caller.expect("exited")["expected"] is True
    caller.expect_end()
    log = Path(answer["log"])
    assert log.parent == supervisors.runtime.logs
    assert log.read_text().endswith("up\n")


def _is_ready_for_long(supervisors: Supervisors, **job: object) -> Caller:
    """A server that has been ready for as long as its start took."""
    caller = supervisors.start(**job)
    caller.expect_up()
    caller.ask("ready")
    return caller


def _until(answer: Callable[[], object]) -> None:
    """Ask again, as one does who waits for slots."""
    while not answer():
        pass


def test_a_server_that_nobody_leases_makes_way(supervisors: Supervisors) -> None:
    """Who needs its slots asks it to end, and it does, with that reason; holds are no hindrance."""
    caller = _is_ready_for_long(supervisors)
    caller.ask("hold")
    visitor = supervisors.call()
    _until(lambda: visitor.ask("end", reason="its slots are needed", drain=True)["ending"])
    assert caller.expect("ending")["reason"] == "its slots are needed"
    exited = caller.expect("exited")
    assert (exited["reason"], exited["expected"]) == ("its slots are needed", True)
    caller.expect_end()


def test_a_server_that_is_leased_stays_where_nobody_may_drain_it(supervisors: Supervisors) -> None:
    """Asked to end without a wish to drain it, it says no, and nobody is bothered."""
    caller = _is_ready_for_long(supervisors)
    assert supervisors.call().ask("end", reason="")["ending"] is False
    assert caller.status()["state"] == "ready"


def test_a_server_that_is_leased_is_drained(supervisors: Supervisors) -> None:
    """Its users hear that it retires; nobody new gets a lease, but who has one may go on, and the last one ends it."""
    caller = _is_ready_for_long(supervisors)
    visitor = supervisors.call()
    while caller.status()["state"] != "retiring":
        assert visitor.ask("end", reason="its slots are needed", drain=True)["ending"] is False
    assert caller.expect("retiring")["reason"] == "its slots are needed"
    other = supervisors.call()
    refused = {"granted": False, "reason": "its slots are needed", "ending": False, "sleeps": False}
    assert other.ask("lease") == {"id": 1, **refused}
    assert other.ask("hold")["granted"]
    assert caller.ask("lease")["granted"]
    assert caller.ask("hold")["granted"]
    assert caller.expect("exited")["reason"] == "its slots are needed"


def test_a_server_is_not_drained_for_ever(supervisors: Supervisors) -> None:
    """Who leases it may wait for a lease on it itself: after a while everybody may lease it again, for some time."""
    caller = _is_ready_for_long(supervisors, drain_seconds=0.2)
    visitor = supervisors.call()
    while not any(message.get("event") == "retiring" for message in caller.heard):
        assert visitor.ask("end", reason="its slots are needed", drain=True)["ending"] is False
        caller.status()
    caller.expect("resumed")
    assert supervisors.call().ask("lease")["granted"]
    assert caller.status()["state"] == "ready"


# ---------------------------------------------------------------- slots and memory


@pytest.fixture
def slot(runtime: Runtime) -> Iterator[Path]:
    """The file of a slot."""
    runtime.slots.mkdir(0o700)
    path = runtime.slots / "slot-0"
    path.touch(0o600)
    return path


def _taken(slot: Path) -> int:
    descriptor = os.open(slot, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def test_slots_are_free_when_the_supervisor_hangs_up(supervisors: Supervisors, slot: Path) -> None:
    """It holds their locks as long as anything of the server is left, and not a moment longer."""
    descriptor = _taken(slot)
    caller = supervisors.start("ignores_term", slot_fds=[descriptor], grace=GRACE)
    os.close(descriptor)
    caller.expect_up()
    caller.ask("stop", reason="")
    assert is_locked(slot)
    caller.expect("exited")
    caller.expect_end()
    assert not is_locked(slot)


def test_slots_are_free_also_where_a_child_of_the_starter_has_a_copy(supervisors: Supervisors, slot: Path) -> None:
    """Who forks in the wrong moment does not keep the slot for as long as its child lives."""
    descriptor = _taken(slot)
    caller = supervisors.start(slot_fds=[descriptor])
    caller.expect_up()
    caller.ask("stop", reason="")
    caller.expect_end()
    assert not is_locked(slot)
    os.close(descriptor)


def test_slots_are_free_when_the_supervisor_was_killed(supervisors: Supervisors, slot: Path) -> None:
    """The kernel frees them; what is left of the server is buried before they are used again."""
    descriptor = _taken(slot)
    caller = supervisors.start("family", slot_fds=[descriptor])
    os.close(descriptor)
    pids = caller.expect_up()
    caller.kill()
    assert not is_locked(slot)
    descriptor = _taken(slot)
    supervisors.start(id="bad-2", slot_fds=[descriptor]).expect_up()
    os.close(descriptor)
    assert not [pid for pid in pids if is_running(pid)]


class FakeSMI:
    """An nvidia-smi that waits for the test to say who has memory."""

    def __init__(self, directory: Path) -> None:
        self.asks, self.answers, self.calls = directory / "asks", directory / "answers", directory / "calls"
        os.mkfifo(self.asks)
        os.mkfifo(self.answers)
        command = directory / "nvidia-smi"
        command.write_text(f'#!/bin/sh\necho >> {self.calls}\necho "$@" > {self.asks}\ncat {self.answers}\n')
        command.chmod(0o755)
        self.queries: list[str] = []
        """What it was asked."""

    def say(self, *pids: object) -> None:
        """Wait until somebody asks, and answer."""
        # Open for writing as well, or opening it would wait for as long as nobody asks.
        with os.fdopen(os.open(self.asks, os.O_RDWR), "rb", buffering=0) as asks:
            assert select.select([asks], [], [], PATIENCE)[0], f"nvidia-smi was not asked after {self.queries}"
            self.queries.append(asks.read(1 << 16).decode())
        self.answers.write_text("".join(f"{each}\n" for each in pids))


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSMI:
    """Two GPUs, as far as the supervisor can tell."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return FakeSMI(tmp_path)


@pytest.mark.parametrize("kind", ["good", "family", "detaches"])
def test_a_slot_is_not_given_on_before_its_memory_is_free(
    kind: str, supervisors: Supervisors, slot: Path, smi: FakeSMI
) -> None:
    """It waits until none of the server's processes has memory, whatever others have; who leaves does not wait."""
    descriptor = _taken(slot)
    caller = supervisors.start(kind, slot_fds=[descriptor], gpus=["GPU-1", "GPU-2"])
    os.close(descriptor)
    pids = caller.expect_up()
    caller.ask("stop", reason="")
    caller.expect("exited")
    caller.expect_end()
    for pid in pids:
        smi.say(1, pid)
        assert is_locked(slot)
    smi.say(1, caller.supervisor, os.getpid(), "[N/A]")
    assert await_end(caller.supervisor)
    assert not is_locked(slot)
    query = "--id=GPU-1,GPU-2 --query-compute-apps=pid --format=csv,noheader\n"
    assert smi.queries == [query] * (len(pids) + 1)
    assert smi.calls.read_text() == "\n" * (len(pids) + 1), "it was asked once more, though the memory was free"


def test_where_nobody_tells_who_has_memory_nobody_waits(supervisors: Supervisors, slot: Path, smi: FakeSMI) -> None:
    """Such as an nvidia-smi that fails."""
    (smi.calls.parent / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    descriptor = _taken(slot)
    caller = supervisors.start(slot_fds=[descriptor], gpus=["GPU-1"])
    os.close(descriptor)
    caller.expect_up()
    caller.ask("stop", reason="")
    caller.expect_end()
    assert await_end(caller.supervisor)
    assert not is_locked(slot)


def test_a_signal_while_the_server_starts_is_not_forgotten(supervisors: Supervisors) -> None:
    """A supervisor that is told to end before it has a server starts it, if at all, only to end it."""
    caller = supervisors.start()
    os.kill(caller.supervisor, signal.SIGTERM)
    assert caller.expect("exited")["reason"] == "its supervisor got SIGTERM"
    caller.expect_end()
    assert leftovers(supervisors.runtime.root) == []
