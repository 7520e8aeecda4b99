"""The main job of doteval, from end to end, on asyncio and on trio: tasks and tests lease models and share them.

::

    python examples/demo.py

It needs ``pip install -e ".[demo]"`` in a clone, and no API key. llmock, a mock server that speaks the protocols of
OpenAI and of Anthropic, stands in for both services on loopback; the SDKs, the HTTP and the event loops are real. The
exit code is 0 only if everything held that the report says.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from textwrap import indent, shorten
from urllib.request import urlopen

import anyio

from doteval import ModelProviders, PoolEvent

MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-5-5")
QUESTIONS = ("What is the capital of France?", "Is 97 a prime number?", "Who wrote Faust?", "What is 6 times 7?")
PATHS = {"openai": "/v1", "anthropic": "/anthropic"}
NO_KEY = "no-key-needed"


# ---------------------------------------------------------------- the job


async def lease(urls: dict[str, str], report: Report) -> None:
    """One task a question; each puts its question to every model, in another order than the others."""
    events: list[PoolEvent] = []
    clients = {}

    async def ask(task: int, question: str) -> None:
        for model in (*MODELS[task % len(MODELS) :], *MODELS[: task % len(MODELS)]):
            async with providers.setup(model) as handle:
                clients[model] = handle.model.client
                if model == MODELS[-1]:
                    async with handle.model.stream(question) as stream:
                        reply = "|".join([piece async for piece in stream])
                else:
                    reply = await handle.model.generate(question)
                report.reply(task, model, reply)

    settings = {name: {"base_url": url, "api_key": NO_KEY, "on_event": events.append} for name, url in urls.items()}
    async with ModelProviders(settings=settings) as providers:
        async with anyio.create_task_group() as task_group:
            for task, question in enumerate(QUESTIONS):
                task_group.start_soon(ask, task, question)
        before = total(providers)
    after = total(providers)

    report.counts(events)
    asked = len(QUESTIONS) * len(MODELS)
    shared = after["leases"] - after["opens"] - after["reuses"]
    report.check(after["leases"] == asked and before["active_leases"] == 0, f"{asked} leases, every one given back")
    report.check(
        after["opens"] == before["open"] == len(MODELS),
        f"{len(MODELS)} opens, each model once: {after['reuses']} leases were reuses of an open model, "
        f"{shared} joined an opening under way",
    )
    served = len({id(client) for client in clients.values()})
    report.check(served == len(urls), f"{served} SDK clients and their connections served {len(clients)} models")
    closed = after["closes"] == after["opens"] and all(client.is_closed() for client in clients.values())
    report.check(closed and not after["close_failures"], "at the end all models and clients were closed")


def total(providers: ModelProviders) -> Counter[str]:
    """The counts of all providers together."""
    counts: Counter[str] = Counter()
    for statistics in providers.statistics().values():
        counts.update({name: value for name, value in asdict(statistics).items() if isinstance(value, int)})
    return counts


def run_pytest(urls: dict[str, str], report: Report) -> None:
    """Run test_models.py as a user would: in a directory of its own, with the plugin loading itself."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    for name, url in urls.items():
        environment |= {f"{name.upper()}_BASE_URL": url, f"{name.upper()}_API_KEY": NO_KEY}
    source = Path(__file__).with_name("test_models.py")
    with tempfile.TemporaryDirectory(prefix="doteval-demo-") as directory:
        shutil.copy(source, directory)
        command = [sys.executable, "-m", "pytest", "-v", "--no-header", "-p", "no:cacheprovider", "--model-summary"]
        run = subprocess.run(
            [*command, source.name], cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
    program = source.read_text("utf-8")
    report.print(program[program.index("@pytest.fixture") :].rstrip())
    report.print(f"\n\n$ pytest -v --model-summary {source.name}")
    report.print(run.stdout.strip() + "\n")
    if run.returncode:
        report.print(run.stderr)
    passed = re.search(r"(\d+) passed", run.stdout)
    opens, leases = (sum(map(int, re.findall(rf"(\d+) {word},", run.stdout))) for word in ("opens", "leases"))
    report.check(run.returncode == 0 and passed is not None, f"{passed[1] if passed else 'no'} tests passed")
    report.check(
        opens == 2 * len(MODELS) and passed is not None and leases == int(passed[1]),
        f"{leases} leases, one a test; {opens} opens, each model once on each backend",
    )


# ---------------------------------------------------------------- the server


SERVER = """
import os, socket, sys, threading
import uvicorn
from llmock.main import create_app

def end_with_the_demo():
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=end_with_the_demo, daemon=True).start()
config = uvicorn.Config(create_app(), log_level="warning", lifespan="off")
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


@contextmanager
def running_llmock() -> Iterator[tuple[str, int]]:
    """Start llmock and yield its address and process id; afterwards end it.

    It listens on a socket that is made here. So the port is free, and the first request waits until llmock is ready.
    It has a session of its own, so that Ctrl-C is left to the demo, and ends by itself when the demo is gone.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    with process:
        try:
            with urlopen(f"{url}/health", timeout=60):
                yield url, process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


# ---------------------------------------------------------------- the report


class Report:
    """Prints what happened, and remembers whether it was what should happen."""

    def __init__(self) -> None:
        self.failed = 0

    def print(self, text: str = "") -> None:
        print(indent(text, "  "), flush=True)

    def title(self, text: str) -> None:
        print(f"\n{text}\n{'-' * len(text)}\n", flush=True)

    def reply(self, task: int, model: str, reply: str) -> None:
        self.print(f"task {task + 1}  {model:<18} {shorten(reply, 72, placeholder=' ...')}")

    def counts(self, events: list[PoolEvent]) -> None:
        self.print(f"\n{'model':<18} {'provider':<18} opens  leases  closes")
        for model in MODELS:
            kinds = [event.kind for event in events if event.resource_id == model]
            (provider,) = {event.provider for event in events if event.resource_id == model}
            opens, leases, closes = map(kinds.count, ("opened", "leased", "closed"))
            self.print(f"{model:<18} {provider:<18} {opens:>5}  {leases:>6}  {closes:>6}")
        self.print()

    def check(self, held: bool, claim: str) -> None:
        self.failed += not held
        self.print(f"{'[ok]' if held else '[FAILED]'} {claim}")


def main() -> int:
    """Run it all.

    Returns:
        The exit code.
    """
    started = time.monotonic()
    os.environ["no_proxy"] = "127.0.0.1"  # everything here is on loopback
    report = Report()
    packages = ("anyio", "trio", "openai", "anthropic", "pytest", "llmock")
    print(f"doteval {version('doteval-providers')} on Python {platform.python_version()}")
    print("with " + ", ".join(f"{package} {version(package)}" for package in packages))
    with running_llmock() as (url, pid):
        print(f"\nllmock stands in for OpenAI and Anthropic at {url} (process {pid}). No API key is needed.")
        urls = {name: url + path for name, path in PATHS.items()}
        for backend in ("asyncio", "trio"):
            report.title(f"{backend}: {len(QUESTIONS)} tasks at once, each has a question for {len(MODELS)} models")
            report.print(f"The replies as they came; {MODELS[-1]} was asked to stream, with a | between the pieces:\n")
            anyio.run(lease, urls, report, backend=backend)
        report.title("pytest: the standard client pattern, on asyncio and on trio")
        run_pytest(urls, report)
    seconds = time.monotonic() - started
    print(f"\n{f'{report.failed} of it FAILED' if report.failed else 'All of it held'}, in {seconds:.1f} s.")
    return 1 if report.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
