"""Adds up what providers did, over all event loops and all workers of pytest-xdist, and prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .._pool._events import ProviderStatistics

_KEY = "doteval_model_summary"

Row = dict[str, float]


class Summary:
    """The counts of a run, by provider.

    Args:
        wanted: Whether to print them.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self.rows: dict[str, Row] = {}

    def add(self, statistics: Mapping[str, ProviderStatistics]) -> None:
        """Count what the providers of one event loop did."""
        for name, counts in statistics.items():
            row: Row = {
                "opens": counts.opens,
                "leases": counts.leases,
                "reuses": counts.reuses,
                "setup_seconds": counts.setup_seconds,
                "failures": counts.open_failures + counts.close_failures + counts.losses,
            }
            self._add(name, row)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker of pytest-xdist: tell the controller."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_KEY] = self.rows

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """In the controller of pytest-xdist: a worker is done, or dead."""
        output: Mapping[str, Any] = getattr(node, "workeroutput", {})
        rows: Mapping[str, Row] = output.get(_KEY, {})
        for name, row in rows.items():
            self._add(name, row)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the counts, where that was asked for."""
        if not self._wanted:
            return
        terminalreporter.section("model providers")
        for name, row in sorted(self.rows.items()):
            terminalreporter.write_line(
                f"{name}: {row['opens']:g} opens, {row['leases']:g} leases, {row['reuses']:g} reuses, "
                f"{row['setup_seconds']:.2f} s set-up, {row['failures']:g} failures"
            )
        if not self.rows:
            terminalreporter.write_line("none was used")

    def _add(self, name: str, row: Row) -> None:
        total = self.rows.setdefault(name, dict.fromkeys(row, 0.0))
        for key, value in row.items():
            total[key] += value
