"""The clients under the models: who shares one, who closes it, where its settings come from, and who sees the key."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.providers.conftest import KEY, Chat

from doteval import MissingCredentialsError, ModelRequestError, ModelSetupError, OpenAICompatibleProvider

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


async def test_a_model_is_healthy_while_its_client_is_open(chat: Chat) -> None:
    """Where health is asked for, a client that somebody closed does not stay."""
    async with chat.provider() as provider, await provider.setup(chat.spec) as handle:
        assert await provider.healthy(handle.model)
        await handle.model.client.close()
        assert not await provider.healthy(handle.model)


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


async def test_a_compatible_server_gets_nothing_that_belongs_to_openai(server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no key, and keys, organizations and projects of the environment are not sent to it."""
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "BASE_URL"):
        monkeypatch.setenv(f"OPENAI_{name}", KEY)
    sent: list[str] = []

    async def on_request(request: httpx2.Request) -> None:
        sent.append(repr(request.headers.raw))

    async with httpx2.AsyncClient(event_hooks={"request": [on_request]}) as http_client:
        async with OpenAICompatibleProvider(server.base_url("openai"), http_client=http_client) as provider:
            async with await provider.setup("llama3:8b") as handle:
                assert await handle.model.generate("Hello")
    assert sent
    assert KEY not in sent[0]


@pytest.mark.parametrize(
    ("base_url", "problem"),
    [
        ("localhost:8000", "must be an address such as"),
        ("ftp://host/v1", "must be an address such as"),
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
