"""Providers in fixtures that other plugins run: each half of such a fixture may run in another task."""

from __future__ import annotations

import pytest
from tests.plugin.runs import Runs, assert_clean

LOOP_SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function", "-o", "asyncio_mode=strict")
TESTS = """
import asyncio
import pytest
import pytest_asyncio
from doteval import ModelProviders
from doteval.testing import FakeProvider

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider():
    provider = await FakeProvider().start()
    task = asyncio.current_task()
    yield provider
    assert asyncio.current_task() is not task
    await provider.aclose()

@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other():
    async with FakeProvider() as provider:
        yield provider

@pytest_asyncio.fixture(loop_scope="module")
async def providers():
    async with ModelProviders({"fake": FakeProvider()}) as providers:
        yield providers

@pytest_asyncio.fixture(loop_scope="module")
async def model(provider):
    async with await provider.setup("model") as handle:
        yield handle.model

@pytest.mark.asyncio(loop_scope="module")
async def test_one(model):
    assert await model.generate("Hi")

@pytest.mark.asyncio(loop_scope="module")
async def test_two(other, model, providers):
    assert await model.generate("Hi")
    for setup in (lambda: other.setup("a"), lambda: providers.setup("fake:a")):
        handle = await setup()
        assert await handle.model.generate("Hi")

@pytest.mark.asyncio(loop_scope="module")
async def test_three(model, provider):
    assert provider.statistics().opens == 1
"""


@pytest.mark.parametrize("order", ["asyncio anyio doteval", "doteval anyio asyncio"])
def test_fixtures_of_pytest_asyncio_hold_providers(runs: Runs, order: str) -> None:
    """Whether with ``start`` and ``aclose`` or with ``async with``; in strict mode, with a loop for the module."""
    runs.write(test_it=TESTS)
    assert_clean(runs.run(*LOOP_SCOPE, plugins=order), passed=3)
