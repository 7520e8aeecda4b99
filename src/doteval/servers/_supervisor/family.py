"""``Family``: the server's process, its process group, and whatever descends from it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess

from .processes import CAN_DIE_WITH, adopt_orphans, descendants, die_with
from .protocol import MARKER


class Family:
    """The server's process and all that descend from it.

    On Linux the supervisor adopts orphans, so a process that forks twice or starts a session of its own still belongs
    to it. Elsewhere the process group is all there is.

    Args:
        argv: The command.
        environment: All of its environment.
        cwd: Where it runs.
        output: The file descriptor that it prints to.

    Raises:
        OSError: The command could not be started.
        ValueError: The same; there is a zero byte in it, say.
    """

    def __init__(self, argv: list[str], environment: dict[str, str], cwd: str, output: int) -> None:
        self.adopts = adopt_orphans()
        self.ended_by = ["kernel", "keeper"] if CAN_DIE_WITH else ["keeper"]
        """What ends it where the supervisor is killed, the strongest first."""
        self.code: int | None = None
        """The exit code of the server itself, negative for the number of a signal."""
        self.seen: set[int] = set()
        """The processes that have been of it, as far as they were looked at, or have ended."""
        self._is_childless = False
        self._directory = environment.get(MARKER, "")
        process = subprocess.Popen(
            argv,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
            preexec_fn=functools.partial(die_with, os.getpid()),  # noqa: PLW1509 - there is one thread
        )
        self.pid = process.pid
        process.returncode = 0  # it is waited for here, not there

    def reap(self) -> bool:
        """Take the exit codes of all that have ended; return whether the server itself has by now."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                self.seen.add(ended[0])
                if ended[0] == self.pid:
                    self.code = os.waitstatus_to_exitcode(ended[1])
        except ChildProcessError:
            self._is_childless = True
        return self.code is not None

    def is_gone(self) -> bool:
        """Whether nothing of it is left; what another server has left to us to adopt is none of it."""
        is_over = self.reap()
        if self.adopts:
            return self._is_childless or (is_over and not self.members())
        return self._is_childless and not _signal_group(self.pid, 0)

    def send(self, number: int) -> None:
        """Signal all of it, each process once; what is stopped is woken up to notice."""
        members = self.members()
        for each in (number, signal.SIGCONT):
            if not self.adopts or self.pid in members.values():
                _signal_group(self.pid, each)
            for pid, group in members.items():
                if group != self.pid:
                    with contextlib.suppress(OSError):
                        os.kill(pid, each)

    def members(self) -> dict[int, int]:
        """The processes that descend from the supervisor and their groups, where the system tells, but no zombies."""
        found = descendants(self._directory) if self.adopts else {}
        self.seen.update(found)
        return found

    def memory(self) -> int | None:
        """What all of it has in memory, in bytes; pages that processes share count for each."""
        if not self.adopts:
            return None
        pages = 0
        for pid in self.members():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as file:
                pages += int(file.read().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def _signal_group(group: int, number: int) -> bool:
    """Whether there was anybody to signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # macOS says so of a group of zombies; of ours there is nobody else
    return True
