"""Runs evaluations: the rows of each, in the event loop of its fixtures, or answers them from the store.

Registered when the first evaluation is collected, so that runs without any pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import pytest
from anyio import to_thread

from ... import DotevalError, ReplyCache
from ...evals import Evaluation, GateError, Outcome, Store, StoreError
from ...evals._results.identity import ASSERTIONS, COUNTED, OWN_FILE, PARAMETER, Identity
from ...evals._results.tables import scores_of
from ...evals._running.arguments import Lease, LeasedArguments
from ...evals._running.checks import unused_baseline
from ...evals._running.dataset import Source
from ...evals._running.depends import contents_of, files_of, fingerprints, identity_of
from ...evals._running.engine import Progress
from ...evals._running.files_read import FilesRead
from ...evals._running.missing import answered, out_of_reach, run_rows
from ...evals._running.selection import Selection
from ...evals._running.settings import Place, Settings
from ...evals._running.telling import tell
from .._fixturedefs import ask_for_all, set_up_only, set_up_others
from .._fixtures import Fixtures
from .._leased import LEASED
from .counted import counted_of
from .data import (
    asked_by,
    asked_in,
    assertions_of,
    data_fixtures,
    definitions_for,
    is_of_the_user,
    place_of,
    told_by_request,
)
from .ending import ENDS, Ending
from .items import evaluation_of, params_of
from .options import CACHE_COUNTS, NAME, EvalOptions
from .preload import Preload
from .progress import Display, NoDisplay, moving_display, plain_display
from .termination import Termination


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
        self._selection = Selection(options.limit, options.sample, options.seed, options.row, options.shuffle)
        self._selections: dict[Source, Selection] = {}
        self._cache: ReplyCache | Literal["off"] | None = "off" if options.cache == "off" else None
        if options.cache is not None and options.cache != "off":
            self._cache = ReplyCache(options.store.with_name("replies.db"), options.cache)
        self._store: Store | None = None
        self._answers: dict[pytest.Item, Outcome] = {}
        self._places: dict[pytest.Item, Place] = {}
        self._data: dict[pytest.Item, Identity] = {}
        """What these gave, as fingerprints."""
        self._identities: dict[pytest.Item, Identity] = {}
        self._unknown: dict[pytest.Item, BaseException] = {}
        """Why it is not known what these depend on."""
        self._files: dict[pytest.FixtureDef[Any], FilesRead] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Before anything is run, which may leave its traces in modules and classes."""
        for item in session.items:
            evaluation = evaluation_of(item)
            if evaluation is None or not isinstance(item, pytest.Function):
                continue
            try:
                self._identities[item] = self._identity(item, evaluation)
            except ENDS:
                raise
            except BaseException as exc:  # what code says that is looked at, or ours: it is that item's failure
                self._unknown[item] = exc

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> list[str]:
        """Say that nobody compares with the baseline, as of a name or a gate that is misspelt."""
        evaluations = [found for item in items if (found := evaluation_of(item)) is not None]
        gates = [*self._options.gates, *(gate for each in evaluations for gate in each.gates)]
        unused = unused_baseline(self._options.baseline, gates) if evaluations else ""
        return [f"--doteval-eval-baseline: {unused}"] if unused else []

    @pytest.hookimpl(specname="pytest_runtest_setup", wrapper=True)
    def pytest_runtest_setup_around(self, item: pytest.Item) -> Generator[None, object, object]:
        """Whatever comes of it, the item may be set up again."""
        __tracebackhide__ = True
        try:
            return (yield)
        finally:
            if isinstance(item, pytest.Function):
                ask_for_all(item)

    @pytest.hookimpl(specname="pytest_runtest_setup", tryfirst=True)
    def pytest_runtest_setup_first(self, item: pytest.Item) -> None:
        """Before the fixtures are set up: is there anything to run? Those that give data are set up to know."""
        evaluation = evaluation_of(item)
        if not isinstance(item, pytest.Function) or evaluation is None:
            return
        data = data_fixtures(item, self._fixtures.functions)
        if evaluation.declared.paths:  # since the model before was loaded, they may have changed
            self._answers.pop(item, None)
        if data or self._is_answered(item):
            set_up_only(item, data)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """When those that give data are set up: the others, where there is anything to run."""
        evaluation = evaluation_of(item)
        if evaluation is None or not isinstance(item, pytest.Function) or item in self._answers:
            return
        if not ask_for_all(item):
            return
        self._data[item] = self._given(item, evaluation)
        self._places.pop(item, None)
        if not self._is_answered(item):
            set_up_others(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Note which files are read for a fixture of the user's; what is made of them may not be looked at."""
        __tracebackhide__ = True
        if not is_of_the_user(fixturedef):
            return (yield)
        # Of each set-up its own: that of another parameter, of it or of what it builds on, may read other files.
        files = self._files[fixturedef] = files_of(fixturedef.func, before=self._files.get(fixturedef))
        with files.watching_all():
            return (yield)

    def _files_of_fixtures(self, item: pytest.Function, evaluation: Evaluation) -> list[FilesRead]:
        data = {*data_fixtures(item, self._fixtures.functions)}  # what these give is known
        needed = definitions_for(item, evaluation)
        found = [each for name, definitions in needed.items() if name not in data for each in definitions]
        return [self._files[each] for each in found if each in self._files]

    def _given(self, item: pytest.Function, evaluation: Evaluation) -> Identity:
        data = data_fixtures(item, self._fixtures.functions)
        given = {f"what the fixture '{name}' gives": item.funcargs[name] for name in data if name in item.funcargs}
        return fingerprints(evaluation, given)

    def _look_again(self, item: pytest.Function, evaluation: Evaluation) -> Identity:
        return {**self._identity(item, evaluation), **self._given(item, evaluation)}

    def _is_answered(self, item: pytest.Function) -> bool:
        """Whether there is nothing to run; then its answer is kept. Blocks."""
        evaluation = evaluation_of(item)
        if evaluation is None or item in self._answers:
            return evaluation is not None
        answer = answered(evaluation, self._place(item, evaluation), self._settings(evaluation))
        if answer is not None:
            self._answers[item] = answer
        return answer is not None

    def _needs_no_model(self, item: pytest.Function) -> bool:
        """Whether an item that is yet to come is answered, or refused, as far as that is known by now. Blocks."""
        if item in self._unknown:  # it says so when its turn comes
            return True
        try:
            return not data_fixtures(item, self._fixtures.functions) and self._is_answered(item)
        except DotevalError:
            return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """There is nothing to run."""
        return True if pyfuncitem in self._answers else None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Before a plugin looks at the function that it is going to run: give it an async one that runs the rows."""
        __tracebackhide__ = True
        evaluation = evaluation_of(item)
        if evaluation is None or not isinstance(item, pytest.Function):
            return (yield)
        function, place = item, self._place(item, evaluation)
        item.user_properties.append((NAME, place.name))  # also of one that raises
        outcomes: list[Outcome] = []
        ending = Ending()
        termination: Termination | None = self._config.pluginmanager.get_plugin("doteval-termination")

        async def evaluate(**values: Any) -> None:
            with ending.around():
                outcomes.append(await self._run(function, evaluation, values, ending))

        before = item.obj
        item.obj = evaluate
        try:
            with nullcontext() if termination is None else termination.ends(ending):
                result = yield
        except BaseException as exc:
            if (error := ending.raised_for(exc)) is exc:
                raise
            raise error from None
        finally:
            item.obj = before
            ending.leave()
        if ending.error is not None:
            raise ending.error
        self._end(item, outcomes[0] if outcomes else self._answers.pop(item))
        return result

    async def _run(
        self, item: pytest.Function, evaluation: Evaluation, values: Mapping[str, Any], ending: Ending
    ) -> Outcome:
        known = item.stash.setdefault(LEASED, {})
        held = {
            name: leased
            for name, value in values.items()
            for _, leased in sorted(known.items(), key=lambda each: each[0] == name)  # its own counts, the last
            if value is leased.model
        }
        leases = {name: Lease(leased.setup, leased.handle) for name, leased in held.items()}
        progress, place = Progress(), self._place(item, evaluation)

        async def drain() -> None:
            for leased in held.values():
                await self._preload.next_model(item, leased.providers, self._needs_no_model)

        settings = self._settings(evaluation)
        unmet = await to_thread.run_sync(out_of_reach, evaluation, place, settings) if settings.baseline else ""
        if unmet:
            raise GateError(place.name, (unmet,))
        try:
            with self._display(place.name, progress) as display:
                return await run_rows(
                    evaluation,
                    LeasedArguments(values, leases),
                    settings,
                    place,
                    name=place.name,
                    progress=progress,
                    tell=display.update,
                    drain=drain,
                    is_left=lambda: ending.has_come,
                )
        finally:
            for name, leased in held.items():
                leased.handle = leases[name].handle  # the fixture tears it down

    def _end(self, item: pytest.Function, outcome: Outcome) -> None:
        """Report it, and fail where it has failed."""
        summary = outcome.summary
        item.user_properties += [("rows", summary.rows), ("errors", summary.errors)]
        item.user_properties += [(f"score {name}", score.mean) for name, score in scores_of(summary)]
        if outcome.cache is not None:
            item.user_properties += [(name, count_of(outcome.cache)) for name, count_of in CACHE_COUNTS.items()]
        path, line, _ = item.location
        tell(outcome, self._options.max_errors, item.warn, (path, (line or 0) + 1))

    def _place(self, item: pytest.Function, evaluation: Evaluation) -> Place:
        if item in self._unknown:
            raise self._unknown[item]
        if item not in self._places:
            if self._store is None:
                self._store = Store(self._options.store)
            # pytest-xdist adds the group to the id of an item.
            parent = "" if item.parent is None else item.parent.nodeid
            models = self._models(item)
            self._places[item] = Place(
                self._store,
                self._options.experiment,
                f"{parent}::{item.name}{self._selected(evaluation).suffix}",
                models.get("model_client") or next(iter(models.values()), ""),
                {**(self._identities.get(item) or self._identity(item, evaluation)), **self._data.get(item, {})},
                partial(self._look_again, item, evaluation),
                files_of(evaluation.function, partial(self._files_of_fixtures, item, evaluation)),
                contents_of(evaluation, evaluation.declared, self._options.store),
            )
        return self._places[item]

    def _selected(self, evaluation: Evaluation) -> Selection:
        """Which rows are run; one that has an id is called by it. Blocks."""
        source = evaluation.source
        if source not in self._selections:
            self._selections[source] = self._selection.named(source)
        return self._selections[source]

    def _models(self, item: pytest.Function) -> dict[str, str]:
        """The specs of the models that an item is parametrised with, by fixture."""
        return {
            name: value
            for name, value in params_of(item).items()
            if isinstance(value, str) and name in self._fixtures.functions and name.endswith("_client")
        }

    def _identity(self, item: pytest.Function, evaluation: Evaluation) -> Identity:
        """What the results of an item depend on, as far as it is known before its fixtures are set up."""
        models, needed = self._models(item), definitions_for(item, evaluation)
        own = [(name, each) for name, found in sorted(needed.items()) for each in found if is_of_the_user(each)]
        requested = {
            *item._fixtureinfo.argnames,
            *asked_in(evaluation.function, item),
            *(name for _, each in own for name in asked_by(each, item)),
        }
        providers = self._fixtures.provider_identities(requested)
        found = identity_of(
            evaluation,
            models={
                **{
                    "the model" if len(models) == 1 else f"the model of {name}": self._fixtures.identity(name, spec)
                    for name, spec in models.items()
                },
                **{f"the provider {name}": settings for name, settings in providers.items()},
            },
            values=[
                (f"{PARAMETER}{name}'", value)
                for name, value in params_of(item).items()
                if name not in models and name != "anyio_backend"
            ],
            functions=[(f"the fixture '{name}'", each.func) for name, each in own if name != "anyio_backend"],
            where_read=told_by_request(item),
        )
        place = place_of(item.path, self._config.rootpath)
        counted = {COUNTED: f"={','.join(names)}"} if (names := counted_of(item)) else {}
        return {**found, ASSERTIONS: assertions_of(self._config), OWN_FILE: f"={place}", **counted}

    def _settings(self, evaluation: Evaluation) -> Settings:
        options, retries = self._options, evaluation.retries
        if options.retries is not None:
            retries = replace(retries, lost=options.retries)
        if options.patience is not None:
            retries = replace(retries, patience=options.patience)
        return Settings(
            concurrency=options.concurrency,
            max_errors=options.max_errors,
            abort_after=options.abort_after,
            retries=retries,
            row_timeout=evaluation.row_timeout if options.row_timeout is None else options.row_timeout,
            selection=self._selected(evaluation),
            epochs=options.epochs or evaluation.epochs,
            gates=options.gates,
            baseline=options.baseline,
            allows_new=options.allows_new,
            fresh=options.fresh,
            changed=options.changed,
            cache=self._cache,
            transcripts=options.transcripts,
            tags=options.tags,
            asks_git=True,
            ends=ENDS,  # what ends a test otherwise ends its row only
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
            with suppress(StoreError):  # each evaluation has told it
                self._store.close()
