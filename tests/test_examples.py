"""The programs in ``examples/`` run as their authors say: as processes, over real HTTP, on asyncio and on trio."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.forks import PIPE, STDOUT, Fork, Forks
from tests.llmock_server import LLMock, running_llmock

EXAMPLES = Path(__file__).parent.parent / "examples"
SERVERS = {
    "uvicorn on asyncio": ("uvicorn", "--port=0", "--timeout-keep-alive=60"),
    "hypercorn on trio": ("hypercorn", "--worker-class=trio", "--graceful-timeout=30", "--keep-alive=60"),
}
SYMPTOMS = ("Traceback", "Warning", "never awaited", "Event loop is closed", "different task", "Exception ignored")

PATIENCE = 60.0
"""After how many seconds a test gives up; only ever waited for where something is broken."""

SLOW = PATIENCE * 2
"""How long the model server takes to answer where a test does not want to see the answer, in seconds."""


@pytest.fixture(scope="module")
def server(forks: Forks) -> Iterator[LLMock]:
    with running_llmock(forks, LLMOCK_RESPONSE_STYLE="echo") as server:
        yield server


@pytest.fixture
def llmock(server: LLMock) -> Iterator[LLMock]:
    """The model server that the examples talk to. It says what it is told."""
    server.reset()
    yield server
    server.reset()


def environment(llmock: LLMock, **changes: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return {
        **inherited,
        "OPENAI_API_KEY": "not-a-key",
        "OPENAI_BASE_URL": llmock.base_url("openai"),
        "ANTHROPIC_API_KEY": "not-a-key",
        "ANTHROPIC_BASE_URL": llmock.base_url("anthropic"),
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": str(EXAMPLES),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "always::ResourceWarning,always::RuntimeWarning",
        **changes,
    }


@contextmanager
def running(forks: Forks, *command: str, env: dict[str, str]) -> Iterator[Fork]:
    """A Python program in a process group of its own, which is ended with the block."""
    with forks.start(*command, env=env, stdout=PIPE, stderr=STDOUT, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def eventually(what: Callable[[], bool]) -> None:
    """Ask until it is so. Every question is a request to another process, so this is not a busy loop."""
    given_up = threading.Event()
    timer = threading.Timer(PATIENCE, given_up.set)
    timer.start()
    try:
        while not what():
            assert not given_up.is_set(), "it did not come about"
    finally:
        timer.cancel()


# ---------------------------------------------------------------- the script


def script(backend: str, *arguments: str) -> list[str]:
    return [str(EXAMPLES / "script.py"), "--backend", backend, *arguments]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_script_asks_every_model_every_question(forks: Forks, llmock: LLMock, backend: str) -> None:
    """Two models, three questions: six replies, a client for each model, and all is closed at the end."""
    with running(forks, *script(backend, "one?", "two?", "three?"), env=environment(llmock)) as process:
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert sorted(output.splitlines()) == sorted(
        [
            f"{model}: {question} Hello! You said: {question}"
            for model in ("gpt-4o", "claude-sonnet-5-5")
            for question in ("one?", "two?", "three?")
        ]
        + ["openai: 1 opens, 3 leases, 1 closes", "anthropic: 1 opens, 3 leases, 1 closes"]
    )


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_fails_in_the_script_hurts_nobody_else(forks: Forks, llmock: LLMock, backend: str) -> None:
    """Without a key for one of the services the other one replies; the exit code and the message tell."""
    arguments = script(backend, "--model", "gpt-4o", "--model", "claude-sonnet-5-5", "one?")
    with running(forks, *arguments, env=environment(llmock, ANTHROPIC_API_KEY="")) as process:
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert "gpt-4o: one? Hello! You said: one?" in output
    assert "Set the environment variable ANTHROPIC_API_KEY" in output
    assert not any(symptom in output for symptom in SYMPTOMS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_signal_ends_the_script_in_good_order(
    forks: Forks, llmock: LLMock, backend: str, number: signal.Signals
) -> None:
    """In the middle of four requests: they are given up, what is open is closed, and there is no traceback."""
    llmock.script({"type": "delay", "seconds": SLOW, "times": 4})
    with running(forks, *script(backend, "one?", "two?"), env=environment(llmock)) as process:
        eventually(lambda: not llmock.pending())
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, output
    assert sorted(output.splitlines()) == [
        "anthropic: 1 opens, 2 leases, 1 closes",
        "openai: 1 opens, 2 leases, 1 closes",
        f"stopped by {number.name}",
    ]


# ---------------------------------------------------------------- the web app


class App:
    """The running web app.

    Args:
        process: The web server's process.
    """

    def __init__(self, process: Fork) -> None:
        self.process = process
        self.output = ""
        assert process.stdout is not None
        while (found := re.search(r"http://127\.0\.0\.1:(\d+)", self.output)) is None:
            line = process.stdout.readline()
            assert line, f"the server did not start: {self.output}"
            self.output += line
        self.port = int(found[1])
        self._client = httpx.Client(base_url=found[0], timeout=PATIENCE, trust_env=False)

    def ask(self, path: str, prompt: str) -> httpx.Response:
        """Send a request and wait for the whole response."""
        return self._client.post(path, json={"text": prompt})

    def count(self, name: str) -> int:
        """One number of the statistics, over all providers."""
        return sum(counts[name] for counts in self._client.get("/providers").json().values())

    def send(self, path: str) -> socket.socket:
        """Send a request and do not wait for the response."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        body = json.dumps({"text": "Hello"})
        lines = [f"POST {path} HTTP/1.1", "host: app.test", "content-type: application/json"]
        connection.sendall("\r\n".join([*lines, f"content-length: {len(body)}", "", body]).encode())
        return connection

    def stop(self, number: signal.Signals) -> str:
        """Send a signal; return all that was printed, when no process is left that could print."""
        self._client.close()
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self.output += rest
        # uvicorn passes the signal on to itself when it is done; hypercorn exits.
        assert self.process.returncode in (0, -number), self.output
        assert not any(symptom in self.output for symptom in SYMPTOMS), self.output
        return self.output


