"""Several are killed at once, and whenever: nothing of the server is left after 5 seconds, and the next run is clean.

A *kill* hits one, two or three of those that have to do with a server, one right after the other, in any
order, at some moment from before its start to after its end. ``python -m tests.servers.kill_matrix`` (``nox -s
crashes``) makes a thousand, `test_kill_matrix.py` a hundred. What is random follows from the seed that is printed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tests.forks import Forks
from tests.servers.crash_matrix import PROGRAMS, PYTEST, SHORT_GRACE, Process, Stage, children, stage, workers
from tests.servers.leftovers import kill_all, leftovers, parent, processes

from doteval.servers._supervisor.protocol import MARKER

LEFT_SECONDS = 5.0
"""How long after the end of those that use a server anything of it may be left, in seconds."""
CHECKED = 5
"""After how many kills it is seen that a run to which nothing happens succeeds; each starts where the last one was."""
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
        for _ in range(2):
            async with await provider.setup("one") as handle:
                if os.fork() == 0:
                    while True:
                        signal.pause()
                for _ in range(4):
                    assert (await handle.model.generate("who are you?")).isdigit()
                    await anyio.sleep(0.02)


anyio.run(main, backend=sys.argv[1])
"""

OF_PROGRAMS = ("program", "forked child", "supervisor", "server", "grandchild")
OF_XDIST = ("controller", "worker", "supervisor", "server", "grandchild")
PROGRAMS |= {f"forking, {backend}": ("forking.py", backend) for backend in ("asyncio", "trio")}
PROGRAMS["pytest -n 1"] = (*PYTEST, "-p", "xdist", "-n", "1")


def groups(victims: Sequence[str]) -> list[tuple[str, ...]]:
    """Who may be killed together: each alone, in pairs, and in triples."""
    return [group for count in (1, 2, 3) for group in itertools.combinations(victims, count)]


def plan(chance: random.Random, number: int, with_xdist: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Programs, and who is killed: every group as often as any other.

    Args:
        chance: What is random.
        number: How many kills there are.
        with_xdist: How many of them hit a run of pytest-xdist, which takes seconds.
    """
    for victims, count in ((OF_PROGRAMS, number - with_xdist), (OF_XDIST, with_xdist)):
        every = groups(victims)
        for group in (chance.sample(every, len(every)) * (count // len(every) + 1))[:count]:
            program = "pytest -n 1" if victims is OF_XDIST else f"forking, {chance.choice(['asyncio', 'trio'])}"
            yield program, group


def kill(here: Stage, program: str, group: Sequence[str], *, checked: bool = True) -> str:
    """Kill some of those that there are at a random moment; returns what was seen.

    Raises:
        AssertionError: Something is left, or the next run does not succeed.
    """
    after_start = here.chance.random() < 0.75
    moment = here.chance.uniform(0, here.delay + 0.6 if after_start else 1.5 * here.lasts[program])
    order = here.chance.sample(group, len(group))
    with here.started(program) as process:
        while after_start and not any(here.runtime.glob("*.sock")) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moment)
        found = [pid for each in order for pid in victims_of(each, process, here)]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(PATIENCE)
        began = time.monotonic()
        left = leftovers(here.runtime, LEFT_SECONDS, tickets=False)
        seconds = time.monotonic() - began
    when = f"{moment:.2f} s after the {'server' if after_start else 'run'}"
    what = f"{' + '.join(order)} ({len(found)} there) of {program}, {when}"
    assert not left, f"{what}: {left}"
    if checked:
        here.check_run("asyncio")
    return f"{what}: nothing left after {seconds:.2f} s"


def victims_of(kind: str, process: Process, here: Stage) -> list[int]:
    """Those of a kind that are there now; one at most."""
    with suppress(OSError):
        if kind in ("program", "controller"):
            return [process.pid]
        if kind in ("forked child", "worker"):
            found = workers(process) if kind == "worker" else children(process.pid)
            return [pid for pid in found if mark(pid) is None][:1]
        marked = {pid: mark(pid) for pid in processes(here.runtime)}
        servers = [pid for pid, value in marked.items() if value and not value.endswith("/supervisor")]
        parents = {pid: parent(pid) for pid in marked}
        if kind == "supervisor":
            return [pid for pid, above in parents.items() if above in marked and pid not in servers][:1]
        is_kept = {"server": True, "grandchild": False}[kind]
        return [pid for pid in servers if (parents[pid] not in servers) is is_kept][:1]
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


def main() -> None:
    """Many kills, and what they show."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kills", type=int, default=1000)
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.kills} kills", flush=True)
    failures = 0
    with stage(options.seed) as here, Forks() as forks:
        prepare(here, forks)
        for number, (program, group) in enumerate(plan(here.chance, options.kills, options.kills // 4), 1):
            here.delay = here.chance.uniform(0, 0.4)
            try:
                print(f"{number:4} {kill(here, program, group, checked=number % CHECKED == 0)}", flush=True)
            except Exception as exc:
                failures += 1
                print(f"{number:4} FAILED {type(exc).__name__}: {exc}", flush=True)
                kill_all(here.runtime)
    print(f"seed {options.seed}: {failures} of {options.kills} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
