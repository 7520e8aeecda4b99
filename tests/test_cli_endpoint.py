"""One address for several models: real servers behind it, real clients in front, on every event loop."""

from __future__ import annotations

import json
import os
import re
import socket
import string
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import anyio
import httpx
import openai
import pytest
from anyio import create_task_group, to_thread
from hypothesis import given
from hypothesis import strategies as st
from tests.llmock_server import LLMock
from tests.servers import relay
from tests.servers.conftest import forked_supervisors as forked_supervisors  # noqa: PLC0414 - fixtures
from tests.servers.conftest import runtime as runtime  # noqa: PLC0414
from tests.servers.leftovers import leftovers
from tests.servers.lights import KEYED, PATIENCE, Events, light

from doteval import ServerProvider
from doteval.cli._endpoint import app as app_module
from doteval.cli._endpoint.app import Endpoint, Served, endpoint
from doteval.cli._endpoint.body import Body
from doteval.cli._endpoint.refusal import Refusal
from doteval.cli._endpoint.run import Plan, answer
from doteval.servers import LocalLauncher
from doteval.servers._local.runtime import Runtime

GATED = [sys.executable, "-I", "-S", str(Path(__file__).parent / "servers" / "gated_server.py"), "{port}"]
LEAVES_STREAMS = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <async_generator:pytest.PytestUnraisableExceptionWarning"
)
"""Where a stream is left in the middle, trio says of each generator of httpx and of the SDKs that nobody closes it."""

ON_BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_supervisors")]


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def lights(launcher: LocalLauncher, *names: str, **settings: Any) -> dict[str, Served]:
    """Light servers with a slot for all of them, each of a provider of its own."""
    return {
        name: Served(
            name, ServerProvider(light(), secret_environment=KEYED, launcher=launcher, **settings), f"of {name}"
        )
        for name in names
    }


@asynccontextmanager
async def listening(
    backend: str, launcher: LocalLauncher, models: dict[str, Served]
) -> AsyncGenerator[tuple[str, anyio.Event]]:
    """The address of an endpoint that answers meanwhile, and what ends it; then what is under way is cut off."""
    plan = Plan(models, launcher, socket.create_server(("127.0.0.1", 0)), None)
    ready, stopped = anyio.Event(), anyio.Event()
    async with create_task_group() as group:
        group.start_soon(answer, plan, backend, ready.set, stopped)
        await ready.wait()
        try:
            yield plan.url, stopped
        finally:
            stopped.set()


def client(url: str, **settings: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key="any", timeout=PATIENCE, **{"max_retries": 0, **settings})


async def ask(sdk: openai.AsyncOpenAI, model: str, prompt: str = "Hello") -> str | None:
    reply = await sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
    assert reply.model == f"of {model}", "the server sees the name that it knows"
    return reply.choices[0].message.content


# -------------------------------------------------------------------- what it is for


