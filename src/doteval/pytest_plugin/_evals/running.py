"""Runs evaluations: the rows of each, in the event loop of its fixtures, or answers them from the store.

Registered when the first evaluation is collected, so that runs without any pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from ...evals import Evaluation, Outcome, Store
from ...evals._running.arguments import Lease, LeasedArguments
from ...evals._running.engine import Attempts, Progress
from ...evals._running.missing import Place, Settings, answered, run_rows
from .._fixtures import Fixtures
from .._leased import LEASED
from .items import evaluation_of
from .options import NAME, EvalOptions
from .preload import Preload
from .progress import Display, NoDisplay, moving_display, plain_display

_ENDS = (KeyboardInterrupt, pytest.exit.Exception)
"""What ends the whole run of pytest; what ends a test otherwise ends its row only."""


class EvalRunning:
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

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before the fixtures are set up: is there anything to run?"""
        if isinstance(item, pytest.Function) and self._is_answered(item):
            item.fixturenames = []

    def _is_answered(self, item: pytest.Function) -> bool:
        """Whether there is nothing to run; then its answer is kept. Blocks."""
        evaluation = evaluation_of(item)
        if evaluation is None or item in self._answers:
            return evaluation is not None
        answer = answered(evaluation, self._place(item), self._settings())
        if answer is not None:
            self._answers[item] = answer
        return answer is not None

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """There is nothing to run."""
        return True if pyfuncitem in self._answers else None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Before a plugin looks at the function that it is going to run: give it an async one that runs the rows."""
        evaluation = evaluation_of(item)
        if evaluation is None or not isinstance(item, pytest.Function):
            return (yield)
        function, place = item, self._place(item)
        item.user_properties.append((NAME, place.name))  # also of one that raises
        outcomes: list[Outcome] = []
        ending: list[BaseException] = []

        async def evaluate(**values: Any) -> None:
            try:
                outcomes.append(await self._run(function, evaluation, values))
            except _ENDS as exc:
                ending.append(exc)  # on its way through an event loop it would leave traces of a crash

        before = item.obj
        item.obj = evaluate
        try:
            result = yield
        finally:
            item.obj = before
        if ending:
            raise ending[0]
        self._end(item, outcomes[0] if outcomes else self._answers.pop(item))
        return result

    async def _run(self, item: pytest.Function, evaluation: Evaluation, values: Mapping[str, Any]) -> Outcome:
        leased_models = item.stash.setdefault(LEASED, {}).values()
        held = {name: leased for name, value in values.items() for leased in leased_models if value is leased.model}
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
        item.user_properties += [("rows", summary.rows), ("errors", summary.errors)]
        item.user_properties += [(f"score {name}", score.mean) for name, score in summary.scores.items()]
        for warning in outcome.warnings:
            item.warn(pytest.PytestWarning(warning))
        if summary.errors > self._options.max_errors:
            raise outcome.error(self._options.max_errors)

    def _place(self, item: pytest.Function) -> Place:
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
        options = self._options
        return Settings(
            concurrency=options.concurrency,
            max_errors=options.max_errors,
            attempts=Attempts(lost=options.retries, patience=options.patience),
            fresh=options.fresh,
            ends=_ENDS,  # what ends a test otherwise ends its row only
        )

    def _display(self, name: str, progress: Progress) -> AbstractContextManager[Display]:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or reporter.verbosity < 0 or hasattr(self._config, "workerinput"):
            return nullcontext(NoDisplay())
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        shown = nullcontext if capture is None else capture.global_and_fixture_disabled
        return (moving_display if reporter.isatty else plain_display)(name, progress, shown)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """All rows are committed before the run says that it is done."""
        if self._store is not None:
            self._store.close()
