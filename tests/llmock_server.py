"""``LLMock``: a server process of llmock on loopback, for the tests and the examples.

llmock is an independent mock of the model APIs, with failures on demand. Its process gets a listening socket that is
made here: no port has to be guessed, and nobody waits in a loop, because the first request just waits in the socket's
queue until the server takes it. The process ends when it is told to, or with the fork server that it comes from.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import httpx
from tests.forks import Fork, Forks

_SERVE = """
import os, socket
import uvicorn
from llmock.main import create_app

config = uvicorn.Config(create_app(), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
uvicorn.Server(config).run(sockets=[socket.socket(fileno=os.dup(0))])
"""

PATHS = {"openai": "/v1", "anthropic": "/anthropic"}


class LLMock:
    """A running server.

    Args:
        url: Its address, such as ``http://127.0.0.1:53412``.
        pid: Its process.
    """

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid
        one_by_one = httpx.Limits(max_keepalive_connections=0)  # else the first test that asks leaves a socket open
        self._admin = httpx.Client(base_url=f"{url}/_llmock", timeout=60, trust_env=False, limits=one_by_one)

    def base_url(self, provider: str) -> str:
        """The ``base_url`` for the SDK of ``"openai"`` or ``"anthropic"``."""
        return self.url + PATHS[provider]

    def script(self, *behaviors: dict[str, Any]) -> None:
        """Say what happens to the next requests, for example ``{"type": "fail", "status": 429}``."""
        self._admin.post("/scenario", json={"behaviors": behaviors}).raise_for_status()

    def pending(self) -> list[dict[str, Any]]:
        """What was scripted and no request has met yet. (A request is among `requests` only when it was answered.)"""
        answer: list[dict[str, Any]] = self._admin.get("/scenario").raise_for_status().json()["pending"]
        return answer

    def requests(self) -> list[dict[str, Any]]:
        """Every request since the last reset, oldest first."""
        answer: list[dict[str, Any]] = self._admin.get("/requests").raise_for_status().json()["requests"]
        return answer

    def reset(self) -> None:
        """Forget the requests and what was scripted."""
        self._admin.post("/reset").raise_for_status()

    def close(self) -> None:
        """Close the connection to the admin endpoints."""
        self._admin.close()


@contextlib.contextmanager
def running_llmock(forks: Forks, **environment: str) -> Iterator[LLMock]:
    """Start a server, wait until it answers, and end it by its process id.

    Args:
        forks: Where its process comes from.
        environment: llmock's settings, such as ``LLMOCK_RESPONSE_STYLE="echo"``.

    Raises:
        RuntimeError: The process ended instead; the message has what it printed.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LLMOCK_")}
    with tempfile.TemporaryFile() as printed:  # a pipe would fill up, as nobody reads it
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            process = forks.start("-c", _SERVE, stdin=listener.fileno(), stderr=printed, env=inherited | environment)
        with process:
            server = LLMock(url, process.pid)
            try:
                _wait_until_it_answers(url, process, printed)
                yield server
            finally:
                server.close()
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _wait_until_it_answers(url: str, process: Fork, printed: IO[bytes]) -> None:
    try:
        httpx.get(f"{url}/health", timeout=60, trust_env=False).raise_for_status()
    except httpx.HTTPError as exc:
        process.kill()
        process.wait()
        printed.seek(0)
        raise RuntimeError(
            f"llmock did not start ({exc!r}); it printed:\n{printed.read().decode(errors='replace')}"
        ) from exc
