"""``--doteval-eval-cache``: what it answers, in one process and in several, and what is said of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.plugin.runs import Runs
from tests.providers.numbering import NumberingServer
from tests.providers.wire import running

from doteval.evals import Store

EVALUATIONS = """
import pytest
from doteval import foreach, Result

@pytest.mark.parametrize("model_client", ["openai:a", "openai:b"], indirect=True)
@foreach("question", ["one", "two", "two"])
async def eval_first(question, model_client):
    return Result([await model_client.generate(question), await model_client.generate(question)])

@pytest.mark.parametrize("model_client", ["openai:a"], indirect=True)
@foreach("question", ["one", "three"])
async def eval_second(question, model_client):
    return Result(await model_client.generate(question), scores={"good": True})
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NumberingServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody-may-see-this")
    with running(NumberingServer) as server:
        server.start_over()
        yield server


def outputs(runs: Runs, experiment: str) -> dict[str, list[object]]:
    with Store(runs.pytester.path / ".doteval" / "results.db") as store:
        return {
            stored.name: [record.output for record in store.records(stored)] for stored in store.evaluations(experiment)
        }


def lines(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "cache of replies" in line]


@pytest.mark.process
@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_second_run_asks_nothing(
    runs: Runs, server: NumberingServer, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """Although its results are kept elsewhere; it says what was saved, and what the first one asked."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody-may-see-this")
    runs.write(eval_it=EVALUATIONS)
    found: list[dict[str, list[object]]] = []
    told: list[str] = []
    for experiment in ("one", "two"):
        result = runs.run(
            f"--model-base-url=openai={server.url}/v1",
            "--eval-cache=on",
            f"--eval-experiment={experiment}",
            *arguments,
            plugins="anyio doteval xdist",
            strict=False,
        )
        result.assert_outcomes(passed=3)
        found.append(outputs(runs, experiment))
        told += lines(result)
    first, second = (re.sub(r"[^\d ]", "", line).split() for line in told)
    assert found[1] == found[0]
    assert (first[1], second) == ("14", ["14", "14", "112"])
    assert len(server.asked) == 14 - int(first[0])


@pytest.mark.process
def test_nothing_is_kept_unless_that_is_asked_for(
    runs: Runs, server: NumberingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor said; and what is no mode is a mistake of the command line."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody-may-see-this")
    runs.write(eval_it=EVALUATIONS)
    for arguments in ([], ["--eval-cache=off"]):
        result = runs.run(f"--model-base-url=openai={server.url}/v1", *arguments, strict=False)
        assert lines(result) == []
    assert len(server.asked) == 28
    assert not (runs.pytester.path / ".doteval" / "replies.db").exists()
    result = runs.run("--eval-cache=yes")
    result.stderr.fnmatch_lines(
        ["*--doteval-eval-cache (ini: doteval_eval_cache) is one of on, read, write, off, not*"]
    )
