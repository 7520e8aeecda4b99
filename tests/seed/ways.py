"""The ways to enter a provider and to lease: each of the guide's samples is to work in all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import pytest

from doteval import ModelHandle, ModelProvider, ModelProviders

ProviderT = TypeVar("ProviderT", bound=ModelProvider[Any] | ModelProviders)


@asynccontextmanager
async def entered(provider: ProviderT) -> AsyncGenerator[ProviderT]:
    """As the guide does it."""
    async with provider:
        yield provider


@asynccontextmanager
async def started(provider: ProviderT) -> AsyncGenerator[ProviderT]:
    """Where there can be no block."""
    yield await provider.start()
    await provider.aclose()


@asynccontextmanager
async def torn_down(setup: Any) -> AsyncGenerator[ModelHandle[Any]]:
    """As the guide does it."""
    handle = await setup
    try:
        yield handle
    finally:
        await handle.teardown()


def in_a_block(setup: Any) -> AbstractAsyncContextManager[ModelHandle[Any]]:
    """As everybody types it first."""
    return setup  # type: ignore[no-any-return]


ways_to_enter = pytest.mark.parametrize("enter", [entered, started])
ways_to_lease = pytest.mark.parametrize("lease", [torn_down, in_a_block])
