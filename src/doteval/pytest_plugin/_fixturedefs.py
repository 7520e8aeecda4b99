"""The little of pytest's fixture manager that its public face does not show; everything else here asks this module."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from ._options import ScopeName

WIDTH: dict[ScopeName, int] = {"function": 0, "class": 1, "module": 2, "package": 3, "session": 4}
"""Of two scopes the wider one has the greater number."""


def scope_named(value: object) -> ScopeName | None:
    """The scope of that name."""
    return next((known for known in WIDTH if known == value), None)


_FixtureDefinition = type(pytest.fixture(lambda: None))


def visible_fixtures(name: str, node: pytest.Collector | pytest.Item) -> Sequence[pytest.FixtureDef[Any]]:
    """The definitions of a fixture that a node sees; the last one counts, and may build on those before it."""
    return node.session._fixturemanager.getfixturedefs(name, node) or ()


def register_fixture(node: pytest.Collector, name: str, function: Callable[..., Any], scope: ScopeName) -> None:
    """Define a fixture for what is inside of `node`; it wins over those that `node` has seen so far."""
    if hasattr(pytest, "register_fixture"):
        pytest.register_fixture(name=name, func=function, node=node, scope=scope)
    else:  # pytest 8.4 and 9.0
        node.session._fixturemanager._register_fixture(name=name, func=function, nodeid=node.nodeid, scope=scope)


def take_out(name: str, node: pytest.Collector | pytest.Item) -> pytest.FixtureDef[Any]:
    """The definition of a fixture that nobody is to find by its name, and that is in no list from now on."""
    definition = visible_fixtures(name, node)[-1]
    for known in ("_arg2fixturedefs", "_arg2node2fixturedefs", "_arg2nodeid2fixturedefs"):  # as the version has it
        getattr(node.session._fixturemanager, known, {}).pop(name, None)
    return definition


def functions_of(collector: pytest.Module | pytest.Class, name: str, obj: object) -> list[pytest.Function]:
    """The items of a test function, as many as it is parametrised with."""
    make: Callable[[str, object], Iterator[pytest.Function]] = getattr(collector, "_genfunctions")  # noqa: B009
    return list(make(name, obj))


def marks_of(collector: pytest.Module | pytest.Class, function: object) -> Iterator[pytest.Mark]:
    """The marks that the items of a test function are going to have."""
    yield from getattr(function, "pytestmark", ())
    yield from collector.iter_markers()


Definitions = Mapping[str, Sequence[pytest.FixtureDef[Any]]]
"""The definitions of fixtures by name; of each the last one counts, and may build on those before it."""


def needed_definitions(
    test: pytest.Function,
    replacement: Callable[[pytest.FixtureDef[Any]], pytest.FixtureDef[Any]] = lambda definition: definition,
    asks: Callable[[pytest.FixtureDef[Any]], Sequence[str]] = lambda definition: definition.argnames,
    also: Sequence[str] = (),
) -> Definitions:
    """All fixtures that are set up for a test, as far as that is known before it runs.

    Args:
        test: The test, or what stands for it while it is collected.
        replacement: Gives the definition to use in the place of one.
        asks: Gives the names of the fixtures that one asks for.
        also: What the test asks for that is no argument of it.
    """
    info = test._fixtureinfo
    found: Definitions = info.name2fixturedefs
    needed: dict[str, Sequence[pytest.FixtureDef[Any]]] = {}
    names = [name for name in info.initialnames if name in found]  # others get a value from parametrize
    names += also
    while names:
        name = names.pop()
        if name not in needed:
            needed[name] = [replacement(one) for one in found.get(name) or visible_fixtures(name, test)]
            for definition in reversed(needed[name]):
                names += asks(definition)
                if name not in definition.argnames:
                    break  # what it overrides is not asked for
    return needed


_ALL = pytest.StashKey[list[str]]()


def set_up_only(test: pytest.Function, names: Sequence[str]) -> None:
    """Have pytest set up no other fixtures of a test, until `ask_for_all`."""
    test.stash.setdefault(_ALL, test.fixturenames)
    test.fixturenames = [*names]


def ask_for_all(test: pytest.Function) -> bool:
    """Have pytest set up all of them again; whether it would not have done so."""
    names = test.stash.get(_ALL, None)
    if names is None:
        return False
    test.fixturenames = names
    del test.stash[_ALL]
    return True


def asked_names(test: pytest.Item) -> Sequence[str]:
    """The names of all fixtures that a test has, also while only some are being set up."""
    known: Sequence[str] = getattr(test, "fixturenames", ())
    return test.stash.get(_ALL, known)


def set_up_others(test: pytest.Function) -> None:
    """Set up those of a test's fixtures that are not set up yet, as pytest does it before it calls the test."""
    test._request._fillfixtures()


