"""Apps of other frameworks, each as its own documentation writes one: opened once, shared, and closed in good order."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from tests.llmock_server import LLMock
from tests.strangers.conftest import SYMPTOMS

UVICORN = ("uvicorn", "--host=127.0.0.1", "--port=0")
HYPERCORN = ("hypercorn", "--bind=127.0.0.1:0", "--graceful-timeout=30")
TRIO = (*HYPERCORN, "--worker-class=trio")
RUNS = [
    *((app, UVICORN) for app in ("starlette_app", "litestar_app", "quart_app", "django_app")),
    *((app, HYPERCORN) for app in ("starlette_app", "litestar_app", "quart_app", "django_app")),
    *((app, TRIO) for app in ("starlette_app", "litestar_app")),  # the others are for asyncio only
]
IDS = [f"{app.removesuffix('_app')}-{command[0]}{'-trio' * (command is TRIO)}" for app, command in RUNS]

pytestmark = pytest.mark.process

PATIENCE = 60.0
AT_ONCE = 50


@contextmanager
def running(
    app: str, command: tuple[str, ...], environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    process = subprocess.Popen(
        [sys.executable, "-m", *command, f"{app}:app"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed = ""
        while (
            found := re.search(r"http://127\.0\.0\.1:\d+", printed.replace(environment["OPENAI_BASE_URL"], ""))
        ) is None:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        limits = httpx.Limits(max_connections=AT_ONCE)
        with httpx.Client(base_url=found[0], timeout=PATIENCE, trust_env=False, limits=limits) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, -signal.SIGTERM), printed
    assert not any(symptom in printed for symptom in SYMPTOMS), printed
    return printed


def until_all_have_arrived(llmock: LLMock) -> None:
    end = time.monotonic() + PATIENCE
    while llmock.pending():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(("app", "command"), RUNS, ids=IDS)
def test_an_app_opens_a_model_once_and_closes_it(
    app: str, command: tuple[str, ...], environment: dict[str, str]
) -> None:
    """Half of the requests are streams, and every fifth client is gone before it has read one."""

    def one(number: int) -> None:
        text = f"number {number}"
        if number % 2:
            assert client.get("/ask", params={"text": text}).text == f"Hello! You said: {text}"
        elif number % 10:
            assert client.get("/stream", params={"text": text}).text == f"Hello! You said: {text}"
        else:
            with client.stream("GET", "/stream", params={"text": text}) as response:
                next(response.iter_raw())

    with running(app, command, environment) as (process, client):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, range(4 * AT_ONCE)))
        end = time.monotonic() + PATIENCE
        while client.get("/statistics").json() != {"opens": 1, "active_leases": 0}:
            assert time.monotonic() < end, client.get("/statistics").text
            time.sleep(0.05)
        printed = ended(process)
    assert "closed 1" in printed


@pytest.mark.parametrize(("app", "command"), RUNS, ids=IDS)
def test_an_app_answers_what_it_has_accepted(
    app: str, command: tuple[str, ...], environment: dict[str, str], llmock: LLMock
) -> None:
    """A signal comes while requests wait for the model: they are answered, and then all is closed."""
    llmock.script({"type": "delay", "seconds": 1, "times": 20})
    with running(app, command, environment) as (process, client):
        with ThreadPoolExecutor(20) as pool:
            asked = [pool.submit(client.get, "/ask", params={"text": str(number)}) for number in range(20)]
            until_all_have_arrived(llmock)
            process.send_signal(signal.SIGTERM)
            assert [each.result().text for each in asked] == [f"Hello! You said: {number}" for number in range(20)]
        printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, -signal.SIGTERM), printed
    assert not any(symptom in printed for symptom in SYMPTOMS), printed
    assert "closed 1" in printed
