"""Runs of pytest, with a provider that notices every misuse."""

from __future__ import annotations

import gc
import re
import warnings
from typing import Any

import pytest
from tests.distributions import install
from tests.forks import Forks

# What generate() says tells on which event loop the test ran. A model that is used in another loop than the one it was
# opened in, or after it was closed, fails the test.
ECHO = """
from contextlib import asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint, current_token

from doteval import PooledProvider

live = []


class EchoModel:
    def __init__(self, name, provider):
        self.name = name
        self.provider = provider
        self.backend = "trio" if "Trio" in current_token().backend_class.__name__ else "asyncio"
        self.is_open = True
        self._token = current_token()
        self._broken = anyio.Event()

    async def generate(self, prompt):
        assert self.is_open, "used after it was closed"
        assert current_token() == self._token, "used in another event loop"
        await checkpoint()
        return f"{self.name} on {self.backend}: {prompt}"

    def break_down(self):
        self._broken.set()

    async def _watch(self):
        await self._broken.wait()
        raise ConnectionError("the model broke down")


class EchoProvider(PooledProvider[EchoModel]):
    patterns = ("echo-*",)

    def __init__(self, *, base_url="http://echo.test", max_concurrency=None):
        super().__init__()
        self.base_url = base_url
        self.max_concurrency = max_concurrency

    @asynccontextmanager
    async def open(self, spec):
        if spec.startswith("unopenable"):
            raise OSError("nobody there")
        async with anyio.create_task_group() as group:
            model = EchoModel(spec, self)
            group.start_soon(model._watch)
            live.append(model)
            try:
                yield model
            finally:
                live.remove(model)
                model.is_open = False
                group.cancel_scope.cancel()
        if spec.startswith("unclosable"):
            raise OSError("the door is stuck")
"""

Counts = dict[str, int]


class Runs:
    """Starts pytest on what a test has written with `pytester`.

    Args:
        pytester: The directory of the run.
        monkeypatch: Sets the environment of the runs.
        forks: Where processes come from.
    """

    has_processes = False
    """Whether each run is in a process of its own."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forks: Forks) -> None:
        self.pytester = pytester
        self._forks = forks
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
            monkeypatch.delenv(name, raising=False)
        self.install("echopkg", {"echo": "echopkg:EchoProvider"}, echopkg=ECHO)

    def install(
        self, name: str, providers: dict[str, str], plugins: dict[str, str] | None = None, **modules: str
    ) -> None:
        """Install a distribution where the run finds it."""
        groups = {"doteval.model_providers": providers, "pytest11": plugins or {}}
        install(self.pytester.path, name, entry_points=groups, **modules)

    def write(self, **files: str) -> None:
        """Write Python files; a trailing part of the name after a double underscore is the directory."""
        self.pytester.makepyfile(**files)

    def run(
        self,
        *arguments: str,
        plugins: str = "anyio doteval",
        strict: bool = True,
        summary: bool = True,
        process: bool = False,
        imports: bool = False,
    ) -> pytest.RunResult:
        """Run pytest, in this process where nothing asks for another one: that takes half as long.

        With pytest-xdist it gets a process of its own, too.

        Args:
            arguments: For the command line.
            plugins: Which ones to load besides pytest's own, in this order.
            strict: Whether a warning is an error.
            summary: Whether to say ``--model-summary``.
            process: In a process of its own, which may be interrupted, or end early.
            imports: In a process that has imported nothing, for tests that look at what is imported.
        """
        loads = [argument for plugin in plugins.split() for argument in ("-p", plugin)]
        # The last one is pytest's way to say that one plugin was imported by another before it was its turn.
        errors = [*["-W", "error"] * strict, "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        command = [*loads, *errors, *["--model-summary"] * summary, *arguments]
        if imports:
            return self.pytester.runpytest_subprocess(*command)
        if process or self.has_processes or "xdist" in (*plugins.split(), *arguments):
            return self._forks.pytest(self.pytester, *command)
        self.pytester.syspathinsert()
        gc.collect()
        gc.freeze()  # what is there already is no garbage of this run, at whose end pytest collects five times
        with warnings.catch_warnings():
            warnings.resetwarnings()  # ours are errors
            return self.pytester.runpytest_inprocess(*command)


def counts(result: pytest.RunResult) -> dict[str, Counts]:
    """What the summary of a run says, by provider."""
    found: dict[str, Counts] = {}
    for line in result.outlines:
        match = re.fullmatch(
            r"(\S+): (\d+) opens, (\d+) leases, (\d+) reuses, "
            r"[\d.]+ s set-up, [\d.]+ s waited, (\d+) failures",
            line,
        )
        if match is not None:
            words = ("opens", "leases", "reuses", "failures")
            found[match[1]] = {word: int(number) for word, number in zip(words, match.groups()[1:], strict=True)}
    return found


def assert_clean(result: pytest.RunResult, **outcomes: Any) -> None:
    """The run ended with these outcomes, and nothing leaked from one event loop into another."""
    result.assert_outcomes(**outcomes)
    output = result.stdout.str() + result.stderr.str()
    for symptom in ("Event loop is closed", "different task", "ClosedResourceError", "ScopeMismatch", "INTERNALERROR"):
        assert symptom not in output
