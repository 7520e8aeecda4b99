"""The model servers of a run: started once, kept warm until its end, their output with the tests that fail.

Providers come and go with the event loops of modules and tests; a server takes too long to start for that. So one
launcher serves the whole run. Besides the leases of its fixtures it keeps a hold on every server that was used.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ._options import Options

if TYPE_CHECKING:
    from ..servers._local.account import Start
    from ..servers._local.launcher import LocalLauncher

_PATIENCE = 20.0
"""How long the end of the run waits for the servers that end with it, in seconds."""
_STAY = 30.0
"""How long tests that need another server wait for those that use this one, test after test, in seconds."""
_SHOWN = 8192
"""How much of a server's output is shown with a test that fails, in bytes."""


class _Waits(logging.Handler):
    """Shows who waits for a slot, and for whom, while the test does: its own log is shown when it has ended.

    Args:
        manager: Knows the terminal, where there is one.
    """

    def __init__(self, manager: pytest.PytestPluginManager) -> None:
        super().__init__(logging.WARNING)
        self._manager = manager

    def emit(self, record: logging.LogRecord) -> None:
        """Print it on lines of its own."""
        terminal: pytest.TerminalReporter | None = self._manager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"doteval: {record.getMessage()}")


class Servers:
    """The hooks, and the launcher.

    Args:
        config: The run's configuration.
        options: The settings of the run.
    """

    def __init__(self, config: pytest.Config, options: Options) -> None:
        self._options = options
        self._manager = config.pluginmanager
        self._run = _run_id(config)
        self._launcher: LocalLauncher | None = None
        self._read: dict[tuple[int, int], int] = {}  # how long each log was when the test began, by device and inode

    def launcher(self) -> LocalLauncher:
        """What starts servers; made when the first provider asks for it. From then on the hooks take part."""
        if self._launcher is None:
            self._manager.register(self, "doteval-servers")
            logging.getLogger("doteval.servers").addHandler(_Waits(self._manager))
            from ..servers._local.launcher import LocalLauncher  # noqa: PLC0415 - only where a test needs a server

            share = {"user": "user", "run": f"run {self._run}", "off": f"process {secrets.token_hex(8)}"}
            self._launcher = LocalLauncher(
                share=share[self._options.server_share],
                keeps=True,
                remember_failures=float("inf"),
                stay_seconds=_STAY,
            )
        return self._launcher

    def starts(self) -> list[Start]:
        """What was started in this process."""
        return [] if self._launcher is None else self._launcher.starts

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Remember how much each server has printed before the test."""
        self._read = {identity: size for _, identity, size in self._logs()}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to the report of a failure what the servers have printed since."""
        report = yield
        if report.failed:
            for path, identity, size in self._logs():
                before = self._read.get(identity, 0)
                if size > before:
                    report.sections.append((f"Output of the model server {path.stem}", _tail(path, before, size)))
        return report

    def pytest_keyboard_interrupt(self) -> None:
        """The run ends, or hangs: anyio's runner for trio does when it is interrupted twice. Servers end anyway."""
        if self._launcher is not None:
            self._launcher.abandon()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """When all fixtures are finalised, let go of the servers, and wait for those that end.

        Before that where a second Ctrl-C has come before the first one was told: the finalisers may hang.
        """
        if isinstance(sys.exception(), KeyboardInterrupt):
            self.pytest_keyboard_interrupt()
        result = yield
        if self._launcher is not None:
            self._launcher.close(_PATIENCE)
            logger = logging.getLogger("doteval.servers")
            for handler in logger.handlers[:]:
                if isinstance(handler, _Waits):
                    logger.removeHandler(handler)
        return result

    def _logs(self) -> list[tuple[Path, tuple[int, int], int]]:
        found: list[tuple[Path, tuple[int, int], int]] = []
        logs: Iterable[Path] = () if self._launcher is None else self._launcher.logs
        for path in logs:
            try:
                status = path.stat()
            except OSError:
                continue  # the server has ended well
            found.append((path, (status.st_dev, status.st_ino), status.st_size))
        return found


def _tail(path: Path, start: int, end: int) -> str:
    with path.open("rb") as file:
        file.seek(max(start, end - _SHOWN))
        text = file.read(end - file.tell()).decode("utf-8", "replace")
    return text if end - start <= _SHOWN else f"[...]{text}"


def _run_id(config: pytest.Config) -> str:
    """The same in all workers of one run of pytest-xdist."""
    workerinput: dict[str, Any] = getattr(config, "workerinput", {})
    return str(workerinput.get("testrunuid") or os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(8))
