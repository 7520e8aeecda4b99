"""Servers that behave badly; the file is also what they run: ``bad_children.py KIND``. None of them needs to serve.

Each prints the process ids of all that it consists of, then ``up``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable


def say(*words: object) -> None:
    """Print a line in one piece, whoever else prints."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def wait() -> None:
    """Wait for a signal, over and over."""
    while True:
        signal.pause()


def child(then: Callable[[], object] = wait) -> None:
    """Start a process; return when it has said who it is."""
    reads, writes = os.pipe()
    if os.fork() == 0:
        say("pid", os.getpid())
        os.close(writes)
        then()
        os._exit(0)
    os.close(writes)
    os.read(reads, 1)


def good() -> None:
    """Ends when it is told to."""
    say("up")
    wait()


def starts_for_others() -> None:
    """Has started what belongs to another server: a process with another mark, which has a child of its own."""

    def other() -> None:
        os.setsid()
        os.environ["DOTEVAL_SERVER"] = os.environ["OTHER"]
        code = "import os, signal; os.fork(); os.write(1, f'other {os.getpid()}\\n'.encode()); signal.pause()"
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", code])

    reads, writes = os.pipe()
    os.set_inheritable(writes, False)
    if os.fork() == 0:
        other()
    os.close(writes)
    os.read(reads, 1)
    good()


def ignores_term() -> None:
    """Only KILL ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    good()


def counts_terms() -> None:
    """Says so when it is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: say("told to end"))
    good()


def ends_gracefully() -> None:
    """Has something to do before it ends, and a child that does the same."""

    def end(*_: object) -> None:
        say(os.getpid(), "told to end")
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    child()
    good()


def daemon() -> None:
    """Goes on in the background, and the process that was started ends."""
    child()
    say("up")


def detaches() -> None:
    """Has a process in a session of its own whose parent has ended, as daemons do."""

    def parent() -> None:
        os.setsid()
        child()

    child(parent)
    good()


def family() -> None:
    """Has children and grandchildren, in its group and in others; some ignore that they are told to end."""

    def deaf() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child()
        wait()

    def elsewhere() -> None:
        os.setsid()
        deaf()

    child()
    child(deaf)
    child(elsewhere)
    detaches()


def forks_when_told_to_end() -> None:
    """Leaves a new process behind for every signal."""

    def fork(*_: object) -> None:
        child(lambda: (os.setsid(), wait()))

    signal.signal(signal.SIGTERM, fork)
    good()


def floods() -> None:
    """Prints without end."""
    say("up")
    line = b"x" * 999 + b"\n"
    while True:
        os.write(1, line * 60)


def falls_silent() -> None:
    """Closes what it prints to."""
    say("up")
    os.close(1)
    os.close(2)
    wait()


def dies() -> None:
    """Prints sixty lines and an error, and ends with the exit code 3."""
    for number in range(60):
        say("line", number)
    os.write(2, b"the end")
    sys.exit(3)


def stands_still() -> None:
    """Is stopped, as by Ctrl-Z."""
    say("up")
    os.kill(os.getpid(), signal.SIGSTOP)
    wait()


def tells_secrets() -> None:
    """Prints its key, whole and in pieces."""
    key = os.environ["KEY"]
    say("key:", key)
    for letter in f"piece by piece: {key}\n":
        os.write(1, letter.encode())
    good()


def shows_itself() -> None:
    """Says where it is and what it has."""
    say("cwd", os.getcwd())  # noqa: PTH109 - a relative path is shown as it is
    say("mine", os.environ["MINE"])
    say("files", sorted(map(int, os.listdir("/proc/self/fd")))[:-1])  # noqa: PTH208 - the last is the directory
    say("leader", os.getpgrp() == os.getpid())
    good()


if __name__ == "__main__":
    say("pid", os.getpid())
    globals()[sys.argv[1]]()
