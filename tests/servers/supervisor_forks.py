"""Supervisors that start in no time: forked by a process that has imported what they import.

To start Python and import that is 30 ms of processor for each. What is left out is what `test_supervisor_program.py` is
about; a supervisor is the child of who starts it, and gets arguments, files, environment, directory, signals and a
session of its own, as ever. This file is the program that forks, and what asks it (`SupervisorForks`).
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

TYPE_CHECKING = False  # as in typing, whose import takes time
if TYPE_CHECKING:
    from typing import Any

MARKER = "DOTEVAL_SERVER"  # as in `doteval.servers._supervisor.protocol`, which is none of its own here
ROOM = 512
"""How long the mark of a supervisor may be."""
CLONE = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine) if sys.platform == "linux" else None
"""The number of the call that can make a process its parent's sibling."""
CLONE_PARENT = 0x8000
PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)


class SupervisorForks:
    """Takes the place of the module `subprocess` where supervisors are started.

    Args:
        supervisor: The program of a supervisor; whatever else is asked for is really started.
    """

    DEVNULL = subprocess.DEVNULL

    def __init__(self, supervisor: str) -> None:
        self._command = [sys.executable, "-I", "-S", supervisor]
        self._turn = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(theirs.fileno()), supervisor],
                pass_fds=[theirs.fileno()],
                env={MARKER: "-" * ROOM},
            )

    def close(self) -> None:
        """End the process that forks."""
        self._control.close()
        self._server.wait()

    def Popen(self, args: list[str], **options: Any) -> Any:  # noqa: N802 - as it is called there
        """Start a supervisor."""
        mark = options["env"].get(MARKER, "")
        if args[:4] != self._command or len(os.fsencode(mark)) >= ROOM:
            return subprocess.Popen(args, **options)
        request = {
            "arguments": args[4:],
            "files": options["pass_fds"],
            "environment": options["env"],
            "directory": str(Path.cwd()),
            "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
            "blocked": [*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))],
            "ignored": [
                int(number)
                for number in signal.valid_signals()
                if number not in PYTHONS_OWN and signal.getsignal(number) is signal.SIG_IGN
            ],
        }
        with self._turn:
            socket.send_fds(self._control, [json.dumps(request).encode()], options["pass_fds"])
            return SimpleNamespace(pid=int(self._control.recv(100)), returncode=None)


def serve(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork whenever a message comes; returns in a child, with what it is to be and the files that came along."""
    libc = ctypes.PyDLL(None)
    flags = CLONE_PARENT | signal.SIGCHLD
    while True:
        message, files = socket.recv_fds(control, 1 << 18, 64)[:2]
        if not message:
            os._exit(0)
        pid = libc.syscall(*map(ctypes.c_long, (CLONE, flags, 0, 0, 0, 0)))
        if pid == 0:
            control.close()
            return json.loads(message), files
        control.sendall(b"%d" % pid)
        for file in files:
            os.close(file)


def become(request: dict[str, Any], files: list[int]) -> None:
    """Be as a process is that has just been started."""
    numbers = request["files"]
    above = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, max(numbers) + 1) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(above, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.setsid()
    os.chdir(request["directory"])
    resource.setrlimit(resource.RLIMIT_NOFILE, request["open_files"])
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
    _show(request["environment"][MARKER])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]


def _show(mark: str) -> None:
    """Have the mark in ``/proc``, where the environment is seen with which a program was started."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    place = libc.getenv(MARKER.encode())
    ctypes.memmove(place, os.fsencode(mark).ljust(ROOM, b"\0"), ROOM)


def main() -> None:
    package = ModuleType("_supervisor")
    package.__path__ = [sys.argv[2].rpartition("/")[0]]
    sys.modules[package.__name__] = package
    loop = __import__("_supervisor.loop").loop
    gc.collect()
    gc.freeze()
    become(*serve(socket.socket(fileno=int(sys.argv[1]))))
    loop.supervise(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])


if __name__ == "__main__":
    main()
