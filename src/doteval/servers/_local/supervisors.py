"""Starts supervisors, and waits for the end of those that this process has started.

Starting is one short synchronous step, so a cancellation finds either nothing or a supervisor that has its job, which
is there before it starts: whoever stops this process in between holds nobody up. Where it dies, the supervisor ends by
itself. The lock of the runtime directory is passed on to the
supervisor, which ends it when it can be found.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from anyio import sleep

from .._supervisor.protocol import MARKER
from .._unshared import making, unshared
from .runtime import Runtime

_SUPERVISOR = Path(__file__).parent.parent / "_supervisor" / "__main__.py"

_LOOK_SECONDS = 0.005

_children: set[int] = set()
"""The supervisors that this process has started and not waited for."""


def start_supervisor(
    runtime: Runtime, server_id: str, job: Mapping[str, Any], slot_fds: Sequence[int]
) -> tuple[socket.socket, int] | None:
    """Start a supervisor; returns the starter's connection, which is a lease, and the process id.

    Args:
        runtime: Where it listens.
        server_id: The server's id.
        job: What it does; all but the addresses and the locks of the slots.
        slot_fds: The locks that it inherits.

    Returns:
        `None` where somebody else has started this server, or is starting any just now: look again.

    Raises:
        OSError: The supervisor could not be started.
        RuntimeError: This program has let go of all servers.
    """
    if runtime.is_abandoned:
        raise RuntimeError("this program was interrupted, and starts no servers any more")
    reap()
    path = str(runtime.socket_path(server_id))
    with runtime.locked() as lock:
        if lock is None or runtime.is_alive(server_id):
            return None
        runtime.bury_dead()
        with making():
            ours, theirs = socket.socketpair()
            unshared(ours, theirs)
        try:
            runtime.owns(ours)
            line = json.dumps({**job, "slot_fds": list(slot_fds)}).encode() + b"\n"
            ours.setblocking(False)
            sent = ours.send(line)
            process = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-I", "-S", str(_SUPERVISOR), str(theirs.fileno()), str(lock.descriptor), path],
                pass_fds=[theirs.fileno(), lock.descriptor, *slot_fds],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is not for it
                env={**os.environ, MARKER: str(runtime.directory(server_id) / "supervisor")},
            )
            process.returncode = 0  # it is waited for by `reap` and `wait_for`
            _children.add(process.pid)
            lock.is_passed_on = True
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
    ours.setblocking(True)
    with suppress(OSError):  # it is gone already: whoever reads finds out
        ours.sendall(line[sent:])  # of what does not fit into a socket; mostly nothing
    return ours, process.pid


def reap() -> None:
    """Take the exit codes of those that have ended, so that no zombie stays."""
    for pid in list(_children):
        _has_ended(pid)


async def wait_for(pid: int) -> None:
    """Wait for the end of a supervisor of ours that has closed its connections; another process's is left alone.

    It looks again and again: a wait in a thread could not be given up where the keeper around it is stopped.
    """
    while True:
        if _has_ended(pid):
            return
        await sleep(_LOOK_SECONDS)


def _has_ended(pid: int) -> bool:
    """Whether it has ended, or is none of ours; takes its exit code."""
    if pid not in _children:
        return True
    with suppress(ChildProcessError):  # another thread was faster
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            return False
    _children.discard(pid)
    return True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_children.clear)  # they are its parent's
