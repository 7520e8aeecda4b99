"""A stream that is left early: at once, however much of it has arrived, and with nothing left behind."""

from __future__ import annotations

import gc
import gzip
import time
from collections import Counter
from types import AsyncGeneratorType

import pytest
from tests.conftest import anyio_backend  # noqa: F401 - every loop
from tests.providers.conftest import CHATS, KEY
from tests.providers.wire import Reply, Sent, WireServer, answer, events

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_what_has_arrived_is_not_read_first(wire: WireServer, kind: str) -> None:
    """A burst that was compressed well is 20,000 events in one piece; to read them takes seconds."""
    burst = events(kind, Reply(["word "] * 20_000))
    packed = Sent(gzip.compress(burst.body, 1), burst.content_type, headers={"content-encoding": "gzip"})
    provider_class, _, spec = CHATS[kind]
    async with provider_class(base_url=f"{wire.url}/v1", api_key=KEY, max_retries=0, timeout=30) as provider:
        async with await provider.setup(spec) as handle:
            wire.script(packed, answer(kind, Reply(["Hi"])))
            async with handle.model.stream("Hello") as stream:
                assert await anext(stream) == "word "
                began = time.process_time()
            assert time.process_time() - began < 0.4
            assert await handle.model.generate("Hello") == "Hi"
    gc.collect()  # trio warns of a generator that is left


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_nothing_of_a_stream_waits_for_the_garbage_collector(wire: WireServer, kind: str) -> None:
    """Where thousands are read, it would look at all that there is, again and again."""
    provider_class, _, spec = CHATS[kind]
    async with provider_class(base_url=f"{wire.url}/v1", api_key=KEY, max_retries=0, timeout=30) as provider:
        async with await provider.setup(spec) as handle:
            wire.script(events(kind, Reply(["word "] * 500)))
            async with handle.model.stream("Hello") as stream:
                await anext(stream)
            del stream
            gc.collect()
            gc.disable()
            try:
                before = Counter(map(type, gc.get_objects()))
                async with handle.model.stream("Hello") as stream:
                    assert len([text async for text in stream]) == 500
                reply = stream.completion
                del stream
                more = Counter(map(type, gc.get_objects())) - before
                assert more.total() < 200, more  # the answer of the HTTP library
                assert not more[AsyncGeneratorType]
                assert len(reply.raw) > 500
            finally:
                gc.enable()
