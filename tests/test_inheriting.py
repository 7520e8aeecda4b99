"""A class that is made to be inherited from takes no name of its heirs, and does not depend on their manners."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import fail_after
from tests.resources import ThingProvider

from doteval import ModelHandle, ModelProvider, ModelProviders, PooledProvider

pytestmark = pytest.mark.anyio

WORDS = {
    *("pool", "start", "stop", "capacity", "hold", "included", "statistics", "is_closed", "running", "fast_acquire"),
    *("pool_options", "options", "want", "make", "explain", "lease", "entered_pool", "display_name", "is_running"),
    *("give_up", "retire", "resume", "lose", "include", "is_held", "remember", "forget", "name", "runtime", "author"),
    *("handles", "resources", "clients", "settings", "connection", "loop", "task_group", "ledger", "checks", "tell"),
}


def attributes(kind: type) -> set[str]:
    """What begins with one underscore and is no method of Python's."""
    return {name for each in kind.__mro__ for name in vars(each) if name.startswith("_") and not name.startswith("__")}


@pytest.mark.parametrize("kind", [PooledProvider, ModelProvider])
def test_every_private_name_is_mangled(kind: type) -> None:
    """`_abc_impl` and what `Generic` and our decorators leave are Python's own business."""
    allowed = ("_PooledProvider__", "_ModelProvider__", "_abc_", "_is_protocol")
    assert [name for name in sorted(attributes(kind)) if not name.startswith(allowed)] == []


@pytest.mark.parametrize("calls_super", [True, False])
async def test_an_heir_may_call_its_attributes_and_methods_as_it_likes(calls_super: bool) -> None:
    class Database(PooledProvider[str]):
        def __init__(self) -> None:
            if calls_super:
                super().__init__(capacity=["one"])
            for word in WORDS:
                setattr(self, f"_{word}", "mine")

        @asynccontextmanager
        async def open(self, spec: str, /, **config: Any) -> AsyncIterator[str]:
            assert ("slots" in config) is calls_super
            yield spec

    with fail_after(5):
        async with Database() as provider:
            async with provider.setup("a") as handle, provider.setup("a"):
                assert handle.model == "a"
            await (await provider.setup_many("a"))[0].teardown()
            assert provider.preload("b")
            await provider.teardown("b")
            await provider.teardown_all()
            assert provider.statistics().leases >= 3
            assert "Database" in repr(provider)
        async with ModelProviders({"db": provider}, discover=False) as providers:
            async with providers.setup("db:a") as handle:
                assert handle.model == "a"


async def test_an_heir_with_books_of_its_own_may_as_well() -> None:
    class Books(ModelProvider[str]):
        def __init__(self) -> None:
            self.torn: list[str] = []
            for word in WORDS:
                setattr(self, f"_{word}", "mine")

        def _remember(self, handle: object) -> None:
            raise AssertionError("it is not ours")

        _forget = _remember

        async def setup(self, spec: str, /) -> ModelHandle[str]:
            return ModelHandle(spec, spec, self)

        async def teardown(self, resource_id: str, /) -> None:
            self.torn.append(resource_id)

    async with Books() as provider:
        async with provider.setup("a"):
            await provider.setup("b")
    assert provider.torn == ["a", "b"]


def test_a_provider_cannot_be_copied() -> None:
    """The copy would share what is open."""
    with pytest.raises(TypeError, match="ThingProvider cannot be copied"):
        copy.copy(ThingProvider())
