"""What the pytest plugin costs, used and unused.

Question: how much longer do 2,000 trivial tests take with `model_client` than with a fixture written by hand, and how
much longer with the plugin installed but unused than without it?
Method: whole runs of pytest in new processes, by turns. The fixture by hand is what anyio's documentation would have
one write: the model is opened once a module, and each test gets it from an async fixture. `model_client` leases anew
for each test. Unused: 2,000 tests that do nothing, with anyio's plugin on both sides.
Units: time over time, medians of 7. Noise: some per cent; a run takes a few seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from _harness import BACKENDS, by_turns, ratio_row, report
from _runs_of_pytest import install_provider, run_pytest

TESTS = 2_000
PROVIDER = """
from contextlib import asynccontextmanager

from doteval import PooledProvider


class Model:
    pass


class Provider(PooledProvider[Model]):
    @asynccontextmanager
    async def open(self, spec, **config):
        yield Model()


def make():
    return Provider()
"""
LEASED = """
import pytest

@pytest.fixture(scope="module")
def anyio_backend():
    return {backend!r}

@pytest.mark.anyio
@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.parametrize("model_client", ["bench:m"], indirect=True)
async def test_it(model_client, number):
    assert model_client
"""
BY_HAND = """
import pytest
from bench_models import Model

@pytest.fixture(scope="module")
def anyio_backend():
    return {backend!r}

@pytest.fixture(scope="module")
async def model(anyio_backend):
    yield Model()

@pytest.fixture
async def client(request, model):
    yield model

@pytest.mark.anyio
@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.parametrize("client", ["m"], indirect=True)
async def test_it(client, number):
    assert client
"""
UNUSED = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_it(number):
    assert True
"""


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        install_provider(directory, "bench", PROVIDER)
        (directory / "test_unused.py").write_text(UNUSED.format(tests=TESTS), "utf-8")
        for backend in BACKENDS:
            (directory / "test_leased.py").write_text(LEASED.format(tests=TESTS, backend=backend), "utf-8")
            (directory / "test_by_hand.py").write_text(BY_HAND.format(tests=TESTS, backend=backend), "utf-8")
            figures = by_turns(
                {
                    "doteval": lambda: run_pytest(directory, "test_leased.py", "anyio", "doteval", passed=TESTS),
                    "by hand": lambda: run_pytest(directory, "test_by_hand.py", "anyio", passed=TESTS),
                }
            )
            what = "2,000 tests, model_client"
            rows.append(ratio_row(what, "a fixture by hand", backend, figures["doteval"], figures["by hand"], 1.25))
        figures = by_turns(
            {
                "with": lambda: run_pytest(directory, "test_unused.py", "anyio", "doteval", passed=TESTS),
                "without": lambda: run_pytest(directory, "test_unused.py", "anyio", passed=TESTS),
            }
        )
        rows.append(
            ratio_row("2,000 tests, plugin unused", "without it", "", figures["with"], figures["without"], 1.03)
        )
    report(rows)


if __name__ == "__main__":
    main()
