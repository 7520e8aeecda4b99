"""The table at the end of a run: what its evaluations say."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from .options import CACHE_COUNTS, NAME, EvalOptions, tell_worker

if TYPE_CHECKING:
    from ...evals import Stored


class EvalSummary:
    """The hooks.

    Args:
        options: The settings of the run.
    """

    def __init__(self, options: EvalOptions) -> None:
        self._options = options
        self._is_interrupted = False

    def pytest_keyboard_interrupt(self) -> None:
        """The user, or a row, has ended the run."""
        self._is_interrupted = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """In the controller of pytest-xdist: all workers keep results under the same name."""
        tell_worker(node, self._options)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """In the controller of pytest-xdist: workers are going to run evaluations, as far as names tell."""
        if not any(each.rpartition("::")[2].startswith("eval_") for each in ids):
            return
        from .termination import WorkersTermination  # noqa: PLC0415 - nobody else pays for it

        manager, name = node.config.pluginmanager, "doteval-termination"
        termination = manager.get_plugin(name)
        if termination is None:
            termination = WorkersTermination()
            manager.register(termination, name)
            termination.begin()
        termination.watch(node)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what the evaluations of this run say."""
        reports = [report for found in terminalreporter.stats.values() for report in found]
        names = {value for report in reports for name, value in getattr(report, "user_properties", ()) if name == NAME}
        # Of what a worker of pytest-xdist crashed at there is no more than the id, which may end with a group.
        crashed = [report.nodeid for report in reports if getattr(report, "when", None) == "???"]
        if not (names or crashed) and not (self._is_interrupted and self._options.store.exists()):
            return
        from ..._hints import command_line, quoted  # noqa: PLC0415
        from ..._printed import in_a_line, printable  # noqa: PLC0415
        from ..._tables import Table  # noqa: PLC0415 - nobody else pays for what draws it
        from ...evals import Store, StoreError  # noqa: PLC0415
        from ...evals._results.tables import HEAD, NUMBERS, summary_rows  # noqa: PLC0415
        from ...evals._running.selection import Selection  # noqa: PLC0415

        options, experiment = self._options, self._options.experiment
        suffix = Selection(options.limit, options.sample, options.seed, options.row).suffix
        names |= {f"{each}{suffix}" for node in crashed for each in (node, node.rpartition("@")[0])}
        try:
            with Store(options.store).snapshot() as results:
                found = [
                    stored for stored in results.evaluations(experiment) if stored.name in names or self._is_interrupted
                ]
                rows = summary_rows((stored.name, results.summary(stored)) for stored in found)
        except StoreError as exc:
            terminalreporter.section("evaluations")
            terminalreporter.write_line(printable(str(exc)))
            return
        if not found:
            return
        width = shutil.get_terminal_size().columns if terminalreporter.isatty else None
        terminalreporter.section("evaluations")
        for text in Table(rows, HEAD, right=NUMBERS).texts(width, styled=terminalreporter.hasmarkup):
            terminalreporter.write_line(text)
        terminalreporter.write_line("")
        for line in self._cached(terminalreporter):
            terminalreporter.write_line(line)
        missing = [line for line in map(self._missing, found) if line]
        for line in missing:
            terminalreporter.write_line(in_a_line(line))
        name = quoted(experiment)
        again = f"; go on with it: --doteval-eval-experiment{'=' if name.startswith('-') else ' '}{name}"
        if self._is_interrupted:
            terminalreporter.write_line(f"Interrupted: what is done is kept{again}")
        again = "" if self._is_interrupted or (self._options.is_named and not missing) else again
        directory = terminalreporter.config.invocation_params.dir
        look = command_line("show", experiment, option="--store", file=options.store, directory=directory)
        terminalreporter.write_line(f"Look at them: {look}{again}")

    def _cached(self, terminalreporter: pytest.TerminalReporter) -> list[str]:
        """What the cache of replies answered in this run."""
        reports = [report for found in terminalreporter.stats.values() for report in found]
        called = [report for report in reports if getattr(report, "when", None) == "call"]  # else each counts twice
        told = [each for report in called for each in report.user_properties]
        answered, sent, saved = (sum(count for name, count in told if name == each) for each in CACHE_COUNTS)
        if not any(name in CACHE_COUNTS for name, _ in told):
            return []
        requests = f"{answered:,} of {answered + sent:,} requests, which saved {saved:,} tokens"
        return [f"The cache of replies answered {requests}"]

    def _missing(self, stored: Stored) -> str:
        """What the next run has to do, where there is something."""
        noun = "row" if stored.epochs == 1 else "sample"
        again = stored.errors if stored.errors > self._options.max_errors else 0
        failed = f"{noun} that failed" if again == 1 else f"{again:,} {noun}s that failed"
        told = f"the next run tries the {failed} again, unless --eval-max-errors allows for {again:,}" if again else ""
        if stored.finished is not None:
            return told and f"{stored.name}: {told}"
        kept = stored.stored - again
        what = f"1 {noun} is" if kept == 1 else f"{kept:,} {noun}s are" if kept else f"no {noun} is"
        return f"{stored.name} is not finished: {what} kept{told and f', and {told}'}"
