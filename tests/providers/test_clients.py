"""The clients under the models: who shares one, who closes it, where its settings come from, and who sees the key."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import openai
import pytest
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.providers.conftest import KEY, Chat
from tests.providers.wire import Reply, WireServer, answer

from doteval import (
    AnthropicProvider,
    MissingCredentialsError,
    ModelRequestError,
    ModelSetupError,
    OpenAICompatibleProvider,
    OpenAIProvider,
)

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


async def test_models_share_a_client(chat: Chat) -> None:
    """Twenty models set up at once with the same settings are twenty resources on one client."""
    async with chat.provider() as provider:
        models: list[Any] = []

        async def set_up(number: int) -> None:
            models.append((await provider.setup(f"model-{number}")).model)

        async with anyio.create_task_group() as task_group:
            for number in range(20):
                task_group.start_soon(set_up, number)
        assert len({id(model.client) for model in models}) == 1
        assert provider.statistics().opens == 20
        assert len({model.name for model in models}) == 20


async def test_other_settings_need_another_client(chat: Chat) -> None:
    """Key, address and time limit are the client's; what requests are sent with, and how many, is the model's."""
    async with chat.provider() as provider:
        client = (await provider.setup(chat.spec)).model.client
        for same in ({"params": {"temperature": 0}}, {"max_concurrency": 1}, {"api_key": KEY}, {"timeout": 30}):
            assert (await provider.setup(chat.spec, **same)).model.client is client
        for other in ({"api_key": "another"}, {"base_url": f"{chat.base_url}/x"}, {"timeout": 1}, {"max_retries": 1}):
            assert (await provider.setup(chat.spec, **other)).model.client is not client


async def test_a_client_closes_after_its_last_model(chat: Chat) -> None:
    """Not earlier: the models that are left go on."""
    async with chat.provider(keep_alive=0) as provider:
        first, second = await provider.setup("first"), await provider.setup("second")
        client = first.model.client
        await first.teardown()
        assert not client.is_closed()
        assert await second.model.generate("Hello")
        await second.teardown()
        assert client.is_closed()
        async with await provider.setup("first") as handle:
            assert handle.model.client is not client
            assert await handle.model.generate("Hello")


async def test_all_clients_are_closed_with_the_provider(chat: Chat) -> None:
    """Also in a scope that is cancelled, and however many there are."""
    with anyio.CancelScope() as scope:
        async with chat.provider() as provider:
            handles = [await provider.setup(chat.spec, timeout=timeout) for timeout in range(1, 6)]
            clients = [handle.model.client for handle in handles]
            scope.cancel()
    assert len(set(map(id, clients))) == 5
    assert all(client.is_closed() for client in clients)


async def test_setup_and_teardown_may_be_cancelled_at_every_checkpoint(sdk: Chat) -> None:
    """No client is left open, and the next setup works."""
    clients: list[Any] = []

    async with sdk.provider(keep_alive=0) as provider:

        async def set_up_and_tear_down() -> None:
            handle = await provider.setup(sdk.spec)
            clients.append(handle.model.client)
            await handle.teardown()

        async def trial(k: int) -> bool:
            reached = await cancelled_at(k, set_up_and_tear_down)
            await anyio.wait_all_tasks_blocked()
            await set_up_and_tear_down()
            return reached

        assert await at_every_checkpoint(trial) > 1
        assert all(client.is_closed() for client in clients)
    assert provider._clients.statistics().opens == provider._clients.statistics().closes >= len(set(map(id, clients)))


async def _use_as_the_sdk_says(client: Any) -> None:
    async with client:
        pass


async def _use_a_copy_as_the_sdk_says(client: Any) -> None:
    async with client.with_options(max_retries=1):
        pass


@pytest.mark.parametrize("close", [_use_as_the_sdk_says, _use_a_copy_as_the_sdk_says])
@pytest.mark.parametrize("is_busy", [True, False], ids=["busy", "idle"])
async def test_a_client_that_somebody_closed_heals_by_itself(chat: Chat, close: Any, is_busy: bool) -> None:
    """Whoever leases the model next gets one that works, also another model on that client; who holds it is told."""
    async with chat.provider() as provider:
        handle = await provider.setup(chat.spec)
        other = await provider.setup("another-model")
        await close(handle.model.client)
        if not is_busy:
            await handle.teardown()
            await other.teardown()
        for spec in (chat.spec, "another-model"):
            async with provider.setup(spec) as again:
                assert await again.model.generate("Hello")
        assert not handle.is_active
        assert not other.is_active
    assert provider._clients.statistics().opens == provider._clients.statistics().closes == 2


@pytest.mark.parametrize("make", [httpx2.AsyncClient, httpx.AsyncClient])
async def test_an_http_client_stays_its_owners(chat: Chat, make: Callable[..., Any]) -> None:
    """Requests go through it, and it outlives the provider; Anthropic's SDK does not take the older one."""
    seen: list[str] = []

    async def on_request(request: Any) -> None:
        seen.append(request.url.path)

    async with make(event_hooks={"request": [on_request]}, trust_env=False) as http_client:
        async with chat.provider(http_client=http_client) as provider:
            if chat.kind == "anthropic" and make is httpx.AsyncClient:
                with pytest.raises(ModelSetupError, match="httpx2") as caught:
                    await provider.setup(chat.spec)
                assert isinstance(caught.value.__cause__, TypeError)
                return
            async with await provider.setup(chat.spec) as handle:
                await handle.model.generate("Hello")
        assert not http_client.is_closed
        assert (await http_client.get(f"{chat.server.url}/health")).status_code == 200
    assert len(seen) == 2


