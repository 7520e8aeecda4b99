"""How soon a server's readiness is noticed, and how soon its end.

Question: how long after the moment its port answers does `setup()` return? How much longer than the server itself takes
to end does stopping it take?
Method: real processes that start listening after a while (each time another one) and need 0.2 s to end after SIGTERM.
Both moments come from the server, by the clock that all processes share; stopping is timed from the call until the
process is gone. 15 servers on each backend, one after the other.
Units: milliseconds, medians. Noise: some milliseconds; the readiness depends on where in its pause doteval is.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import anyio
from _harness import BACKENDS, figure_row, report

from doteval import ServerProvider

SERVERS = 15
ENDS_IN = 0.2
SERVER = str(Path(__file__).parent / "_slow_server.py")


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def measure(directory: Path) -> tuple[list[float], list[float]]:
    noticed: list[float] = []
    later: list[float] = []
    for number in range(SERVERS):
        notes = directory / f"notes{number}"
        command = [sys.executable, SERVER, "{port}", str(notes), str(0.3 + 0.047 * number), str(ENDS_IN)]
        async with ServerProvider(command, share="off") as provider:
            handle = await provider.setup("m")
            now = time.monotonic()
            _, pid, listens = notes.read_text("utf-8").splitlines()[1].split()
            noticed.append((now - float(listens)) * 1000)
            await handle.teardown()
            start = time.monotonic()
            await provider.teardown(handle.resource_id)
            while is_there(int(pid)):  # noqa: ASYNC110 - only the process's own parent is told when it ends
                await anyio.sleep(0.001)
            later.append((time.monotonic() - start - ENDS_IN) * 1000)
    return noticed, later


def main() -> None:
    rows = []
    for backend in BACKENDS:
        with tempfile.TemporaryDirectory(prefix="dt-") as directory:  # sockets need a short path
            os.environ["DOTEVAL_RUNTIME_DIR"] = directory
            noticed, later = anyio.run(measure, Path(directory), backend=backend)
        rows.append(figure_row("readiness noticed", "the port answers", backend, noticed, 50.0, "ms"))
        rows.append(figure_row("stop", "the server's own end", backend, later, 100.0, "ms"))
    report(rows)


if __name__ == "__main__":
    main()
