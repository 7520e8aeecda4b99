"""``--doteval-model``: tests that ask for `model_client` and choose no model run on the models of the command line."""

from __future__ import annotations

import pytest

from ._fixturedefs import is_parametrised, visible_fixtures
from ._fixtures import Fixtures


class Parametrise:
    """The hook.

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
        if not self._models or "model_client" not in metafunc.fixturenames:
            return
        if self._leads_to_ours(metafunc) and not is_parametrised(metafunc, "model_client"):
            metafunc.parametrize("model_client", self._models, indirect=True)

    def _leads_to_ours(self, metafunc: pytest.Metafunc) -> bool:
        """Whether the fixture that the test gets is ours, or built on it; somebody else's is left alone."""
        for definition in reversed(visible_fixtures("model_client", metafunc.definition)):
            if definition.func is self._fixtures.functions.get("model_client"):
                return True
            if "model_client" not in definition.argnames:
                return False
        return False
