"""The pytest plugin: fixtures that lease models, on the event loops of anyio's plugin.

What it brings: `model_providers`, `model_client`, and ``<name>_provider`` and ``<name>_client`` for every registered
provider; ``--model`` and the other options; nothing that a run without models would notice. The parts::

    _setting       one value on the command line or in the ini file
    _options       what a user can set
    _fixturedefs   what pytest knows of fixtures
    _fixtures      makes the fixtures
    _leases        what they do: the providers of one event loop, and the standard pattern
    _host          holds the providers open in a task of their own
    _parametrise   --model
    _servers       the model servers of the run: kept warm until its end, their output with the tests that fail
    _order         tests that need the same server, next to each other
    _scopes        fits the providers to the event loops
    _endings       ends them before the next event loop begins
    _neighbours    gets along with pytest-asyncio and pytest-trio
    _failures      shows our errors without our frames
    _summary       adds up and prints what was opened and leased
    _evals         evaluations: collected, run, answered from the store, shown while they run

A run without models imports none of doteval but this package and what is known of the registered names; no SDK is
imported before a test asks for it. What takes part in every test does so from the first model, server or evaluation on.
"""

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
from ._parametrise import Parametrise
from ._scopes import Scopes
from ._servers import Servers
from ._summary import Summary

__all__ = ["pytest_addoption", "pytest_configure"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)
    add_eval_options(parser)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make the fixtures, when all plugins are loaded."""
    known = registrations()
    options, eval_options = read_options(config, known), read_eval_options(config)
    servers = Servers(config, options)
    summary = Summary(wanted=options.summary, starts=servers.starts)
    failures = Failures(config)
    endings = Endings(config.pluginmanager)
    fixtures = Fixtures(config, known, options, summary, servers, endings, failures.take_part)
    order = Order(known)
    plugins: dict[str, object] = {
        "fixtures": fixtures.module,
        "parametrise": Parametrise(fixtures, options.models),
        "scopes": Scopes(fixtures, options),
        "order": order,
        "neighbours": Neighbours(fixtures),
        "failures-to-come": FailuresToCome(failures),
        "summary": summary,
        "eval-collecting": EvalCollecting(config, eval_options, fixtures, order),
        "eval-summary": EvalSummary(eval_options),
    }
    if has_neighbours(config):
        plugins["neighbour-calls"] = NeighbourCalls(fixtures)
    for name, plugin in plugins.items():
        config.pluginmanager.register(plugin, f"doteval-{name}")
