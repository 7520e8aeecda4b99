"""Several are killed at once, and whenever: nothing of the server is left after 5 seconds, and the next run is clean.

A *kill* hits one, two or three of those that have to do with a server, one right after the other, in any order, at some
moment from before its start to after its end. ``python -m tests.servers.kill_matrix`` (``nox -s crashes``) makes a
thousand, `test_kill_matrix.py` some. What is random follows from the seed that is printed.

Two things are promised for less: where keeper and supervisor are killed together, nobody is left who could look after
the rest; and with the first program of a pid namespace all that was in it ends, in a second, but nobody is left who
could remove files. Then the next run does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.forks import Forks
from tests.servers.crash_matrix import (
    CONTAINER,
    IN_CONTAINERS,
    PROGRAMS,
    PYTEST,
    SHORT_GRACE,
    Process,
    Stage,
    children,
    stage,
    workers,
)
from tests.servers.leftovers import files_left, kill_all, left_after, locks_left, parent, processes

from doteval.servers._supervisor.protocol import MARKER

LEFT_SECONDS = 5.0
"""How long after the end of those that use a server anything of it may be left, in seconds."""
CONTAINED_SECONDS = 1.0
"""The same for processes and locks where their namespace has ended."""
PATIENCE = 60.0
"""How long a program may go on that has lost its server, in seconds; only ever waited for where it hangs."""

FORKING = """
import os
import signal
import sys

import anyio
from familypkg import family


async def main():
    async with family() as provider:
        for spec in sys.argv[2:]:
            async with await provider.setup(spec) as handle:
                if os.fork() == 0:
                    while True:
                        signal.pause()
                for _ in range(4):
                    assert (await handle.model.generate("who are you?")).isdigit()
                    await anyio.sleep(0.02)


anyio.run(main, backend=sys.argv[1])
"""

SERVERS = ("keeper", "supervisor", "server", "grandchild")
OF_PROGRAMS = ("program", "forked child", *SERVERS)
OF_XDIST = ("controller", "worker", *SERVERS)
OF_CONTAINERS = ("container", *OF_PROGRAMS)
BACKENDS = ("asyncio", "trio")
MOMENTS = ("run", "socket", "ready", "ending", "exited", "over")
"""After what it happens: the start of the run, of the first server's supervisor, or what that one tells everybody."""
SPANS = {"run": 1.5, "socket": 0.6, "ready": 0.4, "ending": 0.6, "exited": 0.6, "over": 0.6}
"""For how long after that it may be, in seconds; for the run, as a part of what it takes."""

for backend in BACKENDS:
    PROGRAMS[f"forking, {backend}"] = ("forking.py", backend, "one", "one")
    PROGRAMS[f"sleeping, {backend}"] = ("forking.py", backend, "one", "two", "one")
    PROGRAMS[f"contained, {backend}"] = ("forking.py", backend, "one", "one")
    IN_CONTAINERS.add(f"contained, {backend}")
PROGRAMS["pytest -n 1"] = (*PYTEST, "-p", "xdist", "-n", "1")


@dataclass(frozen=True, slots=True)
class Kill:
    """Who is killed when.

    Args:
        program: Which of `PROGRAMS` runs.
        group: Who is killed, in this order.
        moment: One of `MOMENTS`.
        keep_alive: How long the server stays when nobody uses it any more, in seconds.
    """

    program: str
    group: tuple[str, ...]
    moment: str
    keep_alive: float

    @property
    def promise(self) -> str:
        """What is left for the next run to remove: ``"files"``, ``"anything"``, or nothing."""
        is_contained = self.program in IN_CONTAINERS
        if is_contained and (self.keep_alive or not {"container", "program"}.isdisjoint(self.group)):
            return "files"
        return "anything" if {"keeper", "supervisor"} <= {*self.group} else ""


def groups(victims: Sequence[str]) -> list[tuple[str, ...]]:
    """Who may be killed together: each alone, in pairs, and in triples."""
    return [group for count in (1, 2, 3) for group in itertools.combinations(victims, count)]


