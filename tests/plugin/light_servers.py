"""A distribution whose provider starts servers: small ones, which say what they are, and die when they are told to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.forks import Forks
from tests.plugin.runs import Runs

SERVER = """
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

model, port = sys.argv[1], int(sys.argv[2])
if model.startswith("broken"):
    print("the weights of", model, "are not there", flush=True)
    sys.exit(3)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer({})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        if text == "die" and not os.path.exists(died):
            open(died, "w").close()
            print("it was told to die", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        print("asked:", text, flush=True)
        message = {"role": "assistant", "content": f"{model} of {os.getpid()}: {text}"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        self.answer({"id": "1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]})

    def answer(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


died = os.environ["DIED"]
with open(os.environ["STARTS"], "a") as starts:
    print(model, os.getpid(), file=starts)
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

PROVIDER = """
import sys

from doteval import ServerProvider


def light(*, launcher=None, restarts=0, server_keep_alive=0.0) -> ServerProvider:
    command = [sys.executable, "-m", "lightserver", "{spec}", "{port}"]
    return ServerProvider(
        command, launcher=launcher, restarts=restarts, server_keep_alive=server_keep_alive, start_timeout=60
    )
"""


class LightRuns(Runs):
    """Runs of pytest with that provider, in a runtime directory of their own.

    Args:
        pytester: The directory of the run.
        monkeypatch: Sets the environment of the runs.
        forks: Where processes come from.
        runtime: The runtime directory.
    """

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forks: Forks, runtime: Path) -> None:
        super().__init__(pytester, monkeypatch, forks)
        self.runtime = runtime
        self._starts = pytester.path / "starts.txt"
        monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", str(runtime))
        monkeypatch.setenv("STARTS", str(self._starts))
        monkeypatch.setenv("DIED", str(pytester.path / "died"))
        monkeypatch.setenv(
            "PYTHONPATH", os.pathsep.join(filter(None, [str(pytester.path), os.environ.get("PYTHONPATH")]))
        )
        self.install("lightpkg", {"light": "lightpkg:light"}, lightpkg=PROVIDER, lightserver=SERVER)

    def starts(self) -> list[str]:
        """The models of the servers that were started so far, in that order."""
        if not self._starts.exists():
            return []
        return [line.split()[0] for line in self._starts.read_text().splitlines()]

    def pids(self) -> list[int]:
        """Their processes."""
        return [int(line.split()[1]) for line in self._starts.read_text().splitlines()]

    def left(self) -> list[str]:
        """What is still there of servers: processes, sockets, directories."""
        sockets = [path.name for path in self.runtime.iterdir() if path.name not in ("slots", "queue", "logs")]
        return [f"process {pid}" for pid in self.pids() if _is_alive(pid)] + sockets


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def light(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forks: Forks) -> Iterator[LightRuns]:
    with tempfile.TemporaryDirectory(prefix="dt-", dir="/tmp") as directory:  # sockets need a short path
        yield LightRuns(pytester, monkeypatch, forks, Path(directory))
