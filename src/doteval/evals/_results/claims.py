"""Who runs an evaluation, so that no two runs do it at once.

A claim is a text in the store. It holds as long as the process lives that made it and the run goes on in it. So
whatever kills a run, the next one can go on with what it has left.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from secrets import token_hex

_going_on: set[str] = set()
"""Those of this process; one that is forked off has runs of its own."""


def new_claim() -> str:
    """A claim of this process, which holds until it is dropped."""
    claim = f"{socket.gethostname()} {os.getpid()} {_birth(os.getpid())} {token_hex(8)}"
    _going_on.add(claim)
    return claim


def drop(claim: str) -> None:
    """The run is over."""
    _going_on.discard(claim)


def process_of(claim: str) -> int | None:
    """The number of the process whose run goes on; `None` where it does not, or nobody here can know."""
    try:
        host, pid, birth, _ = claim.split(" ")
        number = int(pid)
    except ValueError:
        return None
    if number == os.getpid():
        return number if claim in _going_on else None
    if host != socket.gethostname() or sys.platform == "win32" or not _is_alive(number, birth):
        return None
    return number


def _is_alive(pid: int, birth: str) -> bool:
    if Path("/proc/self/stat").exists():
        return _birth(pid) == birth != "-"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _birth(pid: int) -> str:
    """When a process began, as the kernel counts, as numbers of processes come again; "-" where it does not run."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return "-"
    return "-" if state in b"ZX" else fields[18].decode()
