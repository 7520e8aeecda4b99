"""The standard client pattern in a suite of pytest; each test runs on asyncio and on trio.

::

    pytest examples/test_models.py

It needs ``pip install -e ".[all,trio]" pytest`` in a clone, and ``OPENAI_API_KEY`` and ``ANTHROPIC_API_KEY`` in the
environment; ``examples/demo.py`` runs it without.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(request, model_providers):
    """A model, leased for the time of one test. Tests with the same model share what is behind it."""
    handle = await model_providers.setup(request.param)
    yield handle.model
    await handle.teardown()


@pytest.mark.parametrize("client", ["gpt-4o", "gpt-4o-mini", "claude-sonnet-5-5"], indirect=True)
@pytest.mark.parametrize("question", ["What is the capital of France?", "Is 97 a prime?"], ids=["France", "prime"])
async def test_answers(client, question):
    reply = await client.generate(question)
    assert reply
    assert reply.finish_reason == "stop"
    assert reply.usage.output_tokens > 0
