"""What it costs that models take turns at one slot, where their servers can sleep.

Question: how much longer do 60 tests take that ask three models in turn, where one of them fits, than where all three
do? How long does a switch take, and is it ever the wrong model that answers?
Method: whole runs of pytest on real server processes that take 2 s to start and 20 ms to fall asleep or wake up; each
test leases the next model and asks it one thing, which takes 0.25 s. Both sides have to start exactly three servers.
Then a program leases three models in turn, 1,000 times, and looks at each reply; the servers answer at once.
Units: the ratio of the times; milliseconds from one reply to the next one. Noise: a few per cent.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import anyio
from _harness import BACKENDS, Row, by_turns, figure_row, ratio_row, report
from _runs_of_pytest import install_provider, run_pytest

TESTS, SWITCHES = 60, 1000
MODELS = ("one", "two", "three")
SERVER = str(Path(__file__).parent / "_sleepy_server.py")
PROVIDER = f"""
import os, sys

from doteval import ServerProvider
from doteval.servers import HTTPSleep


def make(reply="0.25", start="2", **settings):
    command = [sys.executable, {SERVER!r}, "{{port}}", os.environ["NOTES"], "{{spec}}", start, reply, "0.02"]
    return ServerProvider(command, **settings)


def sleeping(**settings):
    return make(sleep=HTTPSleep(state_path="/is_sleeping"), max_sleeping=3, **settings)
"""
TEST = f"""
import pytest
from sleepy_models import make, sleeping

@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"

@pytest.fixture(scope="module")
async def provider(anyio_backend, model_servers):
    async with PROVIDER(launcher=model_servers) as provider:
        yield provider

@pytest.mark.anyio
@pytest.mark.parametrize("number", range({TESTS}))
async def test_it(provider, number):
    model = {MODELS}[number % 3]
    async with provider.setup(model) as handle:
        assert await handle.model.generate("Who are you?") == model
"""


def runs_of_pytest(directory: Path) -> Row:
    for side, provider in {"turns": "sleeping(", "loaded": "make(capacity=3, "}.items():
        (directory / f"test_{side}.py").write_text(TEST.replace("PROVIDER(", provider), "utf-8")

    def run(side: str) -> float:
        forget_starts()
        seconds = run_pytest(directory, f"test_{side}.py", "anyio", "doteval", passed=TESTS)
        assert starts() == sorted(MODELS)
        return seconds

    times = by_turns({side: partial(run, side) for side in ("turns", "loaded")}, runs=3)
    what = "60 tests, 3 models that take turns"
    return ratio_row(what, "all three loaded", "asyncio", times["turns"], times["loaded"], 1.5)


def starts() -> list[str]:
    return sorted(Path(os.environ["NOTES"]).read_text("utf-8").split()[1::2])


def forget_starts() -> None:
    Path(os.environ["NOTES"]).unlink(missing_ok=True)


async def switches() -> list[float]:
    from sleepy_models import sleeping

    figures: list[float] = []
    async with sleeping(reply="0", start="0") as provider:
        for number in range(SWITCHES + len(MODELS)):
            model = MODELS[number % len(MODELS)]
            began = time.perf_counter()
            async with provider.setup(model) as handle:
                assert await handle.model.generate("Who are you?") == model
            if number >= len(MODELS):
                figures.append((time.perf_counter() - began) * 1000)
    assert starts() == sorted(MODELS)
    return figures


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dt-") as name:  # sockets need a short path
        directory = Path(name)
        install_provider(directory, "sleepy", PROVIDER)
        runtime = directory / "r"
        runtime.mkdir(mode=0o700)
        os.environ |= {"NOTES": str(directory / "notes"), "DOTEVAL_RUNTIME_DIR": str(runtime)}
        sys.path.append(name)
        rows = [runs_of_pytest(directory)]
        for backend in BACKENDS:
            forget_starts()
            figures = anyio.run(switches, backend=backend)
            rows.append(figure_row("1,000 switches", "40 ms of their own", backend, figures, 200.0, "ms"))
        report(rows)


if __name__ == "__main__":
    main()
