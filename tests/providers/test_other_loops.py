"""A model is used in the event loop in which it was leased, as its connections are there; elsewhere it says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio import to_thread

from doteval import AnthropicProvider, OpenAICompatibleProvider, OpenAIProvider, WrongEventLoopError

pytestmark = pytest.mark.anyio

NOWHERE = {"base_url": "http://127.0.0.1:1/v1", "api_key": "nobody's"}


@pytest.mark.parametrize("elsewhere", ["asyncio", "trio"])
@pytest.mark.parametrize("make", [OpenAIProvider, OpenAICompatibleProvider, AnthropicProvider])
async def test_no_request_is_sent_from_another_loop(make: Callable[..., Any], elsewhere: str) -> None:
    """Be it read whole or as a stream."""
    told: list[str] = []

    async def ask(model: Any) -> None:
        with pytest.raises(WrongEventLoopError) as failure:
            await model.generate("hi")
        told.append(str(failure.value))
        with pytest.raises(WrongEventLoopError):
            async with model.stream("hi"):
                pytest.fail("it was sent")

    async with make(**NOWHERE) as provider, provider.setup("m") as handle:
        await to_thread.run_sync(lambda: anyio.run(ask, handle.model, backend=elsewhere))
    assert told[0].startswith(f"{make.__name__} belongs to another event loop.\n")
