"""The evaluations in ``examples/`` run as they are, on both protocols and event loops, and a second time for free."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.forks import PIPE, STDOUT, Forks
from tests.providers.wire import Reply, Sent, WireServer, answer, running

from doteval.evals import Store, csv, jsonl

EXAMPLES = Path(__file__).parent.parent / "examples" / "evaluations"
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
JUDGES = {"openai": "gpt-4o", "anthropic": "claude-sonnet-5-5"}
NAMES = ["agent", "arithmetic", "handbook", "invoices", "letters", "planets"]
PRICES = {"apple": 0.5, "bread": 3.2, "cheese": 7.9}


class Clerk(WireServer):
    """Answers what the examples ask as a good model would, on both protocols, and counts who is asked how often.

    What it says it has from the files with the answers, as a test is no place to solve problems. A dull one does not.
    """

    is_dull = False

    def start_over(self, *, is_dull: bool = False) -> None:
        """Nobody has asked."""
        self.asked.clear()
        self.is_dull = is_dull
        self.counted: Counter[str] = Counter()

    def _sent(self, head: bytes, body: bytes) -> Sent:
        kind = "anthropic" if b"/messages" in head.partition(b"\r\n")[0] else "openai"
        asked = json.loads(body)
        self.counted[asked["model"]] += 1
        return answer(kind, Reply(text=("I would not know.",)) if self.is_dull else self._reply(asked))

    def _reply(self, asked: Mapping[str, Any]) -> Reply:
        last = asked["messages"][-1]
        text = last["content"] if isinstance(last["content"], str) else json.dumps(last["content"])
        if "tools" in asked:
            return self._agent(asked["messages"])
        for row in jsonl(EXAMPLES / "arithmetic.jsonl"):
            if text == row["question"]:
                return Reply(text=(f"Let me see. The answer is {row['answer']:,}.".replace("-", "\u2212"),))
        for row in csv(EXAMPLES / "planets.csv"):
            if text.startswith(row["question"]):
                return Reply(text=(f"(A) and (D) are near. The answer is **({row['answer']})**.",))
        for row in jsonl(EXAMPLES / "invoices.jsonl"):
            if text.endswith(row["text"]):
                assert "seller" in json.dumps(asked.get("response_format") or asked["output_config"])
                return Reply(text=(json.dumps(row["invoice"]),))
        if "You judge" in text:
            return Reply(text=("YES" if "YES or NO" in text else "Rating: 4/5",))
        if "Answer from this text only" in text:
            found = re.search(r"[^.:]*(?:30 days of|60 days|security@)[^.]*\.", text)
            return Reply(text=(found[0] if found else "It does not say.",))
        assert "Answer this customer" in text
        return Reply(text=("We are sorry, and send it again today.",))

    def _agent(self, messages: list[Any]) -> Reply:
        wanted = {item: int(count) for count, item in re.findall(r"(\d+) x (\w+)", messages[0]["content"])}
        told = [result for message in messages[1:] for result in _results_of(message)]
        if not told:
            tools = [(f"call-{item}", "price", (json.dumps({"item": item}),)) for item in wanted]
            return Reply(tools=tools, finish={"openai": "tool_calls", "anthropic": "tool_use"})
        total = sum(count * float(price) for count, price in zip(wanted.values(), told, strict=True))
        return Reply(text=(f"That is {total:.2f} euros.",))


def _results_of(message: Mapping[str, Any]) -> list[str]:
    """What tools gave, in the words of either protocol."""
    if message["role"] == "tool":
        return [message["content"]]
    content = message["content"] if isinstance(message["content"], list) else []
    return [block["content"] for block in content if block["type"] == "tool_result"]


@pytest.fixture(scope="module")
def running_clerk() -> Iterator[Clerk]:
    with running(Clerk) as clerk:
        yield clerk


@pytest.fixture
def clerk(running_clerk: Clerk) -> Clerk:
    running_clerk.start_over()
    return running_clerk


class Suite:
    """The examples in a directory of their own, and how they are run."""

    def __init__(self, directory: Path, forks: Forks, clerk: Clerk, protocol: str, backend: str) -> None:
        self.directory = directory
        shutil.copytree(EXAMPLES, directory, dirs_exist_ok=True)
        self._forks, self._clerk = forks, clerk
        models = ("--doteval-model", MODELS[protocol], "--doteval-model", f"judge={JUDGES[protocol]}")
        self._options = (*models, "--doteval-eval-backend", backend)

    def run(self, *options: str) -> tuple[int, str, int]:
        """The exit code, what was printed, and how many requests that took."""
        before = self._clerk.counted.total()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment |= {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # neighbours have tests of their own, and take long to be imported
            "OPENAI_API_KEY": "not-a-key",
            "OPENAI_BASE_URL": f"{self._clerk.url}/v1",
            "ANTHROPIC_API_KEY": "not-a-key",
            "ANTHROPIC_BASE_URL": self._clerk.url,
            "no_proxy": "127.0.0.1",
        }
        plugins = ("-p", "anyio", "-p", "doteval", "-p", "no:cacheprovider")
        command = ("-m", "pytest", *plugins, "--rootdir", str(self.directory), *self._options, *options)
        process = self._forks.start(
            *command, str(self.directory), env=environment, stdout=PIPE, stderr=STDOUT, cwd=str(self.directory)
        )
        with process:
            output, _ = process.communicate(timeout=120)
        assert process.returncode is not None
        return process.returncode, output, self._clerk.counted.total() - before


@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("protocol", MODELS)
def test_six_evaluations_pass_on_each_protocol_and_cost_nothing_again(
    tmp_path: Path, forks: Forks, clerk: Clerk, protocol: str, backend: str
) -> None:
    """Each asks what it has to: problems, questions, invoices, letters and their judge, an agent, a handbook."""
    suite = Suite(tmp_path / "suite", forks, clerk, protocol, backend)
    code, output, requests = suite.run("--doteval-eval-experiment", "one", "--doteval-eval-tag", "branch=main")
    assert code == 0, output
    assert f"{len(NAMES)} passed" in output
    # The judge is asked for two votes, which decide, and for a number; the agent for a tool and for an answer.
    assert clerk.counted == {MODELS[protocol]: 6 + 4 + 3 + 3 + 3 * 2 + 3, JUDGES[protocol]: 3 * (2 + 1)}, output
    assert requests == clerk.counted.total()
    store = Store(suite.directory / ".doteval" / "results.db")
    stored = store.evaluations("one")
    assert {str(run.tags) for evaluation in stored for run in store.runs(evaluation)} == {"{'branch': 'main'}"}
    assert sorted(evaluation.name for evaluation in stored) == sorted(
        f"eval_{name}.py::eval_{name}[{MODELS[protocol]}]" for name in NAMES
    )
    assert all(evaluation.finished and not evaluation.errors for evaluation in stored)
    assert sum(evaluation.rows or 0 for evaluation in stored) == 22

    code, output, requests = suite.run("--doteval-eval-experiment", "one")
    assert (code, requests) == (0, 0), output


@pytest.mark.process
def test_a_model_that_knows_nothing_passes_no_gate(tmp_path: Path, forks: Forks, clerk: Clerk) -> None:
    """Each of the six has one that it does not reach; the judge, who says neither, is an error of each row."""
    clerk.start_over(is_dull=True)
    code, output, _ = Suite(tmp_path / "suite", forks, clerk, "openai", "asyncio").run()
    assert code == 1, output
    assert f"{len(NAMES)} failed" in output
    for name in NAMES:
        assert f"'eval_{name}.py::eval_{name}[gpt-4o-mini]' has not passed" in output, output
    assert "FAILED eval_letters.py::eval_letters[gpt-4o-mini] - 3 of 3 rows failed" in output, output
