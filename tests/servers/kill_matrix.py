"""Several are killed at once, and whenever: nothing of a server is left after 5 seconds, and the next run is clean.

A *kill* hits one, two or three of those that have to do with a server, one right after the other, in any order, at some
moment from before its start to after its end. A *round* is a program that uses several servers, and a kill for each of
them. ``python -m tests.servers.kill_matrix`` (``nox -s crashes``) makes a thousand, `test_kill_matrix.py` forty.
What is random follows from the seed that is printed.

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
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.forks import Forks
from tests.servers.crash_matrix import PROGRAMS, PYTEST, SHORT_GRACE, Process, Stage, children, stage, workers
from tests.servers.kill_programs import CONTAINED, SEVERAL, SPECS, TESTS
from tests.servers.leftovers import await_end, files_left, kill_all, left_after, locks_left, parent, processes

from doteval.servers._supervisor.protocol import MARKER

LEFT_SECONDS = 5.0
"""How long after the end of those that use a server anything of it may be left, in seconds."""
CONTAINED_SECONDS = 1.0
"""The same for processes and locks where their namespace has ended."""
PATIENCE = 60.0
"""How long a program may go on that has lost its server, in seconds; only ever waited for where it hangs."""
LOOK_SECONDS = 0.004

SERVERS = ("keeper", "supervisor", "server", "grandchild")
KINDS = {(True, False): "keeper", (True, True): "supervisor", (False, True): "server", (False, False): "grandchild"}
"""Who it is that looks after a server, or not, and whose parent does, or not."""
OF_PROGRAMS = ("program", "forked child", *SERVERS)
OF_XDIST = ("controller", "worker", *SERVERS)
OF_CONTAINERS = ("container", *OF_PROGRAMS)
BACKENDS = ("asyncio", "trio")
MOMENTS = ("run", "socket", "ready", "ending", "exited", "over")
"""After what it happens: the start of the run, of one server's supervisor, or what that one tells everybody."""
SPANS = {"run": 1.5, "socket": 0.6, "ready": 0.4, "ending": 0.6, "exited": 0.6, "over": 0.6}
"""For how long after that it may be, in seconds; for the run, as a part of what it takes."""

USUAL = ("several", "sleeping", *["light"] * 4)
"""The programs that are no runs of pytest; most are cheap to look at."""
XDIST, CHECK = "pytest -n 1", "to which nothing happens"
for backend in BACKENDS:
    for name in ("several", "light", "sleeping"):
        PROGRAMS[f"{name}, {backend}"] = ("several.py", backend, *SPECS)
    PROGRAMS[f"contained, {backend}"] = ("contained.py", "several.py", backend, *SPECS)
PROGRAMS[CHECK] = ("several.py", "asyncio", "one")
PROGRAMS[XDIST] = (*PYTEST, "-p", "xdist", "-n", "1", "test_several.py")

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """Who is killed when.

    Args:
        program: Which of `PROGRAMS` runs.
        groups: Who is killed of each of its servers, in this order; those that use them are the same in all.
        moment: One of `MOMENTS`.
        keep_alive: How long a server stays when nobody uses it any more, in seconds.
    """

    program: str
    groups: tuple[Group, ...]
    moment: str
    keep_alive: float

    @property
    def is_contained(self) -> bool:
        """Whether the program is in a pid namespace of its own."""
        return self.program.startswith("contained")

    @property
    def promise(self) -> str:
        """What is left for the next run to remove: ``"files"``, ``"anything"``, or nothing."""
        group = {*self.groups[0]}
        if self.is_contained and (self.keep_alive or not {"container", "program"}.isdisjoint(group)):
            return "files"
        return "anything" if {"keeper", "supervisor"} <= group else ""


