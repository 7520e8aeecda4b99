"""Runs tests that need the same scarce model next to each other.

A model server fills a GPU and takes a minute to start. Where tests alternate between two models that do not fit in
at once, every test would start a server. So the tests on one model of a *scarce* provider are run one after the other,
over all modules and event loops; all other tests stay where they are. With pytest-xdist, ``--dist loadgroup`` keeps
them on one worker.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, get_type_hints

import pytest

from .._errors import DotevalError
from .._registry.fixture_names import client_fixtures
from .._registry.registration import Registration
from .._spec import ModelSpec

_GROUP = "doteval"


class Order:
    """The hooks: a wrapper, as marks have to be there before pytest-xdist looks, and the order is settled after pytest.

    Args:
        registrations: What is registered.
    """

    def __init__(self, registrations: Mapping[str, Registration]) -> None:
        self._registrations = registrations
        self._names = client_fixtures(registrations)
        self._scarce: dict[str, bool] = {}
        self._own_ids: list[tuple[Any, object]] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Put each test on a scarce model behind the first one on the same model."""
        # By identity: what pytest-xdist appends to an item's id changes its hash.
        models = {id(item): model for item in items if (model := self.scarce_model(item)) is not None}
        ours: list[tuple[pytest.Item, str]] = []
        if config.getoption("loadgroup", False):  # in a worker of pytest-xdist
            ours = [
                (item, f"{_GROUP} {models[id(item)]}")
                for item in items
                if id(item) in models and item.get_closest_marker("xdist_group") is None
            ]
        for item, group in ours:
            item.add_marker(pytest.mark.xdist_group(group))
        outcome = yield
        for item, group in ours:
            self._put_into_id(item, group)
        groups: dict[str | int, list[pytest.Item]] = {}
        for item in items:
            groups.setdefault(models.get(id(item), id(item)), []).append(item)
        items[:] = [item for group in groups.values() for item in group]
        return outcome

    def _put_into_id(self, item: pytest.Item, group: str) -> None:
        """Where the scheduler finds it: pytest-xdist 3.8 writes to an attribute that pytest 9.2 does not read."""
        identity: Any = getattr(item, "_id", None)
        if identity is not None and not item.nodeid.endswith(f"@{group}"):
            self._own_ids.append((item, identity))
            item._id = identity.__class__.parse(f"{item.nodeid}@{group}")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """The scheduler knows the groups: what is shown and remembered of the tests are their own ids."""
        for item, identity in self._own_ids:
            item._id = identity
        self._own_ids.clear()

    def scarce_model(self, item: pytest.Item) -> str | None:
        """The model that a test needs, with its provider's name in front, if there can only be a few like it."""
        callspec = getattr(item, "callspec", None)
        params: Mapping[str, Any] = {} if callspec is None else callspec.params
        for argument, value in params.items():
            if not isinstance(value, str) or (argument != "model_client" and argument not in self._names):
                continue
            try:
                spec = ModelSpec.parse(value, self._registrations if argument == "model_client" else ())
            except DotevalError:
                continue  # the fixture says what is wrong with it
            name = spec.provider or self._names.get(argument)
            if name is not None and self._is_scarce(name):
                return f"{name}:{spec.model}"
        return None

    def _is_scarce(self, name: str) -> bool:
        """Whether a provider's models are scarce; that takes its class, or what its factory says it returns."""
        if name not in self._scarce:
            registration = self._registrations.get(name)
            self._scarce[name] = registration is not None and _says_scarce(registration)
        return self._scarce[name]


def _says_scarce(registration: Registration) -> bool:
    try:
        value: Any = registration.load()
        kind = value if isinstance(value, type) else get_type_hints(value).get("return")
    except Exception:
        return False  # whoever asks for the provider is told
    return bool(getattr(kind, "is_scarce", False))
