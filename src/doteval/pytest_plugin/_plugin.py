"""What pytest calls first: declares the options, and makes the parts when all other plugins are loaded."""

from __future__ import annotations

import pytest

from .._registry.registration import registrations
from ._endings import Endings
from ._evals.collecting import EvalCollecting
from ._evals.options import add_eval_options, read_eval_options
from ._evals.summary import EvalSummary
from ._failures import Failures, FailuresToCome
from ._fixtures import Fixtures
from ._neighbours import NeighbourCalls, Neighbours, has_neighbours
from ._options import add_options, read_options
from ._order import Order
from ._other_loops import OtherLoops
from ._parametrise import Parametrise
from ._scopes import Scopes
from ._servers import Servers
from ._setting import refuse_empty_values
from ._short_names import pytest_load_initial_conftests
from ._summary import Summary
from ._unittest import Unittest

__all__ = ["pytest_addoption", "pytest_configure", "pytest_load_initial_conftests"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)
    add_eval_options(parser)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make the fixtures, when all plugins are loaded."""
    known = registrations()
    refuse_empty_values(config)
    options, eval_options = read_options(config, known), read_eval_options(config)
    servers = Servers(config, options)
    summary = Summary(wanted=options.summary, starts=servers.starts)
    failures = Failures(config)
    endings = Endings(config.pluginmanager)
    fixtures = Fixtures(config, known, options, summary, servers, endings, failures.take_part)
    order = Order(known)
    loops = OtherLoops(config, fixtures)
    plugins: dict[str, object] = {
        "fixtures": fixtures.module,
        "parametrise": Parametrise(fixtures, options.models),
        "scopes": Scopes(fixtures, options),
        "order": order,
        "eval-collecting": EvalCollecting(config, eval_options, fixtures, order),
        "neighbours": Neighbours(fixtures, loops),
        "unittest": Unittest(config, fixtures),
        "failures-to-come": FailuresToCome(failures),
        "summary": summary,
        "eval-summary": EvalSummary(eval_options),
    }
    if has_neighbours(config):
        plugins["neighbour-calls"] = NeighbourCalls(loops, eval_options.backend)
    if options.leaks != "off":
        from ._left import Left  # noqa: PLC0415 - it brings more of doteval along

        plugins["left"] = Left(fails=options.leaks == "error")
    for name, plugin in plugins.items():
        config.pluginmanager.register(plugin, f"doteval-{name}")