def redefine(
    test: pytest.Function,
    replacement: Callable[[pytest.FixtureDef[Any]], pytest.FixtureDef[Any]],
    *,
    without: str,
) -> bool:
    """Have a test use other definitions of its fixtures, if it does not need the fixture `without` then.

    Args:
        test: The test, or what stands for it while it is collected.
        replacement: Gives the definition to use in the place of one.
        without: The name of a fixture.

    Returns:
        Whether that is done; where the test would still need that fixture, nothing is.
    """
    needed, info = needed_definitions(test, replacement), test._fixtureinfo
    if without in needed:
        return False
    request: Any = test._request
    for definitions in (info.name2fixturedefs, request._arg2fixturedefs):  # in pytest 8.4 and 9.0 that is a copy
        definitions.update((name, found) for name, found in needed.items() if found)
    info.names_closure[:] = [name for name in info.names_closure if name != without]
    return True


def test_of(request: Any) -> pytest.Function:
    """The test that a fixture is set up for, whatever its scope."""
    test: pytest.Function = request._pyfuncitem
    return test


def definition_of(request: Any) -> pytest.FixtureDef[Any]:
    """The fixture that a request is made for."""
    definition: pytest.FixtureDef[Any] = request._fixturedef
    return definition


def finish(definition: pytest.FixtureDef[Any], request: Any) -> None:
    """Finalise a fixture, after all that depend on it, as pytest does when its parameter changes."""
    definition.finish(request)


def is_parametrised(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether somebody has parametrised the argument so far."""
    return any(name in call.params for call in metafunc._calls)


def parametrised_names(mark: pytest.Mark) -> Sequence[str]:
    """The arguments that a ``parametrize`` marker is about."""
    names: str | Sequence[str] = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else names


@dataclass(frozen=True, slots=True)
class PluginFixture:
    """A fixture that a plugin or a conftest file defines.

    Args:
        name: What tests ask for.
        attribute: What it is called where it is defined.
        scope: How long it lives; ``"function"`` where that is only known later.
        module: Where it is defined.
        in_conftest: Whether it is only there for the tests beside a conftest file.
    """

    name: str
    attribute: str
    scope: ScopeName
    module: str
    in_conftest: bool


def plugin_fixtures(manager: pytest.PytestPluginManager) -> Iterator[PluginFixture]:
    """All fixtures of the plugins that are loaded so far."""
    for plugin_name, plugin in manager.list_name_plugin():
        for attribute, value in _attributes(plugin).items():
            if isinstance(value, _FixtureDefinition):
                marker = getattr(value, "_fixture_function_marker", None)
                scope: object = getattr(marker, "scope", "function")
                yield PluginFixture(
                    name=getattr(marker, "name", None) or attribute,
                    attribute=attribute,
                    scope=scope_named(scope) or "function",
                    module=value.__module__,
                    in_conftest=plugin_name.endswith("conftest.py"),
                )


def _attributes(plugin: object) -> Mapping[str, object]:
    """What a plugin, which is a module or an object, has fixtures among; nothing is computed for it."""
    if isinstance(plugin, ModuleType):
        return vars(plugin)
    kind = plugin if isinstance(plugin, type) else type(plugin)
    return ChainMap(*({**vars(base)} for base in kind.__mro__))