async def test_a_missing_key_says_which_variable_to_set(sdk: Chat) -> None:
    """It is the cause of the failed setup, and no request was made."""
    async with sdk.provider(api_key=None) as provider:
        with pytest.raises(ModelSetupError, match=f"Set the environment variable {sdk.kind.upper()}_API_KEY") as caught:
            await provider.setup(sdk.spec)
    assert isinstance(caught.value.__cause__, MissingCredentialsError)
    assert caught.value.__cause__.variable == f"{sdk.kind.upper()}_API_KEY"
    assert sdk.server.requests() == []


async def test_key_and_address_come_from_the_environment_when_they_are_needed(
    sdk: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when the module is imported nor when the provider is made."""
    async with sdk.provider(api_key=None, base_url=None) as provider:
        monkeypatch.setenv(f"{sdk.kind.upper()}_API_KEY", f"{KEY}\n")  # as from a file
        monkeypatch.setenv(f"{sdk.kind.upper()}_BASE_URL", sdk.base_url)
        async with await provider.setup(sdk.spec) as handle:
            assert handle.model.client.api_key == KEY
            assert await handle.model.generate("Hello")


async def test_without_an_address_it_is_the_vendors(sdk: Chat) -> None:
    """An empty variable counts as none."""
    async with sdk.provider(base_url=None) as provider, await provider.setup(sdk.spec) as handle:
        assert str(handle.model.client.base_url).startswith(f"https://api.{sdk.kind}.com")


def variables_of(package: ModuleType, prefix: str) -> set[str]:
    """The environment variables that an SDK knows, by its source."""
    assert package.__file__ is not None
    sources = Path(package.__file__).parent.rglob("*.py")
    return {name for source in sources for name in re.findall(rf'"({prefix}_[A-Z_]+)"', source.read_text("utf-8"))}


async def test_a_compatible_server_gets_nothing_that_belongs_to_openai(
    monkeypatch: pytest.MonkeyPatch, wire: WireServer
) -> None:
    """Nothing of any variable that the SDK reads is among the bytes that arrive; nor after `with_options`."""
    known = variables_of(openai, "OPENAI")
    assert known >= {f"OPENAI_{name}" for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS")}
    for name in known - {"OPENAI_LOG"}:
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Mine: {KEY}\nAuthorization: Bearer {KEY}")
    wire.script(answer("openai", Reply(["Hi"])))
    async with OpenAICompatibleProvider(f"{wire.url}/v1", default_headers={"X-Asked-For": "yes"}) as provider:
        async with await provider.setup("llama3:8b") as handle:
            assert await handle.model.generate("Hello") == "Hi"
            client = handle.model.client.with_options(timeout=20).with_options(max_retries=0)
            await client.chat.completions.create(model="m", messages=[])
    assert len(wire.asked) == 2
    for asked in wire.asked:
        assert KEY.encode() not in asked
        assert b"openai-organization" not in asked.lower()
        assert b"openai-project" not in asked.lower()
        assert b"x-asked-for: yes" in asked.lower()
        assert b"authorization: bearer no-key-needed" in asked.lower()


async def test_a_token_is_a_credential(monkeypatch: pytest.MonkeyPatch, wire: WireServer) -> None:
    """Given, or in the environment, where there is no key; it is as secret as a key."""
    wire.script(answer("anthropic", Reply(["Hi"])))
    for variables, settings, is_token in (
        ({"AUTH_TOKEN": KEY}, {}, True),
        ({}, {"auth_token": KEY}, True),
        ({"API_KEY": "another-key"}, {"auth_token": KEY}, True),
        ({"AUTH_TOKEN": "another-token"}, {"api_key": KEY}, False),
        ({"AUTH_TOKEN": "another-token", "API_KEY": KEY}, {}, False),
    ):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(f"ANTHROPIC_{name}", value)
            async with AnthropicProvider(base_url=wire.url, **settings) as provider:
                async with await provider.setup("claude-sonnet-5-5") as handle:
                    await handle.model.generate("Hello")
                    client = handle.model.client
                    assert (client.auth_token, client.api_key) == ((KEY, None) if is_token else (None, KEY))
                    assert KEY not in repr([provider, handle, handle.model])
                assert KEY in provider.secrets()
        asked = wire.asked.pop()
        assert KEY.encode() in asked
        assert b"another" not in asked


async def test_all_models_of_a_key_share_its_limit(sdk: Chat) -> None:
    """Three requests at once, together, whatever the settings of the clients; another key has a limit of its own."""
    sdk.server.script({"type": "delay", "seconds": 0.02, "times": None})
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def on_request(request: httpx2.Request) -> None:
        running[key_of(request)] += 1
        most[key_of(request)] = max(most[key_of(request)], running[key_of(request)])

    async def on_response(response: httpx2.Response) -> None:
        running[key_of(response.request)] -= 1

    def key_of(request: httpx2.Request) -> str:
        return str(request.headers.get("x-api-key") or request.headers["authorization"])[-1]

    async with httpx2.AsyncClient(event_hooks={"request": [on_request], "response": [on_response]}) as http_client:
        async with sdk.provider(max_concurrency_per_key=3, http_client=http_client, api_key="key-1") as provider:
            async with anyio.create_task_group() as task_group:
                for settings in ({"max_concurrency": 2}, {}, {"timeout": 20}, {"api_key": "key-2"}):
                    handle = await provider.setup(sdk.spec, **settings)
                    for number in range(6):
                        task_group.start_soon(handle.model.generate, f"Hello {number}")
    assert most == {"1": 3, "2": 3}
    with pytest.raises(ValueError, match="max_concurrency_per_key must be"):
        sdk.provider(max_concurrency_per_key=0)
    async with sdk.provider() as provider:
        with pytest.raises(TypeError, match="max_concurrency_per_key: that is the same for all models"):
            await provider.setup(sdk.spec, max_concurrency_per_key=3)


@pytest.mark.parametrize(
    ("base_url", "problem"),
    [
        ("localhost:8000", "must be an address such as"),
        ("ftp://host/v1", "must be an address such as"),
        (f"http://host/v1?key={KEY}", "must end before"),
        (f"http://host/v1#{KEY}", "must end before"),
        (f"http://user:{KEY}@host/v1", "must not hold a user name or password"),
    ],
)
async def test_an_address_that_cannot_work_is_refused(sdk: Chat, base_url: str, problem: str) -> None:
    """The message says what one looks like, and repeats no password."""
    async with sdk.provider(base_url=base_url) as provider:
        with pytest.raises(ModelSetupError, match=problem) as caught:
            await provider.setup(sdk.spec)
    assert KEY not in str(caught.value)


async def test_a_key_that_cannot_be_sent_is_refused(sdk: Chat) -> None:
    """Sent, it would come back in the message of the HTTP library."""
    async with sdk.provider(api_key=f"{KEY}\nand more") as provider:
        with pytest.raises(ModelSetupError, match="characters that no HTTP header can hold") as caught:
            await provider.setup(sdk.spec)
    assert KEY not in str(caught.value)


async def test_configuration_that_does_not_exist_is_refused(sdk: Chat) -> None:
    """The message says what there is, and where parameters of requests go."""
    async with sdk.provider() as provider:
        with pytest.raises(TypeError, match=r"has no keyword argument temperature; there are .*\n.*params=\{\.\.\.\}"):
            await provider.setup(sdk.spec, temperature=0)


@pytest.mark.parametrize("api_key", ["x", "e", "EMPTY", "none"])
async def test_a_placeholder_is_no_secret(sdk: Chat, api_key: str) -> None:
    """Masked, it would make a riddle of the message."""
    async with sdk.provider(api_key=api_key) as provider:
        with pytest.raises(ModelSetupError, match="max_concurrency must be a whole number of at least 1, or None"):
            await provider.setup(sdk.spec, max_concurrency=0)


async def test_a_key_may_come_from_any_variable(wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read when a model is opened; that it is missing is told with its name, and so is that it is refused."""
    settings: Any = {"base_url": wire.url, "key_variable": "SOME_VENDOR_KEY"}
    for provider_class, spec in ((OpenAICompatibleProvider, "m"), (OpenAIProvider, "m"), (AnthropicProvider, "m")):
        async with provider_class(**settings) as provider:
            with pytest.raises(ModelSetupError, match="SOME_VENDOR_KEY"):
                await provider.setup(spec)
            monkeypatch.setenv("SOME_VENDOR_KEY", KEY)
            async with await provider.setup(spec) as handle:
                assert handle.model.client.api_key == KEY
            assert KEY in provider.secrets()
            monkeypatch.delenv("SOME_VENDOR_KEY")


async def test_no_key_is_ever_shown(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a repr, an event, a statistic, an error or a log record of anybody, whichever way the key was given."""
    events: list[Any] = []
    shown: list[object] = []
    caplog.set_level(logging.DEBUG)
    chat.server.script({"type": "fail", "status": 401, "message": KEY, "times": None})
    async with AsyncExitStack() as stack:
        for settings, config in (
            ({"api_key": KEY}, {}),
            ({"api_key": "none"}, {"api_key": KEY}),
            ({"api_key": "none"}, {"default_headers": {"X-Api-Key": KEY, "Authorization": f"Bearer {KEY}"}}),
        ):
            provider = await stack.enter_async_context(chat.provider(on_event=events.append, **settings))
            handle = await provider.setup(chat.spec, **config)
            with pytest.raises(ModelRequestError) as caught:
                await handle.model.generate("Hello")
            shown += [provider, handle, handle.model, handle.resource_id, provider.statistics(), caught.value]
            shown += [caught.value.__cause__, str(caught.value), str(caught.value.__cause__)]
            with pytest.raises(ModelSetupError) as failed:
                await provider.setup(chat.spec, **config, base_url=KEY)
            shown += [failed.value, str(failed.value)]
    assert events
    assert KEY not in repr([*shown, *events])
    assert KEY not in caplog.text
    assert "http" in caplog.text  # the libraries below did log
