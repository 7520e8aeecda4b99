"""Streams that are broken off in every way, by the server and by who reads them: nothing is left, on either pool.

`nox -s streams` has 13,000 of them with each pool; here it is some hundred.
"""

from __future__ import annotations

import gc
import json
import os
import random
import types
from collections import Counter
from typing import Any

import anyio
import anyio.lowlevel
import httpcore2
import httpx2
import pytest
from tests.providers.conftest import CHATS, KEY, SDK_ON
from tests.providers.network import Line, Network
from tests.providers.test_connections import assert_nobody_waits_for_nothing, connections_of
from tests.providers.wire import Reply, event, events
from tests.virtual_time import virtual_time

from doteval import ModelRequestError
from doteval.providers._connections import pool_connections

pytestmark = [pytest.mark.anyio, virtual_time, pytest.mark.concurrency]

STREAMS = int(os.environ.get("STREAMS", "120"))
AT_ONCE, MOST = 20, 8
REPLY = Reply(("one ", "two ", "three"))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Streams(Network):
    """What becomes of a stream is what was asked: the prompt is one of `answers`."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.answers = answers(kind)

    async def connect_tcp(self, host: str, *arguments: Any, **more: Any) -> Line:
        line = await super().connect_tcp(host, *arguments, **more)
        assert isinstance(line, Line)
        line.__class__ = StreamLine
        return line


class StreamLine(Line):
    """Answers when a body has come."""

    network: Streams

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as it is called
        await anyio.lowlevel.checkpoint()
        if self not in self.network.open or self.left:
            raise httpcore2.WriteError("closed")
        self._sent += buffer
        if self._sent.endswith(b"}"):
            prompt = json.loads(self._sent.partition(b"\r\n\r\n")[2])["messages"][0]["content"]
            self._sent, self._pieces = b"", list(self.network.answers[prompt])

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as it is called
        if self._pieces and self._pieces[0] == b"reset":
            raise httpcore2.ReadError("reset")
        return await super().read(max_bytes, timeout)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def answers(kind: str) -> dict[str, list[bytes | float]]:
    """What is read of each stream, and the seconds that pass between."""
    parts = [chunk(part + b"\n\n") for part in events(kind, REPLY).body.removesuffix(b"\n\n").split(b"\n\n")]
    begun: list[bytes | float] = [HEAD, 0.01, *parts[: len(parts) // 2]]
    wrong = event({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, "error")
    return {
        "whole": [0.01, HEAD, *parts, 0.01, b"0\r\n\r\n"],
        "whole at once": [HEAD + b"".join(parts) + b"0\r\n\r\n"],
        "closed": begun,
        "reset": [*begun, b"reset"],
        "late": [*begun, 60.0, *parts[len(parts) // 2 :], b"0\r\n\r\n"],
        "ended": [*begun, b"0\r\n\r\n"],
        "no JSON": [*begun, chunk(b"data: {\n\n"), b"0\r\n\r\n"],
        "error": [*begun, chunk(wrong), b"0\r\n\r\n"],
        "no HTTP": [*begun, b"I am no chunk\r\n"],
        "refused": [b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"],
        "not answered": [],
        "answered late": [60.0, HEAD, *parts, b"0\r\n\r\n"],
    }


WAYS = ("read", "read", "one piece", "nothing", "raises", "cancelled")


async def outcome(model: Any, prompt: str, way: str, leaves: float) -> object:
    """What becomes of one stream, by who reads it in one of the `WAYS`; `None`: it may have been cancelled."""
    read = []
    try:
        with anyio.move_on_after(leaves if way == "cancelled" else None):
            async with model.stream(prompt) as stream:
                if way == "nothing":
                    return "left"
                async for piece in stream:
                    read.append(piece)
                    if way == "one piece":
                        return read
                    if way == "raises":
                        raise ZeroDivisionError
    except ModelRequestError as error:
        return read, str(error), error.status, error.retryable, error.retries
    except ZeroDivisionError:
        return read, "raised"
    return None if way == "cancelled" else read


def left_suspended() -> int:
    """How many generators there are that have begun and not ended."""
    return sum(isinstance(each, types.AsyncGeneratorType) and each.ag_frame is not None for each in gc.get_objects())


@pytest.mark.filterwarnings(  # httpx2 leaves its generators where a body breaks off before it is a stream
    "ignore:Async generator:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
async def test_streams_may_be_broken_off_in_every_way(anyio_backend_name: str) -> None:
    """The same for who reads, with this pool and with that of the library; all places are free afterwards."""
    kind = SDK_ON[anyio_backend_name]
    found: dict[bool, dict[int, object]] = {}
    for ours in (True, False):
        network = Streams(kind)
        provider_class, _, spec = CHATS[kind]
        patient = httpx2.Timeout(30.0, pool=100_000.0)  # who waits for a connection depends on who was faster
        given: dict[str, Any] = {"base_url": "http://a/v1", "api_key": KEY, "max_retries": 0, "timeout": patient}
        provider = provider_class(**given, max_concurrency=AT_ONCE)
        async with provider, provider.setup(spec) as handle:
            client = handle.model.client._client
            client._transport._pool = httpcore2.AsyncConnectionPool(
                max_connections=MOST, max_keepalive_connections=MOST // 2, network_backend=network
            )
            if ours:
                pool_connections(client)
            assert await outcome(handle.model, "whole", "read", 0.0) == list(REPLY.text)
            gc.collect()
            suspended = left_suspended()
            chance, numbers, outcomes = random.Random(1), iter(range(STREAMS)), found.setdefault(ours, {})
            asked = [
                (chance.choice([*network.answers]), chance.choice(WAYS), chance.choice([0.0, 0.02, 0.5, 40.0]))
                for _ in range(STREAMS)
            ]

            async def several(model: Any) -> None:
                for number in numbers:  # noqa: B023 - ends before the next
                    outcomes[number] = await outcome(model, *asked[number])  # noqa: B023

            async with anyio.create_task_group() as task_group:
                for _ in range(AT_ONCE):
                    task_group.start_soon(several, handle.model)
            gc.collect()
            await anyio.wait_all_tasks_blocked()
            assert left_suspended() <= suspended
            assert network.most <= MOST
            assert handle.model.limiter.borrowed_tokens == 0
            assert await outcome(handle.model, "whole", "read", 0.0) == list(REPLY.text)
            if ours:
                pool = connections_of(client)
                assert_nobody_waits_for_nothing(pool)
                assert not pool._waiting
                assert len(pool.connections) == len(pool._idle) == len(network.open)
        assert not network.open
    ended = [at for at in range(STREAMS) if found[True][at] is not None and found[False][at] is not None]
    assert [found[True][at] for at in ended] == [found[False][at] for at in ended]
    assert len(ended) > STREAMS // 2
    assert len(Counter(map(repr, found[True].values()))) > 8