@LEAVES_STREAMS
@ON_BOTH
async def test_both_sdks_find_lists_models_and_streams(
    launcher: LocalLauncher, anyio_backend: str, mock_server: LLMock
) -> None:
    """llmock speaks the protocol of both; whatever is below the address goes to the server as it is."""
    to = mock_server.url.rpartition(":")[2]
    provider = ServerProvider([sys.executable, "-I", "-S", relay.__file__, "{port}", to], launcher=launcher)
    async with listening(anyio_backend, launcher, {"my/model": Served("my/model", provider, "gpt-4o")}) as (url, _):
        async with client(url) as sdk:
            assert [each.id async for each in sdk.models.list()] == ["my/model"]
            assert (await sdk.models.retrieve("my/model")).id == "my/model"
            whole = await sdk.chat.completions.create(model="my/model", messages=HELLO)
            assert "gpt-4o" in (whole.choices[0].message.content or "")
            stream = await sdk.chat.completions.create(model="my/model", messages=HELLO, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert "gpt-4o" in "".join(pieces)
            assert len(pieces) > 1
        root = url.removesuffix("/v1")
        async with anthropic.AsyncAnthropic(base_url=root, api_key="any", max_retries=0, timeout=PATIENCE) as claude:
            assert [each.id async for each in claude.models.list()] == ["my/model"]
        async with anthropic.AsyncAnthropic(
            base_url=f"{root}/anthropic", api_key="any", max_retries=0, timeout=PATIENCE
        ) as claude:
            async with claude.messages.stream(model="my/model", messages=HELLO, max_tokens=99) as events:
                assert await events.get_final_text()
    assert not leftovers(launcher.runtime.root)


@ON_BOTH
async def test_models_that_share_a_slot_are_swapped_and_all_requests_answered(
    launcher: LocalLauncher, anyio_backend: str
) -> None:
    """One after the other, and sixteen at once; there is never more than one server."""
    models = lights(launcher, "small", "large")
    async with listening(anyio_backend, launcher, models) as (url, _), client(url) as sdk:
        first, second = await ask(sdk, "small"), await ask(sdk, "small")
        assert first == second
        assert await ask(sdk, "large") != first
        replies: list[tuple[str, str | None]] = []

        async def one(model: str) -> None:
            replies.append((model, await ask(sdk, model)))

        async with create_task_group() as group:
            for number in range(16):
                group.start_soon(one, ("small", "large")[number % 2])
        assert len(replies) == 16
        assert len(set(replies)) == len({pid for _, pid in replies}) <= 4, "a swap is for many requests"
    assert not leftovers(launcher.runtime.root)


@LEAVES_STREAMS
@ON_BOTH
async def test_a_stream_is_passed_on_as_it_is_and_keeps_its_model_until_it_ends(
    launcher: LocalLauncher, fifo: Path, anyio_backend: str
) -> None:
    """Event by event, byte by byte; who wants the slot meanwhile waits."""
    events = Events()
    steps = ServerProvider([*GATED, str(fifo)], launcher=launcher, max_concurrency=1)
    models = {"steps": Served("steps", steps, "x"), **lights(launcher, "small", on_event=events)}
    async with listening(anyio_backend, launcher, models) as (url, _), client(url) as sdk:
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as http:
            async with http.stream("POST", "/anything?a=b", content=b'{"model": "steps"}') as response:
                pieces = response.aiter_raw()
                assert await anext(pieces) == b"data: first\n\n"
                assert response.headers["x-of-server"] == "yes"
                async with create_task_group() as group:
                    group.start_soon(ask, sdk, "small")
                    await events.until("opening")
                    async with steps.setup("x") as handle:
                        assert not events.of("opened")
                        limiter = handle.model.limiter
                        assert limiter is not None
                        assert limiter.borrowed_tokens == 1, "the request counts among those at once"
                        await get_nothing(handle.model.server.url)
                    rest = b"".join([piece async for piece in pieces])
                    assert rest == b": a comment\r\n\r\ndata: last\n\n"
                    await events.until("opened")


async def get_nothing(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        await http.get(f"{url}/go")


# -------------------------------------------------------------------- clients that go


@LEAVES_STREAMS
@ON_BOTH
async def test_a_client_that_goes_in_the_middle_ends_the_request_and_its_lease(
    launcher: LocalLauncher, fifo: Path, anyio_backend: str
) -> None:
    """The server sees it, and can stop to compute."""
    events = Events()
    steps = ServerProvider([*GATED, str(fifo)], launcher=launcher, on_event=events)
    async with listening(anyio_backend, launcher, {"steps": Served("steps", steps, "x")}) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as http:
            async with http.stream("POST", "/chat", content=b'{"model": "steps"}') as response:
                assert await anext(response.aiter_raw()) == b"data: first\n\n"
        assert await to_thread.run_sync(fifo.read_text) == "the client has gone\n"
        assert (await events.until("released")).leases == 0


@ON_BOTH
async def test_a_client_that_goes_before_its_model_is_ready_ends_the_start(
    launcher: LocalLauncher, fifo: Path, anyio_backend: str
) -> None:
    """As nobody else waits for it."""
    events = Events()
    slow = ServerProvider(light("trouble=slow", f"gate={fifo}"), launcher=launcher, on_event=events)
    async with listening(anyio_backend, launcher, {"slow": Served("slow", slow, "x")}) as (url, _):
        async with client(url) as sdk, create_task_group() as group:
            group.start_soon(ask, sdk, "slow")
            await events.until("opening")
            group.cancel_scope.cancel()
        await events.until("open_cancelled")
        assert slow.statistics().opens == 0
    assert not leftovers(launcher.runtime.root)


@LEAVES_STREAMS
@ON_BOTH
async def test_what_is_under_way_is_cut_off_when_it_ends(
    launcher: LocalLauncher, fifo: Path, anyio_backend: str
) -> None:
    """Otherwise a stream could go on for ever; the client is told by a connection that breaks."""
    steps = ServerProvider([*GATED, str(fifo)], launcher=launcher)
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
        async with listening(anyio_backend, launcher, {"steps": Served("steps", steps, "x")}) as (url, stopped):
            async with http.stream("POST", f"{url}/chat", content=b'{"model": "steps"}') as response:
                pieces = response.aiter_raw()
                assert await anext(pieces) == b"data: first\n\n"
                stopped.set()
                with pytest.raises(httpx.RemoteProtocolError):
                    await anext(pieces)
    assert not leftovers(launcher.runtime.root)


# -------------------------------------------------------------------- what goes wrong behind it


@ON_BOTH
async def test_a_model_that_does_not_start_says_why_once(launcher: LocalLauncher, anyio_backend: str) -> None:
    """The SDK, which would send again what has failed with such a status, is told not to."""
    broken = ServerProvider(light("trouble=model"), launcher=launcher, remember_failures=60)
    async with listening(anyio_backend, launcher, {"broken": Served("broken", broken, "x")}) as (url, _):
        async with client(url, max_retries=2) as sdk:
            with pytest.raises(openai.InternalServerError, match="not a valid model identifier") as failed:
                await ask(sdk, "broken")
            assert (failed.value.status_code, failed.value.code) == (503, "model_not_started")
            assert failed.value.response.headers["x-should-retry"] == "false"
            assert len(launcher.starts) == 1


@LEAVES_STREAMS
@ON_BOTH
async def test_a_server_that_dies_is_told_as_that_and_started_for_the_next_request(
    launcher: LocalLauncher, anyio_backend: str
) -> None:
    """Before its answer has begun by a status, between two events by an event; what it has printed last is in both."""
    async with listening(anyio_backend, launcher, lights(launcher, "small")) as (url, _), client(url) as sdk:
        with pytest.raises(
            openai.InternalServerError, match=r"(?s)gave no answer.*assertion failed in the engine"
        ) as failed:
            await ask(sdk, "small", "die")
        assert (failed.value.status_code, failed.value.code) == (502, "model_lost")
        for how in ("die", "vanish"):  # with the length of each piece, and with none, where the end is only an end
            messages: list[Any] = [{"role": "user", "content": how}]
            stream = await sdk.chat.completions.create(model="small", messages=messages, stream=True)
            with pytest.raises(openai.APIError, match="gave no answer"):
                assert [chunk.choices[0].delta.content async for chunk in stream]
        assert await ask(sdk, "small")
    assert len(launcher.starts) == 4


@LEAVES_STREAMS
@ON_BOTH
async def test_what_one_replica_fails_at_another_one_answers(
    launcher: LocalLauncher, tmp_path: Path, anyio_backend: str
) -> None:
    """Where it refuses, and where it dies; what has begun is told as cut off, also where nothing says its length."""
    events = Events()
    command = light(f"patience={tmp_path / 'patience'}")
    settings: Any = {"secret_environment": KEYED, "replicas": 2, "capacity": 2, "on_event": events}
    twins = ServerProvider(command, launcher=launcher, **settings)
    async with listening(anyio_backend, launcher, {"twins": Served("twins", twins, "of twins")}) as (url, _):
        async with client(url) as sdk, twins.setup("of twins"):
            await events.until("replica_opened", 2)
            assert await ask(sdk, "twins", "unwell")
            for count, how in enumerate(("die", "vanish"), 1):
                messages: list[Any] = [{"role": "user", "content": how}]
                stream = await sdk.chat.completions.create(model="twins", messages=messages, stream=True)
                with pytest.raises(openai.APIError, match=r"(?s)gave no answer.*exited with code 3"):
                    assert [chunk.choices[0].delta.content async for chunk in stream]
                assert await ask(sdk, "twins")
                await events.until("replica_opened", 2 + count)
            with pytest.raises(openai.InternalServerError, match=r"(?s)gave no answer.*assertion failed") as failed:
                await ask(sdk, "twins", "die")
            assert (failed.value.status_code, failed.value.code) == (502, "model_lost")
            await events.until("replica_lost", 5)  # two by streams, and three by what kills its servers
            with pytest.raises(openai.InternalServerError, match="out of luck") as failed:
                await ask(sdk, "twins", "fail")
            assert failed.value.response.headers.get("x-should-retry") is None
            assert len(events.of("replica_lost")) == 5


@ON_BOTH
async def test_the_answers_of_a_server_are_passed_on_whatever_they_are(
    launcher: LocalLauncher, anyio_backend: str
) -> None:
    async with listening(anyio_backend, launcher, lights(launcher, "small")) as (url, _), client(url) as sdk:
        with pytest.raises(openai.InternalServerError, match="out of luck"):
            await ask(sdk, "small", "fail")


@ON_BOTH
async def test_waiting_is_bounded(launcher: LocalLauncher, anyio_backend: str) -> None:
    """In time, by what the provider was told; and who has it is said."""
    models = lights(launcher, "small") | lights(launcher, "large", setup_timeout=0.1)
    async with listening(anyio_backend, launcher, models) as (url, _), client(url) as sdk:
        async with models["small"].provider.setup("of small"):
            with pytest.raises(openai.InternalServerError, match="large") as failed:
                await ask(sdk, "large")
        assert failed.value.code == "model_busy"
        assert failed.value.response.headers["retry-after"] == "5"


# -------------------------------------------------------------------- what never gets to a model

ONE = {
    "small": Served("small", ServerProvider(["never-started", "{port}"]), "x"),
    "l/arge": Served("l/arge", None, "y"),
}  # type: ignore[arg-type]


@asynccontextmanager
async def asked(**settings: Any) -> AsyncGenerator[tuple[Endpoint, httpx.AsyncClient]]:
    """The app without a server in front of it."""
    async with endpoint(ONE, **settings) as app:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as http:
            yield app, http


BOMB = b"[" * 100_000


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code", "says"),
    [
        ("POST", "/v1/chat/completions", {"json": {"model": "no"}}, 404, "model_not_found", "'no' .* small, l/arge"),
        ("POST", "/v1/embeddings", {"json": {}}, 400, "model_missing", "which model it is for"),
        ("POST", "/v1/embeddings", {"json": {"model": None}}, 400, "model_missing", "which model"),
        ("POST", "/v1/embeddings", {"json": ["model"]}, 400, "invalid_json", "JSON object"),
        ("POST", "/v1/embeddings", {"content": b'{"model": "small"} x'}, 400, "invalid_json", "extra data"),
        ("POST", "/v1/embeddings", {"content": b"\xff"}, 400, "invalid_json", "JSON object"),
        ("POST", "/v1/embeddings", {"content": b'{"a": ' + BOMB}, 400, "invalid_json", "JSON object"),
        ("POST", "/v1/embeddings", {"content": b""}, 400, "invalid_json", "JSON object"),
        ("POST", "/v1/audio", {"files": {"file": b"x"}}, 400, "model_missing", "field 'model'"),
        ("POST", "/v1/audio", {"files": {"file": b"x"}, "data": {"model": "no"}}, 404, "model_not_found", "'no'"),
        ("GET", "/v1/models/no", {}, 404, "model_not_found", "there are: small"),
        ("GET", "/v1/responses/resp_1", {}, 404, "not_found", "POST"),
        ("DELETE", "/v1/models/small", {}, 404, "not_found", "POST"),
        ("GET", "/health", {"headers": {"host": "evil.example"}}, 403, "wrong_host", "does not lead here"),
        ("GET", "/health", {"headers": {"sec-fetch-site": "cross-site"}}, 403, "cross_site", "other sites"),
    ],
)
async def test_what_cannot_be_answered_is_explained(
    method: str, path: str, options: dict[str, Any], status: int, code: str, says: str, anyio_backend: str
) -> None:
    """In the form of OpenAI's errors, and of Anthropic's."""
    async with asked() as (_, http):
        response = await http.request(method, path, **options)
    told = response.json()
    assert (response.status_code, told["type"], told["error"]["code"]) == (status, "error", code)
    assert re.search(says, told["error"]["message"])


@LEAVES_STREAMS
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_what_it_is_asked_about_itself(monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> None:
    async with asked(api_key="sk-right") as (app, http):
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "sk-right"}, {"x-api-key": "sk-righ"}):
            refused = await http.get("/v1/models", headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        for headers in ({"authorization": "bearer sk-right"}, {"x-api-key": "sk-right", "host": "any.where"}):
            assert (await http.get("/v1/models/l%2Farge/", headers=headers)).json()["id"] == "l/arge"
        right = {"x-api-key": "sk-right"}
        assert (await http.get("/health", headers=right)).json() == {"status": "ok"}
        with monkeypatch.context() as patch:
            patch.setattr(app_module, "MOST_BYTES", 10)
            too_large = await http.post("/v1/x", headers=right, content=b'{"model": "small"}')
        assert (too_large.status_code, too_large.json()["error"]["code"]) == (413, "too_large")
        app.stop()
        assert (await http.get("/health", headers=right)).json()["error"]["code"] == "stopping"
    async with asked(most_waiting=0) as (_, http):
        refused = await http.post("/v1/x", json={"model": "small"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_waiting")


# -------------------------------------------------------------------- how a request is renamed

NAMES = st.text(string.printable, max_size=5) | st.just("model") | st.text(max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.text(max_size=5),
    NAMES,
    st.booleans(),
    st.sampled_from(["", " ", "\r\n\t"]),
)
def test_a_request_under_another_name_is_the_same_otherwise(
    others: dict[str, Any], model: str, name: str, is_ascii: bool, space: str
) -> None:
    """Also with the same key deeper down, in strings, twice, and with all sorts of characters before it."""
    others.pop("model", None)
    separators = (f"{space},{space}", f"{space}:{space}")
    parts = [
        json.dumps({key: value}, ensure_ascii=is_ascii, separators=separators)[1:-1] for key, value in others.items()
    ]

    def written(called: str) -> bytes:
        mine = f'"model"{separators[1]}{json.dumps(called)}'
        text = separators[0].join([mine, *parts, mine])
        return f"{space}{{{space}{text}{space}}}{space}".encode("utf-8", "surrogatepass")

    try:
        content = written(model)
        content.decode()
    except UnicodeDecodeError:
        with pytest.raises(Refusal):
            Body(content, "application/json")
        return
    body = Body(content, "application/json")
    assert body.model == model
    assert body.naming(model) is content
    assert body.naming(name) == written(name)


@given(st.binary(max_size=40), st.sampled_from(["b", "--b", "a-b c"]))
def test_a_form_under_another_name_is_the_same_otherwise(data: bytes, boundary: str) -> None:
    def written(model: bytes) -> bytes:
        mark = b"--" + boundary.encode()
        file = b'Content-Disposition: form-data; name="file"; filename="model"\r\n\r\n' + data
        mine = b'Content-Disposition: form-data; name="model"\r\n\r\n' + model
        return b"\r\n".join([mark, file, mark, mine, mark + b"--", b""])

    body = Body(written("naïve".encode()), f'multipart/form-data; boundary="{boundary}"')
    assert body.model == "naïve"
    assert body.naming("other") == written(b"other")
