"""Whatever dies, and whenever: nothing of its server is left, and the next run starts clean.

A *crash* is a program that uses a server (`family_server.py`), and what happens to it at some moment from before its
start-up to its shutdown. ``python -m tests.servers.crash_matrix`` (``nox -s crashes``) tries many at random moments;
`test_crashes.py` a few. What is random follows from the seed that is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.distributions import install
from tests.forks import Fork, Forks
from tests.servers.leftovers import kill_all, leftovers, processes

LEFT_SECONDS = 15.0
"""How long after the crash anything may be left, in seconds."""
SERVER_SHARE = 0.75
"""In how many cases the moment is counted from the start of the server, so that there is something to be left."""
SHORT_GRACE = 0.5
"""How long a server may take to end in a run to which nothing happens, in seconds."""
RUN_SECONDS = 120.0
"""How long a run may take, in seconds; only ever waited for where it hangs."""

PROVIDER = f"""
import os
import sys

from doteval import ServerProvider
from doteval.servers import HTTPSleep, LogLine

SERVER = {str(Path(__file__).with_name("family_server.py"))!r}
LIGHT = {str(Path(__file__).with_name("family_server.sh"))!r}


def family(*, launcher=None, restarts=0, server_keep_alive=0.0):
    command = [sys.executable, "-I", "-S", SERVER, "{{port}}", "model={{spec}}", "loading=" + os.environ["DELAY"]]
    settings = {{"capacity": int(os.environ.get("CAPACITY", "1"))}}
    if "LIGHT" in os.environ:
        command = ["sh", LIGHT, "{{port}}", os.environ["DELAY"]]
        settings["ready"] = LogLine("ready")
        settings["environment"] = {{"MODEL": "{{spec}}"}}
    if "SLEEPS" in os.environ:
        command.append("sleeps=" + os.environ["SLEEPS"])
        settings |= {{"sleep": HTTPSleep(state_path="/is_sleeping"), "max_sleeping": 2}}
    return ServerProvider(
        command,
        launcher=launcher,
        restarts=restarts,
        server_keep_alive=float(os.environ.get("KEEP_ALIVE", server_keep_alive)),
        stop_grace=float(os.environ["GRACE"]),
        **settings,
    )
"""

PROGRAM = """
import sys

import anyio
from familypkg import family


async def main():
    async with family() as provider:
        for _ in range(2):
            async with await provider.setup("one") as handle:
                for _ in range(10):
                    assert (await handle.model.generate("who are you?")).isdigit()
                    await anyio.sleep(0.02)


anyio.run(main, backend=sys.argv[1])
"""

TESTS = """
import os

import anyio
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("family_client", ["one"], indirect=True)]
KIND, _, AT = os.environ.get("CRASH", "").partition(" ")


def is_time(kind, number):
    return KIND == kind and number == int(AT)


@pytest.fixture
async def fixture(family_client, number):
    if is_time("set-up", number):
        raise RuntimeError("the set-up of a fixture fails")
    yield family_client
    if is_time("teardown", number):
        raise RuntimeError("the teardown of a fixture fails")


@pytest.mark.parametrize("number", range(8))
async def test_answers(fixture, number):
    assert (await fixture.generate("who are you?")).isdigit()
    await anyio.sleep(0.02)
    if is_time("exit", number):
        os._exit(7)
    assert not is_time("fail", number)
"""

PYTEST = ("-m", "pytest", "-q", "-p", "anyio", "-p", "doteval", "-p", "no:cacheprovider")
PROGRAMS = {
    "asyncio": ("program.py", "asyncio"),
    "trio": ("program.py", "trio"),
    "pytest": PYTEST,
    "pytest -n 2": (*PYTEST, "-p", "xdist", "-n", "2"),
    "pytest -x": (*PYTEST, "-x"),
}

Process = subprocess.Popen[bytes] | Fork


def kill(process: Process) -> None:
    process.kill()


def kill_worker(process: Process) -> None:
    """Kill a worker that the run has started; where there is none yet, wait for it."""
    while process.poll() is None:
        if found := workers(process):
            os.kill(random.choice(found), signal.SIGKILL)
            return
        _wait(process, 0.01)


def workers(process: Process) -> list[int]:
    """The workers of a run of pytest-xdist: its children, or those of the fork server that is its only child."""
    found = children(process.pid)
    return found if isinstance(process, subprocess.Popen) else [pid for server in found for pid in children(server)]


def children(pid: int) -> list[int]:
    """The children of all threads of a process; none where it has ended."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def interrupt_twice(process: Process) -> None:
    process.send_signal(signal.SIGINT)
    _wait(process, random.uniform(0, 0.3))
    process.send_signal(signal.SIGINT)