def groups_of(victims: Sequence[str]) -> list[list[Group]]:
    """Who may be killed together, each alone, in pairs, and in triples; those together that can be in one round.

    In a round all groups have the same users in them, and keeper and supervisor together or not.
    """
    kinds: dict[object, list[Group]] = {}
    for group in (each for count in (1, 2, 3) for each in itertools.combinations(victims, count)):
        users = frozenset(group) - {*SERVERS}
        kinds.setdefault((users, {"keeper", "supervisor"} <= {*group}), []).append(group)
    return list(kinds.values())


def deck(chance: random.Random, victims: Sequence[str], size: int) -> Iterator[tuple[Group, ...]]:
    """The groups of each round, for ever; each group is in one before any kind of round comes again.

    Args:
        chance: What is random.
        victims: Who may be killed.
        size: How many servers there are in a round.
    """
    while True:
        rounds: list[tuple[Group, ...]] = []
        for groups in groups_of(victims):
            cards = chance.sample(groups, len(groups))
            cards += chance.choices(groups, k=-len(cards) % size)
            rounds += [tuple(cards[start : start + size]) for start in range(0, len(cards), size)]
        chance.shuffle(rounds)
        for cards_of_one in rounds:
            yield tuple(tuple(chance.sample(group, len(group))) for group in cards_of_one)


