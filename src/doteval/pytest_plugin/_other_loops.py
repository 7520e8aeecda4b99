"""Our fixtures in the event loops of pytest-asyncio and pytest-trio, for the tests that those run.

Such a test has fixtures of its own in that loop, some of them shared with tests that know nothing of us, so ours come
to it. Of every fixture there is another definition for each kind of loop, under a hidden name and without
`anyio_backend`: pytest-asyncio runs it because it is declared with its decorator, and pytest-trio because nobody else
does. When a test is collected, these take the places of ours in what pytest has found out about it; so what overrides
or uses our fixtures works as always, and anyio's plugin, which looks for `anyio_backend`, leaves the test alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from ._fixturedefs import WIDTH, redefine, take_out
from ._fixtures import ElsewhereBackend, Fixtures
from ._options import ScopeName
from ._runners import Runner


class OtherLoops:
    """Makes the definitions, when the first test needs them, and gives them to tests.

    Args:
        config: The run's configuration.
        fixtures: Our fixtures.
    """

    def __init__(self, config: pytest.Config, fixtures: Fixtures) -> None:
        self._manager = config.pluginmanager
        self._fixtures = fixtures
        self._made: dict[tuple[Runner, ScopeName], Mapping[int, pytest.FixtureDef[Any]]] = {}
        self._stands_for: dict[str, int] = {}
        """By its hidden name, the identity of the function of ours that a definition stands for."""

    def move(self, test: pytest.Function, runner: Runner, scope: ScopeName) -> bool:
        """Have the fixtures of a test come to the loop that it runs in.

        Args:
            test: The test, or what stands for it while it is collected; they may have come to another loop before.
            runner: Who runs it.
            scope: How long its event loop lives.

        Returns:
            Whether that could be; not where a fixture of the user's own asks for anyio's event loop.
        """
        made = self._definitions(test, runner, scope)

        def replacement(definition: pytest.FixtureDef[Any]) -> pytest.FixtureDef[Any]:
            return made.get(self._stands_for.get(definition.argname, id(definition.func)), definition)

        return redefine(test, replacement, without="anyio_backend")

    def _definitions(
        self, test: pytest.Function, runner: Runner, scope: ScopeName
    ) -> Mapping[int, pytest.FixtureDef[Any]]:
        """Each definition, by the identity of the function of ours that it stands for."""
        made = self._made.get((runner, scope))
        if made is None:
            module = ModuleType(f"doteval_fixtures_{runner}_{scope}")
            names: dict[int, str] = {}
            for name, ours in self._fixtures.scopes.items():
                function = self._fixtures.functions[name]
                names[id(function)] = hidden = f"_doteval_{runner}_{scope}_{name}"
                self._stands_for[hidden] = id(function)
                narrower = min(scope, ours, key=WIDTH.__getitem__)
                setattr(module, hidden, _declared(_bound(function, runner), runner, scope, narrower, hidden))
            self._manager.register(module, module.__name__)
            made = self._made[runner, scope] = {function: take_out(name, test) for function, name in names.items()}
        return made


def _bound(function: Callable[..., Any], runner: Runner) -> Callable[..., Any]:
    """The function of a fixture, told in which loop it is, where it wants to know."""
    wants_to_know = "anyio_backend" in inspect.signature(function).parameters
    # An object of its own in any case, as pytest-asyncio writes to it.
    bound = partial(function, anyio_backend=ElsewhereBackend(runner)) if wants_to_know else partial(function)
    vars(bound).update(__name__=function.__name__, __qualname__=function.__qualname__, __module__=function.__module__)
    return bound


def _declared(
    function: Callable[..., Any], runner: Runner, loop_scope: ScopeName, scope: ScopeName, name: str
) -> object:
    if runner == "trio" or not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        return pytest.fixture(scope=scope, name=name)(function)
    import pytest_asyncio  # noqa: PLC0415 - it is there, as it runs the test

    return pytest_asyncio.fixture(function, loop_scope=loop_scope, scope=scope, name=name)