@contextmanager
def running_app(forks: Forks, server: LLMock, module: str, *options: str) -> Iterator[App]:
    address = "--bind=127.0.0.1:0" if module == "hypercorn" else "--host=127.0.0.1"
    with running(forks, "-m", module, *options, address, "fastapi_app:app", env=environment(server)) as process:
        yield App(process)


@pytest.fixture(scope="module", params=SERVERS.values(), ids=SERVERS)
def shared_app(request: pytest.FixtureRequest, forks: Forks, server: LLMock) -> Iterator[App]:
    """The web app under each of the two servers, on a free port. When it is stopped, nothing is open any more.

    How many of its tests run in this process, and so what they opened, is up to whoever started pytest.
    """
    with running_app(forks, server, *request.param) as app:
        yield app
        output = app.stop(signal.SIGINT)
    used = re.findall(r"^(openai|anthropic): \d+ opens", output, re.MULTILINE)  # by those of its tests that ran here
    for provider in used:
        assert re.search(rf"^{provider}: ([01]) opens, \d+ leases, \1 closes$", output, re.MULTILINE), output


@pytest.fixture
def app(shared_app: App) -> App:
    """The web app, with nothing going on."""
    assert shared_app.count("active_leases") == 0
    return shared_app


def test_the_app_leases_a_model_for_each_request(app: App) -> None:
    """Forty at once, whole replies and streams, of two models, which are opened once each and leased forty times."""
    models = ("gpt-4o", "claude-sonnet-5-5")

    def one(number: int) -> None:
        model, prompt = models[number % 2], f"number {number}"
        if number % 4 < 2:
            reply = app.ask(f"/models/{model}", prompt).json()
            assert (reply["model"], reply["text"]) == (model, f"Hello! You said: {prompt}")
            assert reply["output_tokens"] > 0
        else:
            assert app.ask(f"/models/{model}/stream", prompt).text == f"Hello! You said: {prompt}"

    leases = app.count("leases")
    with ThreadPoolExecutor(40) as clients:
        list(clients.map(one, range(40)))
    assert app.count("leases") == leases + 40
    assert app.count("active_leases") == 0
    assert app.count("opens") == app.count("open") == 2


@pytest.mark.parametrize("path", ["/models/gpt-4o", "/models/gpt-4o/stream"], ids=["whole reply", "stream"])
def test_a_client_that_goes_away_gives_its_lease_back(app: App, llmock: LLMock, path: str) -> None:
    """The request to the model is given up long before it is answered; the next client is served by the same model."""
    if path.endswith("stream"):
        llmock.script({"type": "stream_fault", "kind": "stall", "after_chunks": 3, "stall_seconds": SLOW})
    else:
        llmock.script({"type": "delay", "seconds": SLOW})
    with app.send(path) as connection:
        eventually(lambda: not llmock.pending())
        response = b""
        while path.endswith("stream") and b"Hello" not in response:
            response += connection.recv(4096)
        assert app.count("active_leases") == 1
    eventually(lambda: app.count("active_leases") == 0)
    opens = app.count("opens")
    assert "You said: again" in app.ask(path, "again").text
    assert app.count("opens") == opens


SPECS = ("vllm:foo", "openai:gpt-4o", "llamacpp:--help", "nobodys-model", "%2Fetc%2Fpasswd", *map(str, range(50)))


def test_the_app_opens_nothing_that_is_not_on_its_list(app: App) -> None:
    """A caller names models, not specs: no server is started, and names cost nothing."""
    before = app.count("open"), app.count("opens"), app.count("open_failures")
    for spec in SPECS:
        for path in (f"/models/{spec}", f"/models/{spec}/stream"):
            unknown = app.ask(path, "Hello")
            assert unknown.status_code == 404
            assert os.environ["PATH"] not in unknown.text
    assert "there are: gpt-4o, claude-sonnet-5-5" in app.ask("/models/vllm:foo", "Hello").json()["detail"]
    assert (app.count("open"), app.count("opens"), app.count("open_failures")) == before


def test_the_app_tells_its_log_what_to_do_and_callers_that_it_failed(
    forks: Forks, server: LLMock, llmock: LLMock
) -> None:
    """A service that refuses, at the beginning of a stream as well."""
    llmock.script({"type": "fail", "status": 401, "times": None})
    with running_app(forks, server, *SERVERS["uvicorn on asyncio"]) as app:
        for path in ("/models/gpt-4o", "/models/gpt-4o/stream"):
            refused = app.ask(path, "Hello")
            assert refused.status_code == 502
            assert refused.json() == {"detail": "the model cannot be asked at the moment"}
        assert app.count("active_leases") == 0
        output = app.stop(signal.SIGTERM)
    assert output.count("Check OPENAI_API_KEY or api_key=") == 2


@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_the_app_finishes_what_it_has_begun(
    forks: Forks, server: LLMock, llmock: LLMock, command: tuple[str, ...]
) -> None:
    """A request that is under way when the signal comes is answered; then the lifespan closes the providers."""
    llmock.script({"type": "delay", "seconds": 1})
    with running_app(forks, server, *command) as app, app.send("/models/gpt-4o") as connection:
        eventually(lambda: not llmock.pending())
        output = app.stop(signal.SIGTERM)
        with connection.makefile() as response:
            assert "You said: Hello" in response.read()
    assert "openai: 1 opens, 1 leases, 1 closes" in output
