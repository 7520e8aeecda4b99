"""The contract of a provider, as tests that its author inherits.

::

    import pytest
    from doteval.testing import ProviderContract

    class TestMyProvider(ProviderContract):
        def make_provider(self):
            return MyProvider()

That runs every test on each backend of the fixture ``anyio_backend``, which by default are asyncio and trio. There is
more to see where the class also says

- ``spec`` and ``other_spec``: two things the provider can open, and ``config``, what to open them with,
- ``bad_spec`` or ``bad_config``: something it cannot open,
- ``is_open(model)``: how to look at a model and tell whether it is open,
- ``use(model)``: how to use one.

Where these need a server or a directory, write a fixture in the class, with ``autouse=True``, and keep what the methods
need on ``self``.

Two points of the checklist for authors need no test: that there are fixtures for the provider and its client is for
the plugin to see to, as soon as the provider is registered.
"""

from __future__ import annotations

from ._basic_contract import BasicProviderContract
from ._pooled_contract import ProviderContract

__all__ = ["BasicProviderContract", "ProviderContract"]

BasicProviderContract.__module__ = ProviderContract.__module__ = "doteval.testing"
