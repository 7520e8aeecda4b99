"""What it saves not to start a server for each set-up.

Question: how much faster are 60 tests on each of 3 models where one server at a time fits?
Method: whole runs of pytest on real server processes that take 1 s to start. The other side is the usual fixture, which
starts a server and stops it again for each test: three and a half minutes, of which the noise is a few seconds; so it
is measured once, and doteval 7 times. doteval has to start exactly three servers.
Units: their time over ours. Noise: a per cent or two.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from _harness import RUNS, Row, report
from _runs_of_pytest import install_provider, run_pytest

TESTS = 60
MODELS = ("one", "two", "three")
SERVER = str(Path(__file__).parent / "_slow_server.py")
PROVIDER = f"""
import os, sys

from doteval import ServerProvider


def make():
    return ServerProvider([sys.executable, {SERVER!r}, "{{port}}", os.environ["NOTES"], "1", "0"], capacity=1)
"""
LEASED = f"""
import pytest

@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.parametrize("number", range({TESTS}))
@pytest.mark.parametrize("model_client", {[f"slow:{model}" for model in MODELS]}, indirect=True)
async def test_it(model_client, number):
    assert model_client.name
"""
BY_HAND = f"""
import os, socket, subprocess, sys, time

import pytest

@pytest.fixture
def client(request):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, {SERVER!r}, str(port), os.environ["NOTES"], "1", "0"])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            break
    yield request.param
    server.terminate()
    server.wait()

@pytest.mark.parametrize("number", range({TESTS}))
@pytest.mark.parametrize("client", {list(MODELS)}, indirect=True)
def test_it(client, number):
    assert client
"""


def main() -> None:
    passed = TESTS * len(MODELS)
    with tempfile.TemporaryDirectory(prefix="dt-") as name:  # sockets need a short path
        directory = Path(name)
        install_provider(directory, "slow", PROVIDER)
        (directory / "test_leased.py").write_text(LEASED, "utf-8")
        (directory / "test_by_hand.py").write_text(BY_HAND, "utf-8")

        def run(file: str, *plugins: str, starts: int) -> float:
            notes, runtime = directory / "notes", directory / "r"
            notes.unlink(missing_ok=True)
            runtime.mkdir(mode=0o700, exist_ok=True)
            environment = {"NOTES": str(notes), "DOTEVAL_RUNTIME_DIR": str(runtime)}
            seconds = run_pytest(directory, file, *plugins, passed=passed, **environment)
            assert notes.read_text("utf-8").count("start ") == starts
            return seconds

        ours = [run("test_leased.py", "anyio", "doteval", starts=len(MODELS)) for _ in range(RUNS)]
        theirs = run("test_by_hand.py", starts=passed)
    low, _, high = statistics.quantiles([theirs / seconds for seconds in ours], n=4)
    median = statistics.median(ours)
    note = f"{median:.3g} s and 3 starts against {theirs:.3g} s and {passed} starts"
    what, against = "60 tests x 3 models, times faster", "a server a set-up"
    report([Row(what, against, "asyncio", theirs / median, low, high, 10.0, at_least=True, note=note)])


if __name__ == "__main__":
    main()