def terminate(process: Process) -> None:
    process.send_signal(signal.SIGTERM)


def hang_up(process: Process) -> None:
    process.send_signal(signal.SIGHUP)


def nothing(process: Process) -> None:
    """The program does it itself."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What happens to which program.

    Args:
        name: What to call it.
        program: Which of `PROGRAMS`.
        strike: Does it, from outside.
        inside: What a test does itself.
        may_hang: Whether the program may be there afterwards; the server may not. (anyio's runner for trio waits for
            ever when it is interrupted twice, also without doteval.)
    """

    name: str
    program: str
    strike: Callable[[Process], None] = nothing
    inside: str = ""
    may_hang: bool = False


KILLS = [
    Kind("kill -9 of an asyncio program", "asyncio", kill),
    Kind("kill -9 of a trio program", "trio", kill),
    Kind("kill -9 of pytest", "pytest", kill),
    Kind("kill -9 of a worker of pytest-xdist", "pytest -n 2", kill_worker),
    Kind("kill -9 of pytest with workers", "pytest -n 2", kill),
]
OTHERS = [
    Kind("SIGINT twice, asyncio", "asyncio", interrupt_twice),
    Kind("SIGINT twice, trio", "trio", interrupt_twice),
    Kind("SIGINT twice, pytest", "pytest", interrupt_twice, may_hang=True),
    Kind("SIGTERM, asyncio", "asyncio", terminate),
    Kind("SIGTERM, trio", "trio", terminate),
    Kind("SIGTERM, pytest", "pytest", terminate),
    Kind("SIGHUP, asyncio", "asyncio", hang_up),
    Kind("SIGHUP, pytest", "pytest", hang_up),
    Kind("exception in the set-up of a fixture", "pytest", inside="set-up"),
    Kind("exception in the teardown of a fixture", "pytest", inside="teardown"),
    Kind("pytest -x", "pytest -x", inside="fail"),
    Kind("os._exit in a test", "pytest", inside="exit"),
]


