"""Evaluations in pytest: each is an ordinary item, and its rows are run in the event loop of its fixtures.

Functions called ``eval_*`` are collected in files called ``eval_*.py``; those that `foreach` has made, in every file.
An evaluation is run on one event loop only, as its calls cost money. What is answered from the store sets up no
fixture, so it opens no model: that is found out before pytest sets the item up.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, cast

import pytest

from ._eval_options import BACKENDS, EvalOptions, tell_worker
from ._eval_progress import Display, NoDisplay, moving_display, plain_display
from ._fixturedefs import functions_of, parametrised_names, visible_fixtures
from ._fixtures import Fixtures
from ._leased import LEASED
from ._preload import Preload

if TYPE_CHECKING:
    from ..evals import Evaluation, Outcome, Store
    from ..evals._engine import Progress
    from ..evals._run import Place, Settings

_FILES = "eval_*.py"
_NAME = "doteval_evaluation"
"""The property of a report that says which evaluation it is about."""


class Evals:
    """The hooks.

    Args:
        config: The run's configuration.
        options: The settings of the run.
        fixtures: Our fixtures.
        preload: Loads the model of the next item.
    """

    def __init__(self, config: pytest.Config, options: EvalOptions, fixtures: Fixtures, preload: Preload) -> None:
        self._config = config
        self._options = options
        self._fixtures = fixtures
        self._preload = preload
        self._store: Store | None = None
        self._answers: dict[pytest.Item, Outcome] = {}
        self._names: list[str] = []
        config.addinivalue_line("python_files", _FILES)

    # ---------------------------------------------------------------- collecting

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(
        self, collector: pytest.Module | pytest.Class, name: str, obj: object
    ) -> list[pytest.Function] | None:
        """Collect evaluations, and other functions called ``eval_*`` in the files that are for them."""
        if _is_evaluation(obj):
            if not _is_named(name) and not collector.istestfunction(obj, name):
                return None
        elif not (_is_named(name) and _is_file_of_evaluations(collector) and inspect.isfunction(obj)):
            return None
        if _is_evaluation(obj) or inspect.iscoroutinefunction(obj):
            pytest.mark.usefixtures("anyio_backend")(cast("Callable[..., object]", obj))
        return functions_of(collector, name, obj)

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Before pytest looks at the markers: one event loop, whatever `anyio_backend` is parametrised with."""
        item = metafunc.definition
        is_ours = _is_evaluation(metafunc.function) or (_is_file_of_evaluations(item) and _is_named(item.name))
        if not is_ours or "anyio_backend" not in metafunc.fixturenames:
            return
        if any("anyio_backend" in parametrised_names(mark) for mark in item.iter_markers("parametrize")):
            return
        definitions = visible_fixtures("anyio_backend", item)
        if not definitions or not (definitions[-1].params or self._options.backend):
            return  # the user's fixture has chosen
        wanted = BACKENDS[self._options.backend or "asyncio"]
        choice: list[object] = [known for known in definitions[-1].params or () if known == wanted]
        if not choice and not self._options.backend:
            choice = list(definitions[-1].params or ())
        value = pytest.param(choice[0] if choice else wanted, id=pytest.HIDDEN_PARAM)
        scope = definitions[-1].scope
        item.add_marker(pytest.mark.parametrize("anyio_backend", [value], indirect=True, scope=scope))

    # ---------------------------------------------------------------- running

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before the fixtures are set up: is there anything to run?"""
        if isinstance(item, pytest.Function) and self._is_answered(item):
            item.fixturenames = []

    def _is_answered(self, item: pytest.Function) -> bool:
        """Whether there is nothing to run; then its answer is kept. Blocks."""
        evaluation = _evaluation_of(item)
        if evaluation is None or item in self._answers:
            return evaluation is not None
        from ..evals._run import answered  # noqa: PLC0415 - it is imported already, by the evaluation

        answer = answered(evaluation, self._place(item), self._settings())
        if answer is not None:
            self._answers[item] = answer
        return answer is not None

    @pytest.hookimpl(specname="pytest_pyfunc_call", tryfirst=True)
    def pytest_pyfunc_call_from_store(self, pyfuncitem: pytest.Function) -> bool | None:
        """There is nothing to run."""
        answer = self._answers.pop(pyfuncitem, None)
        if answer is None:
            return None
        self._end(pyfuncitem, answer)
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Give anyio's plugin an async function that runs the rows."""
        evaluation = _evaluation_of(pyfuncitem)
        if evaluation is None or pyfuncitem in self._answers:
            return (yield)
        outcomes: list[Outcome] = []

        async def evaluate(**values: Any) -> None:
            outcomes.append(await self._run(pyfuncitem, evaluation, values))

        before = pyfuncitem.obj
        pyfuncitem.obj = evaluate
        try:
            result = yield
        except Exception as exc:
            from ..evals import DatasetError  # noqa: PLC0415

            if isinstance(exc, DatasetError):
                pytest.fail(str(exc), pytrace=False)
            raise
        finally:
            pyfuncitem.obj = before
        self._end(pyfuncitem, outcomes[0])
        return result

    async def _run(self, item: pytest.Function, evaluation: Evaluation, values: Mapping[str, Any]) -> Outcome:
        from ..evals._arguments import Lease, LeasedArguments  # noqa: PLC0415
        from ..evals._engine import Progress  # noqa: PLC0415
        from ..evals._run import run_rows  # noqa: PLC0415

        held = {
            name: leased
            for name, leased in item.stash.setdefault(LEASED, {}).items()
            if name in values and values[name] is leased.model
        }
        leases = {name: Lease(leased.setup, leased.handle) for name, leased in held.items()}
        progress, place = Progress(), self._place(item)

        async def drain() -> None:
            for leased in held.values():
                await self._preload.next_model(item, leased.providers, self._is_answered)

        try:
            with self._display(place.name, progress) as display:
                return await run_rows(
                    evaluation,
                    LeasedArguments(values, leases),
                    self._settings(),
                    place,
                    name=place.name,
                    progress=progress,
                    tell=display.update,
                    drain=drain,
                )
        finally:
            for name, leased in held.items():
                leased.handle = leases[name].handle  # the fixture tears it down

    def _end(self, item: pytest.Function, outcome: Outcome) -> None:
        """Report it, and fail where it has failed."""
        summary = outcome.summary
        item.user_properties += [(_NAME, outcome.name), ("rows", summary.rows), ("errors", summary.errors)]
        item.user_properties += [(f"score {name}", score.mean) for name, score in summary.scores.items()]
        for warning in outcome.warnings:
            item.warn(pytest.PytestWarning(warning))
        if summary.errors > self._options.max_errors:
            error = outcome.error(self._options.max_errors)
            pytest.fail(str(error).replace("(max_errors)", "(--eval-max-errors)"), pytrace=False)

    def _place(self, item: pytest.Function) -> Place:
        from ..evals import Store  # noqa: PLC0415
        from ..evals._run import Place  # noqa: PLC0415

        if self._store is None:
            self._store = Store(self._options.store)
        # pytest-xdist adds the group to the id of an item.
        parent = "" if item.parent is None else item.parent.nodeid
        return Place(self._store, self._options.experiment, f"{parent}::{item.name}", self._model(item))

    def _model(self, item: pytest.Function) -> str:
        """The spec of the model that an item is parametrised with."""
        callspec = getattr(item, "callspec", None)
        params: Mapping[str, Any] = {} if callspec is None else callspec.params
        for name, value in params.items():
            if isinstance(value, str) and name in self._fixtures.functions and name.endswith("_client"):
                return value
        return ""

    def _settings(self) -> Settings:
        from ..evals._engine import Attempts  # noqa: PLC0415
        from ..evals._run import Settings  # noqa: PLC0415

        options = self._options
        return Settings(
            concurrency=options.concurrency,
            max_errors=options.max_errors,
            attempts=Attempts(lost=options.retries),
            fresh=options.fresh,
            # What ends a test here ends its row only.
            failures=(Exception, pytest.fail.Exception, pytest.skip.Exception),
        )

    def _display(self, name: str, progress: Progress) -> AbstractContextManager[Display]:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or reporter.verbosity < 0 or hasattr(self._config, "workerinput"):
            return nullcontext(NoDisplay())
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        shown = nullcontext if capture is None else capture.global_and_fixture_disabled
        return (moving_display if reporter.isatty else plain_display)(name, progress, shown)

    # ---------------------------------------------------------------- reporting

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """In the controller of pytest-xdist: all workers keep results under the same name."""
        tell_worker(node, self._options)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember which evaluations have ended, whichever process ran them."""
        if report.when == "call":
            self._names += [str(value) for name, value in report.user_properties if name == _NAME]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """All rows are committed before the run says that it is done."""
        if self._store is not None:
            self._store.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what the evaluations of this run say."""
        if not self._names:
            return
        from ..evals import Store  # noqa: PLC0415
        from ..evals._tables import summary_lines  # noqa: PLC0415

        store, experiment = Store(self._options.store), self._options.experiment
        names = set(self._names)
        rows = [
            (stored.name, store.summary(stored)) for stored in store.evaluations(experiment) if stored.name in names
        ]
        terminalreporter.section("evaluations")
        for line in summary_lines(rows):
            terminalreporter.write_line(line)
        terminalreporter.write_line("")
        again = "" if self._options.is_named else f"; go on with it: --eval-experiment {experiment}"
        terminalreporter.write_line(f"Look at them: doteval show {experiment}{again}")


def _is_named(name: str) -> bool:
    return name.startswith("eval_")


def _is_file_of_evaluations(node: pytest.Collector | pytest.Item) -> bool:
    return fnmatch(node.path.name, _FILES)


def _is_evaluation(obj: object) -> bool:
    """Whether `foreach` has made it; where that was never imported, nothing is."""
    module = sys.modules.get("doteval.evals")
    return module is not None and isinstance(obj, module.Evaluation)


def _evaluation_of(item: pytest.Item) -> Evaluation | None:
    obj = item.obj if isinstance(item, pytest.Function) else None
    return cast("Evaluation", obj) if _is_evaluation(obj) else None
