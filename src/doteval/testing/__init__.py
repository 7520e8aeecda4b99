"""What tests of and with providers need: a fake model, a fake provider, and the contract that every provider keeps.

::

    from doteval.testing import ProviderContract

    class TestMyProvider(ProviderContract):
        def make_provider(self):
            return MyProvider()

Only `BasicProviderContract` and `ProviderContract` need pytest; it is imported when one of them is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._fake_model import FakeCall, FakeModel, Reply
from ._fake_provider import FakeProvider

if TYPE_CHECKING:
    from .provider_contract import BasicProviderContract, ProviderContract

__all__ = ["BasicProviderContract", "FakeCall", "FakeModel", "FakeProvider", "ProviderContract", "Reply"]

FakeCall.__module__ = FakeModel.__module__ = FakeProvider.__module__ = __name__  # what can be imported is what is shown


def __getattr__(name: str) -> object:
    """Import the contract, and pytest with it, when it is first used."""
    if name not in ("BasicProviderContract", "ProviderContract"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import provider_contract  # noqa: PLC0415 - the fakes are for programs without pytest, too

    value: object = getattr(provider_contract, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
