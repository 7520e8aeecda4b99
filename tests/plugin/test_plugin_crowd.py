"""Many tests in many modules, on the real SDK and over real HTTP: no loop is mixed up, and nothing is opened twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.forks import Forks
from tests.llmock_server import LLMock, running_llmock
from tests.plugin.runs import Runs, assert_clean, counts

MODULES = 6
TESTS = """
import pytest

@pytest.mark.anyio
@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("openai_client", ["gpt-4o"], indirect=True)
async def test_generate(openai_client, number):
    assert await openai_client.generate(f"Question {number}")
"""


@pytest.fixture(scope="module")
def server(forks: Forks) -> Iterator[LLMock]:
    """An independent model server on loopback."""
    with running_llmock(forks) as server:
        yield server


@pytest.mark.parametrize(("scope", "opens"), [("module", MODULES * 2), ("session", 2)])
def test_many_tests_in_many_modules(
    runs: Runs, server: LLMock, monkeypatch: pytest.MonkeyPatch, scope: str, opens: int
) -> None:
    """One open per model, module and backend; with session scope one per model and backend."""
    server.reset()
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    runs.write(**{f"test_module_{number}": TESTS for number in range(MODULES)})
    result = runs.run(f"--model-provider-scope={scope}", "--model-base-url", f"openai={server.base_url('openai')}")
    assert_clean(result, passed=60)
    assert counts(result)["openai"] == {"opens": opens, "leases": 60, "reuses": 60 - opens, "failures": 0}
    assert len(server.requests()) == 60


def test_many_tests_on_workers(runs: Runs, server: LLMock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pytest-xdist and a module to a worker, the counts of all workers add up to the same."""
    server.reset()
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    runs.write(**{f"test_module_{number}": TESTS for number in range(MODULES)})
    result = runs.run(
        "-n2",
        "--dist=loadfile",
        f"--model-base-url=openai={server.base_url('openai')}",
        plugins="xdist anyio doteval",
    )
    assert_clean(result, passed=60)
    assert counts(result)["openai"] == {"opens": 12, "leases": 60, "reuses": 48, "failures": 0}
