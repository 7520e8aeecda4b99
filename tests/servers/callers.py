"""A client of supervisors that a test can drive step by step, and a way to start supervisors without a launcher."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.servers.leftovers import PATIENCE, await_end

from doteval.servers._local.runtime import Runtime
from doteval.servers._local.supervisors import start_supervisor
from doteval.servers._supervisor.protocol import MARKER

CHILDREN = Path(__file__).with_name("bad_children.py")


class Caller:
    """A connection to a supervisor; whatever it waits for comes, or the test fails.

    Args:
        connection: A connected socket.
        keeper: The process that was started; 0 where that was not done here.
        directory: The server's own directory.
    """

    def __init__(self, connection: socket.socket, keeper: int, directory: Path) -> None:
        connection.settimeout(PATIENCE)
        self.socket = connection
        self.keeper = keeper
        self.supervisor = 0 if not keeper else _child(keeper)
        self.directory = directory
        self.heard: list[dict[str, Any]] = []
        """What has arrived and was not asked for yet."""
        self._numbers = 0
        self._received = b""

    def send(self, op: str, **fields: object) -> int:
        self._numbers += 1
        self.socket.sendall(json.dumps({"id": self._numbers, "op": op, **fields}).encode() + b"\n")
        return self._numbers

    def ask(self, op: str, **fields: object) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        return self._next("id", self.send(op, **fields))

    def expect(self, event: str) -> dict[str, Any]:
        """Wait for an event; what came before it is kept."""
        return self._next("event", event)

    def status(self) -> dict[str, Any]:
        return self.ask("status")["status"]

    def expect_text(self, text: str) -> str:
        """Wait until the server has printed something; returns all it has printed."""
        log = self.directory / "server.log"
        while text not in (printed := log.read_text(errors="replace") if log.exists() else ""):
            self.expect("output")
        return printed

    def expect_up(self) -> list[int]:
        """Wait until a bad child is up; returns all its processes."""
        lines = self.expect_text("\nup\n").splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("pid ")]

    def expect_end(self) -> None:
        """Wait until the supervisor hangs up."""
        while data := self._receive():
            self._take(data)

    @contextmanager
    def standstill(self) -> Iterator[None]:
        """Within the block the supervisor, which the caller has started, does nothing, as busy as can be."""
        os.kill(self.supervisor, signal.SIGSTOP)
        while state(self.supervisor) != "T":  # the signal takes effect some time later
            time.sleep(0.001)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(self.supervisor, signal.SIGCONT)

    def kill(self, *, keeper: bool = True) -> None:
        """Kill the supervisor, and its keeper before, and wait until they have gone."""
        if keeper:
            os.kill(self.keeper, signal.SIGKILL)
            assert await_end(self.keeper)
        os.kill(self.supervisor, signal.SIGKILL)
        assert await_end(self.supervisor)
        self.expect_end()

    def close(self) -> None:
        self.socket.close()

    def _next(self, name: str, value: object) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while True:
            for message in self.heard:
                if message.get(name) == value:
                    self.heard.remove(message)
                    return message
            assert select.select([self.socket], [], [], max(0, deadline - time.monotonic()))[0], f"no {name} {value}"
            data = self._receive()
            assert data, f"the supervisor hung up before {name} {value}; before: {self.heard}"
            self._take(data)

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(1 << 16)
        except ConnectionResetError:
            return b""

    def _take(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        self.heard += map(json.loads, lines)


def state(pid: int) -> str:
    """What a process does, as a letter."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _child(pid: int) -> int:
    """The only child of a process; 0 where it ends without one."""
    while state(pid) != "Z":
        if children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return int(children[0])
        time.sleep(0.001)
    return 0


class Supervisors:
    """Starts supervisors in a runtime directory.

    Args:
        runtime: The directory.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.callers: list[Caller] = []

    def start(self, kind: str = "good", *, slot_fds: Sequence[int] = (), **job: Any) -> Caller:
        """Start a bad child under a supervisor of its own; the caller leases it."""
        caller = self.try_start(kind, slot_fds=slot_fds, **job)
        assert caller is not None
        return caller

    def try_start(self, kind: str = "good", *, slot_fds: Sequence[int] = (), **job: Any) -> Caller | None:
        server_id = job.setdefault("id", "bad-1")
        directory = self.runtime.directory(server_id)
        environment = {"PYTHONUNBUFFERED": "1", MARKER: str(directory), **job.pop("environment", {})}
        whole = {
            "kind": "bad",
            "spec": "model",
            "port": 1,
            "api_key": "the-key",
            "slots": ["slot-0"],
            "fraction": 1.0,
            "shown": f"python bad_children.py {kind}",
            "argv": [sys.executable, "-I", "-S", str(CHILDREN), kind],
            "environment": environment,
            "cwd": str(directory),
            "files": {},
            "directory": str(directory),
            "logs": str(self.runtime.logs),
            "log_bytes": 1 << 20,
            "secrets": [],
            "gpus": [],
            "slot_paths": [str(Path(f"/proc/self/fd/{each}").readlink()) for each in slot_fds],
            "grace": 30.0,
            "drain_seconds": 30.0,
            "stay_seconds": 0.0,
            "beds": str(self.runtime.root / "beds"),
            "may_sleep": 0,
            "sleep": None,
            **job,
        }
        started = start_supervisor(self.runtime, server_id, whole, slot_fds)
        if started is None:
            return None
        connection, supervisor = started
        return self._added(Caller(connection, supervisor, directory))

    def call(self, server_id: str = "bad-1") -> Caller:
        """Connect to the supervisor of a server."""
        connection = self.runtime.connect(server_id)
        assert connection is not None
        return self._added(Caller(connection, 0, self.runtime.directory(server_id)))

    def close(self) -> None:
        for caller in self.callers:
            caller.close()

    def _added(self, caller: Caller) -> Caller:
        self.callers.append(caller)
        return caller