@dataclass
class Stage:
    """Where the programs are, and the runtime directory that they share.

    Args:
        directory: The programs.
        runtime: The runtime directory.
        chance: What is random.
        delay: How long the server takes to start, in seconds.
        grace: How long it may take to end, in seconds; a part of it does not end before.
        lasts: How long each program takes if nothing happens to it, in seconds, as far as it is known.
        forks: What starts them, without waiting for their imports; `None`: Python, as usual.
    """

    directory: Path
    runtime: Path
    chance: random.Random
    delay: float = 0.3
    grace: float = 2.0
    lasts: dict[str, float] = field(default_factory=dict)
    forks: Forks | None = None

    def __post_init__(self) -> None:
        providers = {"doteval.model_providers": {"family": "familypkg:family"}}
        install(self.directory, "familypkg", entry_points=providers, familypkg=PROVIDER)
        (self.directory / "program.py").write_text(PROGRAM)
        (self.directory / "test_family.py").write_text(TESTS)
        self.temporary.mkdir()

    @property
    def temporary(self) -> Path:
        """Where the programs have their temporary files."""
        return self.directory / "temporary"

    def crash(self, kind: Kind) -> str:
        """Let it happen at a random moment; returns what was seen.

        Raises:
            AssertionError: Something was left, or the next run did not succeed.
        """
        if kind.program not in self.lasts:
            began = time.monotonic()
            self.check_run(kind.program)
            self.lasts[kind.program] = time.monotonic() - began
        inside = f"{kind.inside} {self.chance.randrange(8)}" if kind.inside else ""
        after_start = self.chance.random() < SERVER_SHARE  # else after the program was started
        moment = self.chance.uniform(0, self.delay + 1.5 if after_start else self.lasts[kind.program])
        random.seed(self.chance.random())  # for what the strike itself leaves to chance
        with self.started(kind.program, CRASH=inside) as process:
            while after_start and not any(self.runtime.glob("*.sock")) and not _wait(process, 0.01):
                pass  # the server's start-up has not begun
            _wait(process, RUN_SECONDS if inside else moment)
            there = len(list(processes(self.runtime)))
            kind.strike(process)
            began = time.monotonic()
            if not kind.may_hang:
                if not _wait(process, RUN_SECONDS):
                    raise AssertionError(f"{kind.name} after {moment:.3f} s: the run hangs")
                assert not inside or process.returncode != 0
                began = time.monotonic()
            left = leftovers(self.runtime, LEFT_SECONDS, tickets=False)
            seconds = time.monotonic() - began
        assert not left, f"{kind.name} {inside or f'after {moment:.3f} s'} leaves {left}"
        self.check_run(self.chance.choice(["asyncio", "trio"]))
        when = inside or f"{moment:.2f} s after the {'server' if after_start else 'run'}, {there} processes there"
        return f"{kind.name}, {when}: nothing left after {seconds:.1f} s (grace {self.grace} s)"

    def check_run(self, program: str, **environment: str) -> None:
        """A run to which nothing happens succeeds and leaves nothing, no ticket in the queue either."""
        with self.started(program, GRACE=str(min(self.grace, SHORT_GRACE)), **environment) as process:
            assert _wait(process, RUN_SECONDS), f"{program} hangs"
            assert process.returncode == 0, f"{program} fails: {(self.directory / 'output').read_text()}"
        left = leftovers(self.runtime, LEFT_SECONDS)
        assert not left, f"{program} leaves {left}"

    @contextlib.contextmanager
    def started(self, program: str, **environment: str) -> Iterator[Process]:
        """Start one of the programs; it is killed at the end."""
        variables = {
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": str(self.directory),
            "DOTEVAL_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.temporary),
            "DELAY": str(self.delay),
            "GRACE": str(self.grace),
            **environment,
        }
        command = PROGRAMS[program]
        with (self.directory / "output").open("wb") as output:
            settings = {"cwd": self.directory, "env": variables, "stdout": output, "stderr": output}
            process: Process
            if self.forks is None:
                process = subprocess.Popen([sys.executable, *command], **settings, start_new_session=True)
            else:
                process = self.forks.start(*command, **settings, start_new_session=True, workers="xdist" in command)
        with process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _wait(process: Process, seconds: float) -> bool:
    """Wait until the process has ended, for a while at most; says whether it has."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


@contextlib.contextmanager
def stage(seed: int) -> Iterator[Stage]:
    """A stage in directories of its own."""
    directories = [Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp")) for prefix in ("dt-", "dt-programs-")]
    runtime, programs = directories
    try:
        yield Stage(programs, runtime, random.Random(seed))
    finally:
        kill_all(runtime)
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    """Many crashes, and what they show."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kills", type=int, default=30, help="at how many moments something is killed with -9")
    parser.add_argument("--others", type=int, default=2 * len(OTHERS), help="how many other ends there are")
    options = parser.parse_args()
    kinds = [KILLS[number % len(KILLS)] for number in range(options.kills)]
    kinds += [OTHERS[number % len(OTHERS)] for number in range(options.others)]
    print(f"seed {options.seed}: {len(kinds)} crashes", flush=True)
    failures = 0
    with stage(options.seed) as here:
        for number, kind in enumerate(kinds, 1):
            here.delay, here.grace = here.chance.uniform(0, 0.6), here.chance.choice([0.5, 2, 2, 2, 10])
            try:
                print(f"{number:3} {here.crash(kind)}", flush=True)
            except AssertionError as exc:
                failures += 1
                print(f"{number:3} FAILED {exc}", flush=True)
                kill_all(here.runtime)
    print(f"seed {options.seed}: {failures} of {len(kinds)} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
