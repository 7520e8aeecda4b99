"""``Cause``: what is known to keep a server from starting, or to end it; what it prints then, and what to do.

What is here can happen to any server; each provider brings the causes of its own (`ServerCommand.causes`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """A known cause of a failure.

    Args:
        name: Its short name, as it stands in front of what happened.
        advice: What to do, in a sentence or two; as in `re.Match.expand`, with the groups of the pattern.
        pattern: What the server prints then, in one line. It is looked for in megabytes: let every alternative begin
            with a letter, and give each repetition an end.
        any_time: Whether it can also end a server that was ready; the log of one has all sorts of lines.
        vague: Whether a server may print that and go on: then it counts only where no other cause is found.
    """

    name: str
    advice: str
    pattern: re.Pattern[str] | None = None
    any_time: bool = False
    vague: bool = False


PORT_TAKEN = "port taken"

COMMON = (
    Cause(
        PORT_TAKEN,
        "Another process took the port just before the server did. Try again; where a fixed port is in the command, "
        "write {port} in its place and doteval chooses a free one.",
        re.compile(
            r"[Aa]ddress already in use|\[Errno (?:98|48)\]|EADDRINUSE|couldn't bind (?:HTTP )?(?:server )?socket"
            r"|port \d{1,5} is (?:already )?in use"
        ),
    ),
    Cause(
        "unknown option",
        r"The installed version of the server does not know \g<option>: correct extra_args= or the keyword argument "
        "that stands for it, or install a version that knows it; the command with --help lists all.",
        re.compile(
            r"(?:unrecognized arguments?|[Nn]o such option|(?:unknown|invalid|unexpected) (?:argument|option)):?"
            r" ['\"`]?(?P<option>--?[A-Za-z][\w-]{0,60})"
        ),
    ),
    Cause(
        "wrong value of an option",
        r"The installed version of the server does not take this value of \g<option>: correct the keyword argument or "
        "extra_args=; the command with --help says what it takes.",
        re.compile(
            r"(?:error: argument |Invalid value for '|error while handling argument \")"
            r"(?P<option>--?[A-Za-z][\w-]{0,60})"
        ),
    ),
    Cause(
        "disk full",
        "The disk is full: make room, or set HF_HOME to a directory on a larger one.",
        re.compile(r"No space left on device|Disk quota exceeded"),
        any_time=True,
    ),
    Cause(
        "out of memory",
        "The machine's memory is not enough. Take a smaller or quantised model or a shorter context, or end other "
        "processes; in a container, raise its limits (also of /dev/shm).",
        re.compile(
            r"Cannot allocate memory|can't allocate memory|[Nn]ot enough memory|MemoryError(?!\w)|std::bad_alloc"
            r"|(?:unable|failed) to allocate (?:(?:CPU|backend|compute) )?buffer|Insufficient (?:space|memory)"
        ),
        any_time=True,
    ),
    Cause(
        "module missing",
        r"The Python module '\g<module>' is missing where the server runs: install it for the Python that the command "
        "uses.",
        re.compile(r"No module named '?(?P<module>[A-Za-z_]\w{0,60})"),
        vague=True,
    ),
    Cause(
        "broken installation",
        "The packages where the server runs do not fit together: install it anew, in an environment of its own.",
        re.compile(r"ImportError: |undefined symbol: |cannot open shared object file|version `\S{1,80}' not found"),
        vague=True,
    ),
    Cause(
        "no permission",
        "The server may not read or write something that it needs; its last lines say what.",
        re.compile(r"Permission denied|PermissionError(?!\w)"),
        vague=True,
    ),
)
"""The first that fits is taken, so what is special comes before what is general."""


def ranked(causes: Iterable[Cause]) -> tuple[Cause, ...]:
    """A server's own causes and those of all servers, the one first that is taken where several fit."""
    return tuple(sorted((*causes, *COMMON), key=lambda cause: cause.vague))


_CRASH = Cause(
    "crash",
    "That is a crash in native code: install versions that fit together (server, torch, driver), and look for the "
    "first error in the log.",
)
CAUSE_OF_SIGNAL = {
    "SIGKILL": Cause(
        "killed",
        "doteval did not do that: most likely the kernel did, because memory ran out ('dmesg' tells). Take a smaller "
        "model or a shorter context, or run fewer servers at once.",
    ),
    "SIGILL": Cause(
        "wrong processor",
        "The server is compiled for another processor than this one: install or compile it for this machine.",
    ),
    "SIGSEGV": _CRASH,
    "SIGABRT": _CRASH,
    "SIGBUS": _CRASH,
    "SIGFPE": _CRASH,
}
