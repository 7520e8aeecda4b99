"""The pytest plugin: fixtures that lease models, on the event loops of anyio's plugin.

What it brings: `model_providers`, `model_client`, and ``<name>_provider`` and ``<name>_client`` for every registered
provider; ``--doteval-model`` and the other options; nothing that a run without models would notice. The parts::

    _plugin        the hooks that pytest calls first
    _too_old       stands in for all of this where pytest is too old for it
    _setting       one value on the command line or in the ini file
    _options       what a user can set
    _short_names   --model for --doteval-model, where nobody else has that name
    _fixturedefs   what pytest knows of fixtures
    _fixtures      makes the fixtures
    _leases        what they do: the providers of one event loop, and the standard pattern
    _parametrise   --doteval-model
    _servers       the model servers of the run: kept warm until its end, their output with the tests that fail
    _left          --doteval-model-leaks: tells a test what it has left behind
    _order         tests that need the same server, next to each other
    _scopes        fits the providers to the event loops
    _endings       ends them before the next event loop begins
    _neighbours    gets along with pytest-asyncio and pytest-trio
    _other_loops   our fixtures in their event loops, for the tests that they run
    _unittest      tells a test of unittest how it gets a model
    _failures      shows our errors without our frames
    _summary       adds up and prints what was opened and leased
    _evals         evaluations: collected, run, answered from the store, shown while they run

A run without models imports none of doteval but this package and what is known of the registered names; no SDK is
imported before a test asks for it. What takes part in every test does so from the first model, server or evaluation on.
"""

from __future__ import annotations

import pytest

if getattr(pytest, "version_tuple", ()) >= (8, 4):
    from ._plugin import pytest_addoption as pytest_addoption
    from ._plugin import pytest_configure as pytest_configure
    from ._plugin import pytest_load_initial_conftests as pytest_load_initial_conftests
else:
    from ._too_old import pytest_report_header as pytest_report_header
