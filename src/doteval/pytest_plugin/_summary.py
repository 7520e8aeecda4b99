"""Adds up what providers did, over all event loops and all workers of pytest-xdist, and prints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .._pool.events import ProviderStatistics
    from ..servers._local.account import Start

_KEY = "doteval_model_summary"
_STARTS_KEY = "doteval_server_starts"

Row = dict[str, float]


class Summary:
    """The counts of a run, by provider, and the servers that were started.

    Args:
        wanted: Whether to print them.
        starts: Tells which servers were started in this process.
    """

    def __init__(self, *, wanted: bool, starts: Callable[[], Sequence[Start]]) -> None:
        self._wanted = wanted
        self._own_starts = starts
        self._starts: list[str] = []
        self.rows: dict[str, Row] = {}

    def add(self, statistics: Mapping[str, ProviderStatistics]) -> None:
        """Count what the providers of one event loop did."""
        for name, counts in statistics.items():
            row: Row = {
                "opens": counts.opens,
                "leases": counts.leases,
                "reuses": counts.reuses,
                "setup_seconds": counts.setup_seconds,
                "wait_seconds": counts.wait_seconds,
                "failures": counts.open_failures + counts.close_failures + counts.losses,
            }
            self._add(name, row)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker of pytest-xdist: tell the controller."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_KEY] = self.rows
            output[_STARTS_KEY] = [_told(start) for start in self._own_starts()]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """In the controller of pytest-xdist: a worker is done, or dead."""
        output: Mapping[str, Any] = getattr(node, "workeroutput", {})
        rows: Mapping[str, Row] = output.get(_KEY, {})
        for name, row in rows.items():
            self._add(name, row)
        worker: str = getattr(getattr(node, "gateway", None), "id", "")
        self._starts += [f"{told} ({worker})" for told in output.get(_STARTS_KEY, ())]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the counts, where that was asked for."""
        if not self._wanted:
            return
        terminalreporter.section("model providers")
        for name, row in sorted(self.rows.items()):
            terminalreporter.write_line(
                f"{name}: {row['opens']:g} opens, {row['leases']:g} leases, {row['reuses']:g} reuses, "
                f"{row['setup_seconds']:.2f} s set-up, "
                f"{row['wait_seconds']:.2f} s waited, {row['failures']:g} failures"
            )
        if not self.rows:
            terminalreporter.write_line("none was used")
        starts = [*self._starts, *map(_told, self._own_starts())]
        if starts:
            terminalreporter.write_line(f"{len(starts)} server{'' if len(starts) == 1 else 's'} started:")
            for start in starts:
                terminalreporter.write_line(f"  {start}")

    def _add(self, name: str, row: Row) -> None:
        total = self.rows.setdefault(name, dict.fromkeys(row, 0.0))
        for key, value in row.items():
            total[key] += value


def _told(start: Start) -> str:
    state = "ready" if start.ready else "failed"
    return f"{start.spec} [{start.kind}]: {state} after {start.seconds:.1f} s; {start.reason}"
