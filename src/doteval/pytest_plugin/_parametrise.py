"""``--doteval-model``: tests that ask for `model_client` and choose no model run on the models of the command line.

So do those that ask for the model of a role, which ``--doteval-model judge=openai:gpt-4o`` gives: its fixture is
`judge_client`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from types import FunctionType, ModuleType
from typing import Any, NoReturn, cast

import pytest

from ._evals.items import evaluation_of
from ._fixturedefs import is_parametrised, register_fixture, visible_fixtures
from ._fixtures import Fixtures

_CLIENT = "_client"
_USUAL = frozenset({"critic", "evaluator", "grader", "judge", "rater", "reviewer", "scorer"})
"""What is a role in evaluations, and seldom anything else."""


class Parametrise:
    """The hooks.

    Args:
        fixtures: Our fixtures.
        models: The specs of the command line.
    """

    def __init__(self, fixtures: Fixtures, models: tuple[str, ...]) -> None:
        self._fixtures = fixtures
        self._models = models

    @pytest.hookimpl(trylast=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Last of all, so that it is known whether somebody else has chosen."""
        if self._models and self._has_not_chosen(metafunc, "model_client"):
            metafunc.parametrize("model_client", self._models, indirect=True)
        for client, spec in self._fixtures.roles.items():
            if self._has_not_chosen(metafunc, client):
                # Hidden, as it is the same for all, and tests are called what they are called without it.
                metafunc.parametrize(client, [pytest.param(spec, id=pytest.HIDDEN_PARAM)], indirect=True)
        for name in metafunc.fixturenames:
            if (
                name.endswith(_CLIENT)
                and self._is_missing(metafunc, name)
                and (self._is_ours(metafunc) or self._may_be_a_role(metafunc, name.removesuffix(_CLIENT)))
            ):
                module_or_class = metafunc.definition.parent
                assert module_or_class is not None
                register_fixture(module_or_class, name, self._refusal(name), "function")

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> list[str]:
        """Say which models nobody asks for, as of an option that is misspelt."""
        asked = {name for item in items for name in getattr(item, "fixturenames", ())}
        unused = [client for client in self._fixtures.roles if client not in asked] if items else []
        return [
            f"--doteval-model {client.removesuffix(_CLIENT)}={self._fixtures.roles[client]}: no test asks for {client}"
            for client in unused
        ]

    def _is_missing(self, metafunc: pytest.Metafunc, name: str) -> bool:
        """Whether nobody says what an argument is."""
        return not visible_fixtures(name, metafunc.definition) and not is_parametrised(metafunc, name)

    def _is_ours(self, metafunc: pytest.Metafunc) -> bool:
        """Whether a test has to do with models, so that what it misses is one."""
        if evaluation_of(metafunc.definition) is not None:
            return True
        return not self._fixtures.functions.keys().isdisjoint({*metafunc.fixturenames} - {"anyio_backend"})

    def _may_be_a_role(self, metafunc: pytest.Metafunc, role: str) -> bool:
        """Whether what a test misses is meant to be a model's role, by its name or by what is beside it."""
        given = [client.removesuffix(_CLIENT) for client in self._fixtures.roles]
        return role in _USUAL or bool(get_close_matches(role, given)) or _knows_us(metafunc)

    def _refusal(self, client: str) -> Callable[[], NoReturn]:
        """A fixture that says how a role that is missing gets its model."""

        def refuse() -> NoReturn:
            pytest.fail(self._advice(client), pytrace=False)

        return refuse

    def _advice(self, client: str) -> str:
        role = client.removesuffix(_CLIENT)
        known = ", ".join(each.removesuffix(_CLIENT) for each in self._fixtures.roles)
        return (
            f"There is no fixture {client}.\nWhere it is to be the model of the role '{role}', run pytest with "
            f"--doteval-model {role}=SPEC, such as '--doteval-model {role}=openai:gpt-4o'"
            f"{f'; roles with a model are: {known}' if known else ''}."
        )

    def _has_not_chosen(self, metafunc: pytest.Metafunc, client: str) -> bool:
        """Whether a test asks for a model and leaves open which one."""
        is_asked = client in metafunc.fixturenames and self._leads_to_ours(metafunc, client)
        return is_asked and not is_parametrised(metafunc, client)

    def _leads_to_ours(self, metafunc: pytest.Metafunc, client: str) -> bool:
        """Whether the fixture that the test gets is ours, or built on it; somebody else's is left alone."""
        for definition in reversed(visible_fixtures(client, metafunc.definition)):
            if definition.func is self._fixtures.functions.get(client):
                return True
            if client not in definition.argnames:
                return False
        return False


def _knows_us(metafunc: pytest.Metafunc) -> bool:
    """Whether a test's module has imported something of ours; only functions and classes in it are asked."""
    held: Mapping[str, Any] = vars(cast(Any, metafunc).module or object)
    for value in held.values():
        kind: Any = cast(Any, type)(value)
        named = kind is ModuleType or kind is FunctionType or issubclass(kind, type)
        name: object = getattr(value, "__name__" if kind is ModuleType else "__module__", None) if named else None
        if isinstance(name, str) and name.partition(".")[0] == "doteval":
            return True
    return False
