"""Fits the providers to the event loops of a test: nothing bound to a loop may outlive it.

The providers live as long as `anyio_backend` does, or less. Its scope is the user's to choose, by overriding the
fixture or by parametrising a test with it, and pytest only finds out inside a test that two scopes do not fit.
So this looks beforehand, when a module or a class is collected:

- `anyio_backend` is overridden with a narrower scope, and nobody has asked for a scope of the providers: inside of that
  module or class, providers get the narrower one.
- So it is where they build on any other fixture that is narrower, such as a `model_providers` of the user's own.
- The first, but the user has asked for the wider scope: it cannot be had, so the tests that need providers fail, with a
  message that says why.
- A test chooses its event loop with ``@pytest.mark.parametrize("anyio_backend", ...)``, which makes a value of function
  scope: it is made to go through the fixture, with the fixture's scope, which is what the user means.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ._fixturedefs import WIDTH, parametrised_names, register_fixture, visible_fixtures
from ._fixtures import Fixtures
from ._options import SCOPES, Options, ScopeName

_FITTED = pytest.StashKey[bool]()


class Scopes:
    """The hooks.

    Args:
        fixtures: Our fixtures.
        options: The settings of the run.
    """

    def __init__(self, fixtures: Fixtures, options: Options) -> None:
        self._fixtures = fixtures
        self._options = options

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(self, collector: pytest.Module | pytest.Class) -> None:
        """The fixtures of `collector` are known by now, and none of its tests has looked at them."""
        if self._fixtures.wide and _FITTED not in collector.stash:
            collector.stash[_FITTED] = True
            self._fit(collector)

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Before pytest looks at the markers."""
        if self._fixtures.wide.keys().isdisjoint(metafunc.fixturenames):
            return
        definitions = visible_fixtures("anyio_backend", metafunc.definition)
        if not definitions:
            return
        through_fixture = is_known_backend(self._fixtures, definitions[-1])
        scope = definitions[-1].scope if through_fixture else self._options.scope
        for node, mark in metafunc.definition.iter_markers_with_node("parametrize"):
            widened = _widened(mark, scope, through_fixture=through_fixture)
            if widened is not mark:
                node.own_markers[:] = [widened if other is mark else other for other in node.own_markers]

    def _fit(self, collector: pytest.Collector) -> None:
        for name, function in self._fixtures.wide.items():
            visible = visible_fixtures(name, collector)
            if not visible or visible[-1].func is not function:
                continue  # it is overridden
            needed = [
                found[-1] for argument in visible[-1].argnames if (found := visible_fixtures(argument, collector))
            ]
            narrowest = min(needed, key=lambda definition: WIDTH[definition.scope], default=visible[-1])
            if WIDTH[visible[-1].scope] <= WIDTH[narrowest.scope]:
                continue  # it fits
            if narrowest.argname == "anyio_backend" and self._options.scope_is_asked_for:
                register_fixture(collector, name, self._refusal(narrowest, collector.config.rootpath), "function")
            else:
                register_fixture(collector, name, function, narrowest.scope)

    def _refusal(self, backend: pytest.FixtureDef[Any], root: Path) -> Callable[[], NoReturn]:
        wanted: ScopeName = self._options.scope
        where = _place_of(backend.func, root)
        widest = WIDTH[backend.scope]
        fitting = max((WIDTH[name], name) for name in SCOPES.values() if WIDTH[name] <= widest)[1]

        def refuse() -> NoReturn:
            pytest.fail(
                f"The model providers cannot have {wanted} scope: anyio_backend has {backend.scope} scope.\n"
                f"Nothing can outlive its event loop. Set doteval_model_provider_scope = {fitting}, or widen the "
                f'fixture at {where}, with @pytest.fixture(scope="{wanted}").',
                pytrace=False,
            )

        return refuse


def _place_of(function: Callable[..., Any], root: Path) -> str:
    """File and line of a function, for people."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return repr(function)
    path = Path(code.co_filename)
    return f"{path.relative_to(root) if path.is_relative_to(root) else path}:{code.co_firstlineno}"


def is_known_backend(fixtures: Fixtures, definition: pytest.FixtureDef[Any]) -> bool:
    """Whether it is anyio's own `anyio_backend` or ours; both return the parameter they are given."""
    return definition.func is fixtures.functions.get("anyio_backend") or (
        getattr(definition.func, "__module__", "") == "anyio.pytest_plugin"
    )


def _widened(mark: pytest.Mark, scope: ScopeName, *, through_fixture: bool) -> pytest.Mark:
    """The marker, with at least this scope where it makes a value of `anyio_backend`."""
    indirect: bool | Sequence[str] = mark.kwargs.get("indirect", False)
    if "anyio_backend" not in parametrised_names(mark) or len(mark.args) > 2 or indirect is True:
        return mark
    changes: dict[str, Any] = {"scope": max(scope, mark.kwargs.get("scope") or scope, key=WIDTH.__getitem__)}
    if through_fixture:
        changes["indirect"] = sorted({*(indirect or ()), "anyio_backend"})
    if changes.items() <= mark.kwargs.items():
        return mark
    return pytest.mark.parametrize(*mark.args, **{**mark.kwargs, **changes}).mark