def plan(chance: random.Random, number: int, *, with_xdist: int, contained: int) -> Iterator[Kill]:
    """Kills, each group as often as any other.

    Args:
        chance: What is random.
        number: How many kills there are.
        with_xdist: How many of them hit a run of pytest-xdist, which takes seconds.
        contained: How many of them hit a program in a pid namespace, which is started without help.
    """
    counts = {OF_PROGRAMS: number - with_xdist - contained, OF_XDIST: with_xdist, OF_CONTAINERS: contained}
    for victims, count in counts.items():
        every = groups(victims)
        for group in (chance.sample(every, len(every)) * (count // len(every) + 1))[:count]:
            backend = chance.choice(BACKENDS)
            names = {OF_XDIST: "pytest -n 1", OF_CONTAINERS: f"contained, {backend}"}
            program = names.get(victims) or f"{chance.choice(['forking', 'forking', 'sleeping'])}, {backend}"
            order = tuple(chance.sample(group, len(group)))
            yield Kill(program, order, chance.choice(MOMENTS), chance.choice([0.0, 0.0, 0.3]))


def kill(here: Stage, this: Kill, *, checked: bool = True) -> str:
    """Kill some of those that there are at a random moment; returns what was seen.

    Args:
        here: Where.
        this: Who, and when.
        checked: Whether to see that a run to which nothing happens succeeds afterwards; each starts where the last was.

    Raises:
        AssertionError: Something is left, or the next run does not succeed.
    """
    wait = here.chance.uniform(0, SPANS[this.moment]) * (here.lasts[this.program] if this.moment == "run" else 1)
    environment = {"KEEP_ALIVE": str(this.keep_alive)}
    if this.program.startswith("sleeping"):
        environment["SLEEPS"] = str(here.directory)
    with here.started(this.program, **environment) as process:
        is_there = await_moment(this.moment, here, process)
        time.sleep(wait)
        found = [pid for each in this.group for pid in victims_of(each, process, here, this.program)]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(PATIENCE)
        began = time.monotonic()
        left: list[str] = []
        if this.promise != "anything":
            seconds = CONTAINED_SECONDS if this.promise else LEFT_SECONDS
            left = left_after(seconds, here.runtime, lambda: others_left(here, files=not this.promise))
        seconds = time.monotonic() - began
    when = f"{wait:.2f} s after {this.moment}{'' if is_there else ' (which there was not)'}"
    what = f"{' + '.join(this.group)} ({len(found)} there) of {this.program}, {when}"
    assert not left, f"{what}: {left}"
    if checked or this.promise:
        here.check_run("asyncio")
    return f"{what}: nothing left{f' but {this.promise}' if this.promise else ''} after {seconds:.2f} s"


def others_left(here: Stage, *, files: bool) -> list[str]:
    """What is left that is no process: locks, temporary files, and the servers' files, where that counts."""
    temporary = [path.name for path in here.temporary.iterdir() if not path.name.startswith("pytest-of-")]
    left = [*locks_left(here.runtime, tickets=False), *(f"temporary file {name}" for name in temporary)]
    return [*left, *files_left(here.runtime)] if files else left


def await_moment(moment: str, here: Stage, process: Process) -> bool:
    """Wait for it, or for the end of the run; whether it came."""
    if moment == "run":
        return True
    while process.poll() is None:
        for path in here.runtime.glob("*.sock"):
            if moment == "socket":
                return True
            with socket.socket(socket.AF_UNIX) as witness, suppress(OSError):
                witness.settimeout(PATIENCE)
                witness.connect(str(path))
                with witness.makefile() as lines:
                    return any(json.loads(line)["event"] == moment for line in lines) or moment == "over"
        time.sleep(0.002)
    return False


def victims_of(kind: str, process: Process, here: Stage, program: str) -> list[int]:
    """Those of a kind that are there now; one at most."""
    with suppress(OSError):
        above = children(process.pid) if program in IN_CONTAINERS else [process.pid]
        if kind == "container":
            return [process.pid]
        if kind in ("program", "controller"):
            return above
        if kind in ("forked child", "worker"):
            found = workers(process) if kind == "worker" else children(above[0]) if above else []
            return [pid for pid in found if mark(pid) is None][:1]
        marked = {pid: mark(pid) for pid in processes(here.runtime)}
        around = [pid for pid, value in marked.items() if value and value.endswith("/supervisor")]
        parents = {pid: parent(pid) for pid in marked}
        is_kind = {
            "keeper": lambda pid: pid in around and parents[pid] not in around,
            "supervisor": lambda pid: parents[pid] in around and pid in around,
            "server": lambda pid: parents[pid] in around and pid not in around,
            "grandchild": lambda pid: parents[pid] not in around and pid not in around,
        }
        return [pid for pid in marked if is_kind[kind](pid)][:1]
    return []


def mark(pid: int) -> str | None:
    """Which server a process belongs to, or looks after."""
    for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if variable.startswith(f"{MARKER}=".encode()):
            return variable.partition(b"=")[2].decode()
    return None


def prepare(here: Stage, forks: Forks) -> None:
    """Add what this needs to a stage."""
    here.forks = forks
    here.delay = 0.1
    here.grace = SHORT_GRACE
    here.lasts = dict.fromkeys(PROGRAMS, 1.0) | {"pytest -n 1": 3.0}
    (here.directory / "forking.py").write_text(FORKING)


def can_contain() -> bool:
    """Whether this user may make a pid namespace."""
    with suppress(OSError):
        return subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode == 0
    return False


def main() -> None:
    """Many kills, and what they show."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kills", type=int, default=1000)
    options = parser.parse_args()
    contained = options.kills // 10 * can_contain()
    print(f"seed {options.seed}: {options.kills} kills, {contained} of them in a namespace", flush=True)
    failures, seen = 0, Counter[str]()
    with stage(options.seed) as here, Forks() as forks:
        prepare(here, forks)
        kills = list(plan(here.chance, options.kills, with_xdist=options.kills // 5, contained=contained))
        for number, this in enumerate(here.chance.sample(kills, len(kills)), 1):
            here.delay = here.chance.uniform(0, 0.4)
            seen.update({this.moment: 1, f"{len(this.group)} killed": 1})
            try:
                print(f"{number:4} {kill(here, this)}", flush=True)
            except Exception as exc:
                failures += 1
                print(f"{number:4} FAILED {type(exc).__name__}: {exc}", flush=True)
                kill_all(here.runtime)
    print(", ".join(f"{name}: {count}" for name, count in sorted(seen.items())))
    print(f"seed {options.seed}: {failures} of {options.kills} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
