"""Makes docs/reference/errors-as-you-see-them.md: every error of ours, as pytest shows it at 80 columns.

``python -m tests.plugin.gallery`` writes it anew. `test_gallery.py` compares it with what runs print.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.forks import Forks

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors-as-you-see-them.md"
WIDTH = 80

HEAD = """\
# Errors as you see them

What pytest prints for every error of [the reference](errors.md), on a terminal of 80 columns: first the test, then what
comes of it. This page is made by running these tests.

An error of doteval's says what is wrong in its first line, and then what to do. The lines that pytest shows are those
of *your* code; where there are none, because a fixture of the plugin has failed, there is only the message.
`--full-trace` and `--tb=native` show everything. A notebook shows as little, and everything after `%xmode Verbose`.
The last line of each is that of the summary of a run, which pytest cuts off.
"""


MISTAKES = """\

## More of them

What has no error of its own, or is one of the above.
"""


@dataclass(frozen=True)
class Case:
    """A test that fails.

    Args:
        error: The error that it shows, or what it is about.
        source: The file it is in.
        prose: What a reader has to know besides.
        options: For the command line.
    """

    error: str
    source: str
    prose: str = ""
    options: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """What the file is called."""
        kind = "eval" if "def eval_" in self.source else "test"
        return f"{kind}_{re.sub(r'(?<=[a-z])(?=[A-Z])|[^a-zA-Z]+', '_', self.error.removesuffix('Error')).lower()}.py"

    @property
    def text(self) -> str:
        """What is in it."""
        return textwrap.dedent(self.source).strip() + "\n"


CASES = (
    Case(
        "SpecError",
        """
        async def test_spec(model_providers):
            await model_providers.setup("openai:")
        """,
    ),
    Case(
        "UnknownModelError",
        """
        async def test_unknown_model(model_providers):
            await model_providers.setup("llama3")
        """,
    ),
    Case(
        "ProviderLoadError",
        """
        import pytest


        @pytest.mark.parametrize("transformers_client", ["gpt2"], indirect=True)
        async def test_provider_load(transformers_client):
            assert await transformers_client.generate("2+2?")
        """,
        "A setting that is mistyped, here on the command line: `--model-setting transformers.start_timeout=soon`.",
        ("--model-setting", "transformers.start_timeout=soon"),
    ),
    Case(
        "MissingCredentialsError",
        """
        import pytest


        @pytest.mark.parametrize("openai_client", ["gpt-4o"], indirect=True)
        async def test_missing_credentials(openai_client):
            assert await openai_client.generate("2+2?")
        """,
        "It comes as the cause of a `ModelSetupError`, which has its words.",
    ),
    Case(
        "ModelSetupError",
        """
        from contextlib import asynccontextmanager

        from doteval import PooledProvider


        class MyProvider(PooledProvider[str]):
            @asynccontextmanager
            async def open(self, spec):
                raise ConnectionRefusedError(f"nobody listens at {spec}")
                yield


        async def test_model_setup():
            async with MyProvider() as provider:
                await provider.setup("localhost:8000")
        """,
        "What was raised in your own code is shown with where it was.",
    ),
    Case(
        "ContextManagerError",
        """
        from doteval import PooledProvider


        def test_context_manager():
            class MyProvider(PooledProvider[str]):
                async def open(self, spec):
                    yield spec
        """,
        "It comes when the class is written.",
    ),
    Case(
        "SetupTimeoutError",
        """
        from doteval.testing import FakeProvider


        async def test_setup_timeout():
            async with FakeProvider(open_latency=60, setup_timeout=0.01) as provider:
                await provider.setup("slow-model")
        """,
    ),
    Case(
        "CapacityExceededError",
        """
        from doteval.testing import FakeProvider


        async def test_capacity_exceeded():
            async with FakeProvider(capacity=1) as provider:
                await provider.setup_many("one-model", "another-model")
        """,
    ),
    Case(
        "QueueFullError",
        """
        import asyncio

        from doteval.testing import FakeProvider


        async def test_queue_full():
            async with FakeProvider(capacity=1, max_waiting=0) as provider:
                await asyncio.create_task(provider.setup("one-model"))
                await provider.setup("another-model")
        """,
    ),
    Case(
        "CapacityDeadlockError",
        """
        from doteval.testing import FakeProvider


        async def test_capacity_deadlock():
            async with FakeProvider(capacity=1) as provider:
                async with await provider.setup("one-model"):
                    await provider.setup("another-model")
        """,
    ),
    Case(
        "HandleInactiveError",
        """
        from doteval.testing import FakeProvider


        async def test_handle_inactive():
            async with FakeProvider() as provider:
                handle = await provider.setup("a-model")
                await handle.teardown()
                await handle.model.generate("2+2?")
        """,
    ),
    Case(
        "ProviderNotEnteredError",
        """
        from doteval.testing import FakeProvider


        async def test_provider_not_entered():
            await FakeProvider().setup("a-model")
        """,
    ),
    Case(
        "ProviderClosedError",
        """
        from doteval.testing import FakeProvider


        async def test_provider_closed():
            async with FakeProvider() as provider:
                pass
            await provider.setup("a-model")
        """,
    ),
    Case(
        "WrongEventLoopError",
        """
        import asyncio

        from doteval.testing import FakeProvider


        async def test_wrong_event_loop():
            async with FakeProvider() as provider:
                await asyncio.to_thread(lambda: asyncio.run(elsewhere(provider)))


        async def elsewhere(provider):
            await provider.setup("a-model")
        """,
    ),
    Case(
        "CloseTimeoutError",
        """
        from doteval.testing import FakeProvider


        async def test_close_timeout():
            async with FakeProvider(close_latency=60, close_timeout=0.01) as provider:
                async with await provider.setup("slow-model") as handle:
                    pass
                await provider.teardown(handle.resource_id)
        """,
    ),
    Case(
        "ModelRequestError",
        """
        from doteval import OpenAICompatibleProvider


        async def test_model_request():
            url = "http://127.0.0.1:1/v1"
            async with OpenAICompatibleProvider(url, max_retries=0) as provider:
                async with await provider.setup("a-model") as handle:
                    await handle.model.generate("2+2?")
        """,
    ),
    Case(
        "ServerStartError",
        """
        from doteval import ServerProvider

        COMMAND = ["sh", "-c", "echo 'CUDA error: out of memory'; exit 3", "{port}"]


        async def test_server_start():
            async with ServerProvider(COMMAND) as provider:
                await provider.setup("my-model")
        """,
        "It comes as the cause of a `ModelSetupError`, which has its words.",
    ),
    Case(
        "ServerLostError",
        """
        import os
        import signal

        from doteval import ServerProvider
        from doteval.servers import HTTPReady

        COMMAND = ["sh", "-c", "exec python3 -m http.server {port} >/dev/null 2>&1"]


        async def test_server_lost():
            async with ServerProvider(COMMAND, ready=HTTPReady("/")) as provider:
                async with await provider.setup("my-model") as handle:
                    lease = handle.model.lease
                    os.kill(lease.server.pid, signal.SIGKILL)
                    await lease.ended()
                    raise lease.lost
        """,
        "It is why a handle is inactive and why a request has failed, which have its words.",
    ),
    Case(
        "ServersUnsupportedError",
        """
        import sys

        from doteval import VLLMProvider


        async def test_servers_unsupported(monkeypatch):
            with monkeypatch.context() as patch:
                patch.setattr(sys, "platform", "win32")
                VLLMProvider()
        """,
    ),
    Case(
        "RuntimeDirectoryError",
        """
        from doteval import VLLMProvider


        async def test_runtime_directory(monkeypatch):
            monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", "/proc/nowhere")
            async with VLLMProvider() as provider:
                await provider.setup("my-model")
        """,
    ),
    Case(
        "ReplyCacheError",
        """
        from pathlib import Path

        from doteval import ReplyCache


        async def test_cache():
            Path("replies.db").write_text("These are no replies. " * 10)
            with ReplyCache("replies.db").answering():
                pass
        """,
    ),
    Case(
        "DatasetError",
        """
        from doteval import Result, foreach


        @foreach("prompt,answer", [("2+2?", "4"), ("3+3?",)])
        async def eval_dataset(prompt, answer):
            return Result(answer)
        """,
    ),
    Case(
        "DependencyError",
        """
        from pathlib import Path

        from doteval import Result, foreach


        @foreach("question", ["2+2?"], depends_on=[Path("corpus")])
        async def eval_dependency(question):
            return Result(question)
        """,
    ),
    Case(
        "TooManyErrorsError",
        """
        from doteval import Result, foreach


        @foreach("number", range(100))
        async def eval_too_many_errors(number):
            return Result(100 // (number % 50))
        """,
    ),
    Case(
        "EvaluationAbortedError",
        """
        from doteval import Result, foreach


        @foreach("number", range(1000))
        async def eval_evaluation_aborted(number):
            return Result(number.lower())
        """,
    ),
    Case(
        "RowTimeoutError",
        """
        import asyncio
        from doteval import Result, foreach


        @foreach("number", range(3), row_timeout=0.1)
        async def eval_row_timeout(number):
            if number == 1:
                await asyncio.Future()
            return Result(number)
        """,
    ),
    Case(
        "JudgeError",
        """
        from doteval import Result, foreach
        from doteval.evals import llm_judge
        from doteval.testing import FakeModel


        @foreach("letter", ["Dear customer, ..."])
        async def eval_judge(letter):
            judge = FakeModel("judge", replies=["It depends."])
            return Result(letter, scores={"polite": await llm_judge(judge, letter, "It is polite.")})
        """,
    ),
    Case(
        "GateError",
        """
        from doteval import Result, foreach


        @foreach("number", range(50), passes=["even >= 0.6", "even.low >= 0.4"])
        async def eval_gate(number):
            return Result(number, scores={"even": number % 2 == 0})
        """,
    ),
    Case(
        "ConcurrentRunError",
        """
        from doteval import Result, foreach
        from doteval.evals import Store

        Store(".doteval/results.db").begin(
            "mine", "eval_concurrent_run.py::eval_concurrent_run", model="", identity={}
        )


        @foreach("number", range(100))
        async def eval_concurrent_run(number):
            return Result(number)
        """,
        "Here the other run is one that has only begun.",
    ),
    Case(
        "EvaluationChangedError",
        """
        import anyio

        from doteval import Result, foreach
        from doteval.evals import run

        PROMPT = "Say {number} in words."


        @foreach("number", range(3))
        async def eval_evaluation_changed(number):
            return Result(PROMPT.format(number=number))


        async def first():
            name = "eval_evaluation_changed.py::eval_evaluation_changed"
            await run(eval_evaluation_changed, store=".doteval/results.db", experiment="mine", name=name)


        anyio.run(first)
        PROMPT = "Say {number} as a word."
        """,
        "Here an earlier run had another prompt.",
    ),
    Case(
        "StoreError",
        """
        from doteval import Result, foreach
        from doteval.evals import run


        @foreach("number", range(100))
        async def evaluation(number):
            return Result(number)


        async def test_store():
            await run(evaluation, store="/")
        """,
    ),
)


OTHERS = (
    Case(
        "A role without a model",
        """
        async def test_role(judge_client):
            assert await judge_client.generate("Is it polite?")
        """,
    ),
    Case(
        "A client without a model",
        """
        async def test_client(openai_client):
            assert await openai_client.generate("2+2?")
        """,
    ),
    Case(
        "A context manager in the place of its function",
        """
        from contextlib import asynccontextmanager

        from doteval import ContextProvider


        @asynccontextmanager
        async def connect(spec):
            yield spec


        def test_called():
            ContextProvider(connect("localhost"))
        """,
    ),
    Case(
        "A proxy that is not there",
        """
        from doteval import OpenAICompatibleProvider


        async def test_proxy(monkeypatch):
            monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
            url = "http://models.internal/v1"
            async with OpenAICompatibleProvider(url, max_retries=0) as provider:
                async with await provider.setup("a-model") as handle:
                    await handle.model.generate("2+2?")
        """,
        "So it is with a certificate that is not trusted, `https://` where no TLS is spoken, a host that is not found.",
    ),
)


def outputs(forks: Forks, directory: Path, *more: str) -> dict[str, str]:
    """What runs of the tests print, by error, without what differs from run to run."""
    for case in (*CASES, *OTHERS):
        (directory / case.file).write_text(case.text)
    (directory / "conftest.py").write_text(
        "import pytest\n\n\n@pytest.fixture(scope='module')\ndef anyio_backend():\n    return 'asyncio'\n"
    )
    hidden = {"NO_PROXY", "no_proxy", "CI", "BUILD_NUMBER", "OPENAI_API_KEY", "OPENAI_BASE_URL", "GITHUB_ACTIONS"}
    environment = {
        **{name: value for name, value in os.environ.items() if name not in hidden},
        "COLUMNS": str(WIDTH),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "DOTEVAL_RUNTIME_DIR": str(directory / "run"),
    }
    command = ["-m", "pytest", "-p", "anyio", "-p", "doteval", "-p", "no:cacheprovider", "-o", "anyio_mode=auto"]
    options = [option for case in CASES for option in case.options]
    files = [case.file for case in (*CASES, *OTHERS)]
    run = forks.run(*command, "--eval-experiment", "mine", *options, *more, *files, cwd=directory, env=environment)
    return {case.error: _part(case, run.stdout + run.stderr, directory) for case in (*CASES, *OTHERS)}


def _part(case: Case, printed: str, directory: Path) -> str:
    name = re.search(r"def ((?:test|eval)_\w+)", case.text)
    assert name is not None
    title = rf"^_+ (?:ERROR at setup of )?{name[1]}\S* _+$"
    part = re.search(rf"{title}.*?(?=^_+ [^_].* _+$|^=+ .* =+$)", printed, re.MULTILINE | re.DOTALL)
    line = re.search(rf"^(?:FAILED|ERROR) {re.escape(case.file)}.*$", printed, re.MULTILINE)
    assert part is not None, printed
    assert line is not None, printed
    text = re.sub(r"^-+ Captured .*\Z", "", part[0], flags=re.MULTILINE | re.DOTALL)
    return _steady(f"{text.rstrip()}\n\n{line[0]}\n", directory)


def _steady(text: str, directory: Path) -> str:
    """Without what differs from run to run."""
    for pattern, instead in (
        (re.escape(str(directory)), "/home/me/project"),
        (re.escape(sys.executable), "python"),
        (r"process \d+", "process 4711"),
        (r"after [\d.]+ s", "after 0.1 s"),
        (r"for [\d.]+ s", "for 0.1 s"),
        (r"spent: [\d.]+ s", "spent: 0.01 s"),
        (r"\bserver-[0-9a-f]{6,}-[\d-]+\.log", "server-4e3002b3d1ba.log"),
        (r"process: \d+", "process: 4711"),
        (r"http\.server \d+", "http.server 60117"),
        (r"(?<=exit 3' )\d+", "60117"),
        (r"Task-\d+", "Task-51"),
        (r"\bdoteval(-providers)? \d[\w.]*", "doteval 0.1"),
    ):
        text = re.sub(pattern, instead, text)
    return text


def page(printed: Mapping[str, str]) -> str:
    """The page."""
    parts = [HEAD]
    for case in (*CASES, *OTHERS):
        if case is OTHERS[0]:
            parts.append(MISTAKES)
        parts.append(f"\n{'##' if case in CASES else '###'} {case.error}\n")
        if case.prose:
            parts.append(f"\n{case.prose}\n")
        caption = ':caption: "Not run: it fails, as is shown below"'
        parts.append(f"\n```{{code-block}} python\n{caption}\n{case.text}```\n")
        parts.append(f"\n```text\n{printed[case.error]}```\n")
    return "".join(parts)


if __name__ == "__main__":
    with Forks() as started, tempfile.TemporaryDirectory(prefix="gallery-", dir="/tmp") as found:
        PAGE.write_text(page(outputs(started, Path(found))), "utf-8")
