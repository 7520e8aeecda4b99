"""Evaluations in pytest: each is an ordinary item, and its rows are run in the event loop of its fixtures.

Functions called ``eval_*`` are collected in the files that are for them (`files`); those that `foreach` has made, in
every file that is collected.
An evaluation is run on one event loop only, as its calls cost money. What is answered from the store sets up no
fixture, so it opens no model: that is found out before pytest sets the item up (`running`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from glob import escape
from pathlib import Path
from typing import Any, cast

import pytest

from .._fixturedefs import functions_of, marks_of, parametrised_names, visible_fixtures
from .._fixtures import Fixtures
from .._order import Order
from .._runners import Runner, neighbour_for
from .counted import Counted
from .files import EvalFiles
from .items import evaluation_of, is_evaluation, stand_in
from .options import BACKENDS, EvalOptions


class EvalCollecting:
    """The hooks.

    Args:
        config: The run's configuration.
        options: The settings of the run.
        fixtures: Our fixtures.
        order: Knows which items need a scarce model.
    """

    def __init__(self, config: pytest.Config, options: EvalOptions, fixtures: Fixtures, order: Order) -> None:
        self._config = config
        self._options = options
        self._fixtures = fixtures
        self._order = order
        self._files = EvalFiles(options.files)
        self._known: set[Path] = set()
        """The files that pytest knows to be wanted."""
        self._counted = Counted()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_file(self, file_path: Path) -> None:
        """Before pytest decides: have it collect a file for evaluations, and explain what is asserted there."""
        if file_path not in self._known and self._files.is_wanted(file_path):  # which may be asked for each named file
            self._known.add(file_path)
            self._config.addinivalue_line("python_files", escape(str(file_path)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(
        self, collector: pytest.Module | pytest.Class, name: str, obj: object
    ) -> list[pytest.Function] | None:
        """Collect evaluations, and other functions called ``eval_*`` in the files that are for them."""
        if is_evaluation(obj):
            if not _is_named(name) and not collector.istestfunction(obj, name):
                return None
            self._expect_runs()
        elif not (_is_named(name) and inspect.isfunction(obj) and self._is_meant(collector, name, obj)):
            return None
        function = cast("Callable[..., object]", obj)
        if not is_evaluation(obj) and not inspect.iscoroutinefunction(obj):
            return functions_of(collector, name, obj)
        marks = list(marks_of(collector, function))
        runner = self._neighbour(function, marks)
        if runner is None:
            pytest.mark.usefixtures("anyio_backend")(function)
        if runner == "asyncio" and is_evaluation(obj):  # it takes async functions only
            items = self._counted.functions_of(collector, name, stand_in(obj))
            for item in items:
                item.obj = stand_in(item.obj)
            return items
        items = self._counted.functions_of(collector, name, obj)
        if runner == "trio":  # as it marks what it takes for async functions itself
            for item in items:
                item.add_marker("trio")
        return items

    def _neighbour(self, function: Callable[..., object], marks: Sequence[pytest.Mark]) -> Runner | None:
        """Which neighbour runs an async function of a file for evaluations, or an evaluation."""
        runner = neighbour_for(self._config, function, marks)
        is_chosen = self._options.backend in ("", runner) or any(mark.name == runner for mark in marks)
        return runner if is_chosen else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Before pytest looks at the markers: one event loop, whatever `anyio_backend` is parametrised with."""
        item = metafunc.definition
        function = metafunc.function
        is_meant = _is_named(item.name) and self._is_meant(item, item.name, function)
        if not (is_meant or evaluation_of(item) is not None) or "anyio_backend" not in metafunc.fixturenames:
            return
        if any("anyio_backend" in parametrised_names(mark) for mark in item.iter_markers("parametrize")):
            return
        definitions = visible_fixtures("anyio_backend", item)
        if not definitions or not (definitions[-1].params or self._options.backend):
            return  # the user's fixture has chosen
        runner = self._neighbour(function, list(item.iter_markers()))
        wanted = BACKENDS[runner or self._options.backend or "asyncio"]
        known = [_as_param(param) for param in definitions[-1].params or ()]
        choice = [param for param in known if param.values == (wanted,)]
        if not choice and not self._options.backend:
            choice = known
        chosen = choice[0] if choice else pytest.param(wanted)
        value = pytest.param(*chosen.values, marks=chosen.marks, id=pytest.HIDDEN_PARAM)
        scope = definitions[-1].scope
        item.add_marker(pytest.mark.parametrize("anyio_backend", [value], indirect=True, scope=scope))

    def _is_meant(self, node: pytest.Collector | pytest.Item, name: str, function: Callable[..., object]) -> bool:
        """Whether a function called ``eval_*`` is an evaluation; elsewhere it may be anything."""
        if self._files.is_wanted(node.path):
            return True
        if not self._files.is_named(node):
            return False
        is_named = any(name in argument.split("::")[1:] for argument in self._config.args)
        return is_named or not self._fixtures.functions.keys().isdisjoint(inspect.signature(function).parameters)

    def _expect_runs(self) -> None:
        """There are evaluations: have what runs them take part."""
        manager, name = self._config.pluginmanager, "doteval-eval-running"
        if not manager.has_plugin(name):
            from .preload import Preload  # noqa: PLC0415
            from .running import EvalRunning  # noqa: PLC0415 - all that it imports is there, as there is an evaluation
            from .termination import Termination, WorkerTermination  # noqa: PLC0415

            is_worker = hasattr(self._config, "workerinput")
            manager.register(WorkerTermination() if is_worker else Termination(), "doteval-termination")
            preload = Preload(self._order)
            manager.register(preload, "doteval-preload")
            manager.register(self._counted, "doteval-counted")
            manager.register(EvalRunning(self._config, self._options, self._fixtures, preload), name)


def _is_named(name: str) -> bool:
    return name.startswith("eval_")


def _as_param(value: object) -> Any:
    """What `pytest.param` makes, which is also what a fixture's parameters may be."""
    return value if isinstance(value, type(pytest.param())) else pytest.param(value)