def plan(chance: random.Random, kills: int, *, with_xdist: int, contained: int) -> list[Round]:
    """Rounds in which there are so many kills.

    Args:
        chance: What is random.
        kills: How many there are; what is no whole number of rounds is one more round.
        with_xdist: How many of them hit a run of pytest-xdist, which takes seconds.
        contained: How many of them hit a program in a pid namespace.
    """
    size = len(SPECS)
    counts = {OF_PROGRAMS: kills - with_xdist - contained, OF_XDIST: with_xdist, OF_CONTAINERS: contained}
    rounds = []
    for victims, count in counts.items():
        for groups in itertools.islice(deck(chance, victims, size), max(0, -(-count // size))):
            backend = chance.choice(BACKENDS)
            names = {OF_XDIST: XDIST, OF_CONTAINERS: f"contained, {backend}"}
            program = names.get(victims) or f"{chance.choice(USUAL)}, {backend}"
            rounds.append(Round(program, groups, chance.choice(MOMENTS), chance.choice([0.0, 0.0, 0.3])))
    return chance.sample(rounds, len(rounds))


def play(here: Stage, this: Round, *, checked: bool = True) -> str:
    """Kill some of those that there are at a random moment; returns what was seen.

    Args:
        here: Where.
        this: Who, and when.
        checked: Whether to see that a run to which nothing happens succeeds afterwards; each starts where the last was.

    Raises:
        AssertionError: Something is left, a program fails that was not hit, or the next run does not succeed.
    """
    wait = here.chance.uniform(0, SPANS[this.moment]) * (here.lasts[this.program] if this.moment == "run" else 1)
    environment = {"KEEP_ALIVE": str(this.keep_alive), "CAPACITY": str(len(SPECS))}
    environment["STAGGER"] = str(here.chance.choice([0.0, 0.02, 0.1]))
    if this.program.startswith("sleeping"):
        environment |= {"SLEEPS": str(here.directory), "CAPACITY": str(len(SPECS) // 2)}
    if this.program.startswith(("light", "contained")):
        environment["LIGHT"] = "yes"
    users = {*this.groups[0]} - {*SERVERS}
    with here.started(this.program, **environment) as process:
        is_there = await_moment(this.moment, here, process)
        time.sleep(wait)
        found, served = victims(this, process, here)
        found = here.chance.sample(found, len(found))
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = process.wait(PATIENCE)
        began = time.monotonic()
        left = [f"server {pid}" for pid in served if not await_end(pid, LEFT_SECONDS)]
        if this.promise != "anything":
            seconds = CONTAINED_SECONDS if this.promise else LEFT_SECONDS
            left += left_after(seconds, here.runtime, lambda: others_left(here, files=not this.promise))
        seconds = time.monotonic() - began
    when = f"{wait:.2f} s after {this.moment}{'' if is_there else ' (which there was not)'}"
    who = ", ".join(" + ".join(group) for group in this.groups)
    what = f"{who} ({len(found)} there) of {this.program}, {when}"
    assert not left, f"{what}: {left}"
    if users <= {"forked child"} and this.program != XDIST:
        assert code == 0, f"{what}: {code}: {(here.directory / 'output').read_text()}"
    if checked or this.promise:
        here.check_run(CHECK, LIGHT="yes", STAGGER="0")
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
        time.sleep(LOOK_SECONDS)
    return False


def victims(this: Round, process: Process, here: Stage) -> tuple[list[int], list[int]]:
    """Those that are there now: one at most of each kind for each server, and of those that use them.

    Returns:
        Who is killed, and the servers whose keeper and supervisor are: those end all the same, by the kernel's hand.
    """
    found: set[int] = set()
    with suppress(OSError):
        above = children(process.pid)[:1] if this.is_contained else [process.pid]
        users = {
            "container": lambda: [process.pid],
            "program": lambda: above,
            "controller": lambda: above,
            "worker": lambda: workers(process),
            "forked child": lambda: children(above[0]) if above else [],
        }
        for kind in {*this.groups[0]} & users.keys():
            found.update([pid for pid in users[kind]() if mark(pid) is None][:1])
    served: list[int] = []
    families: dict[str, list[int]] = {}
    parents: dict[int, int] = {}
    around: set[int] = set()
    for pid in processes(here.runtime):
        with suppress(OSError):
            name = mark(pid) or ""
            parents[pid] = parent(pid)
            families.setdefault(name.removesuffix("/supervisor"), []).append(pid)
            if name.endswith("/supervisor"):
                around.add(pid)
    for group, name in zip(this.groups, sorted(families), strict=False):
        kinds: dict[str, list[int]] = {kind: [] for kind in SERVERS}
        for pid in families[name]:
            kinds[KINDS[pid in around, parents[pid] in around]].append(pid)
        for kind in {*group} & {*SERVERS}:
            found.update(kinds[kind][:1])
        if {*kinds["keeper"][:1], *kinds["supervisor"][:1]} <= found:
            served += [pid for pid in kinds["server"] if is_first(pid)]
    return sorted(found), served


def is_first(pid: int) -> bool:
    """Whether a process is what a supervisor has started, and not what it has adopted."""
    with suppress(OSError):
        return os.getpgid(pid) == pid != os.getsid(pid)
    return False


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
    here.lasts = dict.fromkeys(PROGRAMS, 1.0) | {XDIST: 3.0}
    for name, text in {"several.py": SEVERAL, "contained.py": CONTAINED, "test_several.py": TESTS}.items():
        (here.directory / name).write_text(text)


def can_contain(forks: Forks, here: Stage) -> bool:
    """Whether this user may make a pid namespace."""
    return forks.run("contained.py", cwd=here.directory).returncode == 0


def main() -> None:
    """Many kills, and what they show."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kills", type=int, default=1000)
    options = parser.parse_args()
    failures, seen = 0, Counter[str]()
    with stage(options.seed) as here, Forks() as forks:
        prepare(here, forks)
        contained = options.kills // 10 * can_contain(forks, here)
        print(f"seed {options.seed}: {options.kills} kills, {contained} of them in a namespace", flush=True)
        rounds = plan(here.chance, options.kills, with_xdist=options.kills // 10, contained=contained)
        for number, this in enumerate(rounds, 1):
            here.delay = here.chance.uniform(0, 0.4)
            seen.update([this.moment, *(f"{len(group)} killed" for group in this.groups)])
            try:
                print(f"{number:4} {play(here, this)}", flush=True)
            except Exception as exc:
                failures += 1
                print(f"{number:4} FAILED {type(exc).__name__}: {exc}", flush=True)
                kill_all(here.runtime)
    print(", ".join(f"{name}: {count}" for name, count in sorted(seen.items())))
    print(f"seed {options.seed}: {failures} of {len(rounds)} rounds failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
