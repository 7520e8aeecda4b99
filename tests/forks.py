"""Runs of Python in processes of their own that start in no time: forked by a process that has imported it all.

`Forks` starts that process (tests/fork_server.py) and asks it; the fixture of the session is called ``forks``. What
imports bring in, how a program is started or installed, and options of Python itself are for a real start.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

import pytest
from tests import fork_server
from tests.fork_server import ABOVE, fork_workers

SERVER = Path(fork_server.__file__)
PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL

PATIENCE = 120.0
"""After how many seconds a run is killed; only ever waited for where something is broken."""


class Fork:
    """A process that was forked; as much of a `subprocess.Popen` as tests need.

    Args:
        args: What it runs.
        connection: What the fork server answers on.
        stdout: Where to read what it prints, if that is a pipe.
    """

    def __init__(self, args: list[str], connection: socket.socket, stdout: IO[str] | None) -> None:
        self.args = args
        self.stdout = stdout
        self.returncode: int | None = None
        self._connection = connection
        answer = self._line()
        if not answer.startswith(b"pid "):
            connection.close()
            if stdout is not None:
                stdout.close()
            raise RuntimeError(f"{args} ended with exit status {int(answer)} before it began")
        self.pid = int(answer.removeprefix(b"pid "))

    def poll(self) -> int | None:
        """The exit status, negative where a signal has ended it; `None` where it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until it has ended; the exit status.

        Raises:
            subprocess.TimeoutExpired: It has not ended after so many seconds.
        """
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = self._answer()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout) from None
        return self.returncode

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, None]:
        """Read all that it prints, and wait until it has ended. It is killed if that takes longer than so many seconds.

        Raises:
            subprocess.TimeoutExpired: It was killed.
        """
        assert self.stdout is not None
        is_late = threading.Event()
        timer = threading.Timer(timeout, lambda: (is_late.set(), self.kill()))
        timer.start()
        try:
            output = self.stdout.read()
            self.wait()
        finally:
            timer.cancel()
        if is_late.is_set():
            raise subprocess.TimeoutExpired(self.args, timeout, output)
        return output, None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is known to have ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, *exc: object) -> None:
        if exc_type is not None:
            self.kill()  # nobody will tell it to end
        with self._connection, self.stdout or contextlib.nullcontext():
            self.wait()

    def _answer(self) -> int:
        return int(self._line())

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):  # one byte at a time, so that nothing is read ahead
            if not (byte := self._connection.recv(1)):
                raise RuntimeError(f"nobody can tell what became of {self.args}: the fork server has ended")
            line += byte
        return line


class Forks:
    """The fork server, as those see it who ask for a run. As a context manager it ends with the block.

    Args:
        shared: Whether to ask the server that this process was forked together with, as workers of pytest-xdist are,
            where there is one; it ends with this process.
        imports: Whether the server imports beforehand what nearly every run needs.
    """

    def __init__(self, *, shared: bool = False, imports: bool = True) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        above = sys.modules.get(ABOVE)
        if shared and above is not None:
            self._control: socket.socket = above.control.dup()
            return
        self._control, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, SERVER, *["bare"] * (not imports)], stdin=theirs, stdout=DEVNULL
            )

    def fork_workers(self) -> None:
        """Let pytest-xdist take its workers from here, and each of them its own runs from a server of its own."""
        fork_workers(self._control, workers=True)

    def start(
        self,
        *arguments: str,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[Any] = DEVNULL,
        stdout: int | IO[Any] = DEVNULL,
        stderr: int | IO[Any] = DEVNULL,
        start_new_session: bool = False,
        workers: bool = False,
    ) -> Fork:
        """Start a run of Python, as `subprocess.Popen` does.

        Args:
            arguments: For Python: ``-m MODULE ...`` or ``FILE ...``. There are no other options.
            cwd: Its directory; `None`: ours.
            env: Its environment; `None`: ours, as it is now.
            stdin: A file, a descriptor or `DEVNULL`.
            stdout: The same, or `PIPE`.
            stderr: A file, a descriptor, `DEVNULL` or `STDOUT`.
            start_new_session: Whether it leads a session, and so a process group, of its own.
            workers: Whether it has workers of pytest-xdist; they are then forked, too, by a process that is its child.
        """
        request = {
            "arguments": list(map(os.fspath, arguments)),
            "directory": os.fspath(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
            "new_session": start_new_session,
            "workers": workers,
        }
        ours, theirs = socket.socketpair()
        printed = None
        with theirs, contextlib.ExitStack() as files:
            nothing = files.enter_context(Path(os.devnull).open("r+"))
            if stdout == PIPE:
                reading, writing = os.pipe()
                printed, stdout = os.fdopen(reading), files.enter_context(os.fdopen(writing, "w"))
            commands = nothing if stdin == DEVNULL else stdin
            output = nothing if stdout == DEVNULL else stdout
            errors = {DEVNULL: nothing, STDOUT: output}.get(stderr, stderr) if isinstance(stderr, int) else stderr
            numbers = [each if isinstance(each, int) else each.fileno() for each in (theirs, commands, output, errors)]
            socket.send_fds(self._control, [b"."], numbers)
        ours.sendall(json.dumps(request).encode())
        ours.shutdown(socket.SHUT_WR)
        return Fork(request["arguments"], ours, printed)

    def run(
        self,
        *arguments: str,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
        workers: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run Python and wait, as `subprocess.run` does that captures text.

        Raises:
            subprocess.TimeoutExpired: It was killed after so many seconds.
        """
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            with self.start(*arguments, cwd=cwd, env=env, stdout=output, stderr=errors, workers=workers) as fork:
                try:
                    fork.wait(timeout)
                except BaseException:
                    fork.kill()
                    raise
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(fork.args, fork.wait(), output.read(), errors.read())

    def pytest(self, pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
        """Run pytest in the directory of `pytester`, and print what it prints, as its `runpytest_subprocess` does."""
        path = os.pathsep.join(filter(None, [str(pytester.path), os.environ.get("PYTHONPATH")]))
        began = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": path}
        workers = "xdist" in arguments
        done = self.run("-m", "pytest", *arguments, cwd=pytester.path, env=environment, workers=workers)
        print(done.stdout)
        print(done.stderr, file=sys.stderr)
        lines = done.stdout.splitlines(), done.stderr.splitlines()
        return pytest.RunResult(done.returncode, *lines, time.monotonic() - began)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._control.close()  # which is what it waits for
        if self._server is not None:
            self._server.wait()
