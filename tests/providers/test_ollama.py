"""Ollama: a daemon that somebody else runs, and what its provider asks of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import anyio
import pytest
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.providers.ollama_daemon import FakeOllama, running_ollama

from doteval import ModelSetupError
from doteval.providers.ollama import OllamaProvider, daemon_url
from doteval.servers._local.ports import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def running_daemon() -> Iterator[FakeOllama]:
    with running_ollama() as daemon:
        yield daemon


@pytest.fixture
def daemon(running_daemon: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> FakeOllama:
    """A daemon as if just started."""
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    running_daemon.reset()
    return running_daemon


def provider_of(daemon: FakeOllama, **settings: Any) -> OllamaProvider:
    return OllamaProvider(daemon.url, max_retries=0, timeout=30, **settings)


async def test_a_model_is_loaded_answers_and_is_unloaded(daemon: FakeOllama) -> None:
    """The handle's model speaks OpenAI's protocol with the daemon; closing it frees the daemon's memory."""
    async with provider_of(daemon) as provider:
        async with await provider.setup("tiny") as handle:
            assert daemon.loaded == {"tiny:latest"}
            assert handle.model.name == "tiny"
            assert await handle.model.generate("Hi") == "Hello"
            async with handle.model.stream("Hi") as stream:
                assert [text async for text in stream] == ["Hello"]
        assert daemon.loaded == {"tiny:latest"}, "it stays open for the next one"
    assert daemon.loaded == set()
    assert daemon.asked("/api/generate")[0] == {"model": "tiny", "stream": False}
    await daemon.wait_until_left()


@pytest.mark.parametrize(
    ("constructor", "config", "sent"),
    [
        ({"loaded_for": 60}, {}, 60),
        ({}, {"loaded_for": 0.5}, 0.5),
        ({"loaded_for": 60}, {"loaded_for": float("inf")}, -1),
    ],
)
async def test_how_long_the_daemon_keeps_a_model(
    daemon: FakeOllama, constructor: dict[str, Any], config: dict[str, Any], sent: float
) -> None:
    """In seconds, for all models or for one; without end in Ollama's own words."""
    async with provider_of(daemon, **constructor) as provider, await provider.setup("tiny", **config):
        assert daemon.asked("/api/generate") == [{"model": "tiny", "stream": False, "keep_alive": sent}]


@pytest.mark.parametrize(("constructor", "config"), [({"unload": False}, {}), ({}, {"unload": False})])
async def test_a_model_can_be_left_loaded(
    daemon: FakeOllama, constructor: dict[str, Any], config: dict[str, Any]
) -> None:
    """For somebody who comes later."""
    async with provider_of(daemon, **constructor) as provider, await provider.setup("tiny", **config):
        pass
    assert daemon.loaded == {"tiny:latest"}


async def test_a_model_that_others_loaded_is_left_loaded(daemon: FakeOllama) -> None:
    """The daemon is not ours alone."""
    daemon.loaded.add("tiny:latest")
    async with provider_of(daemon) as provider, await provider.setup("tiny"):
        pass
    assert daemon.loaded == {"tiny:latest"}


async def test_a_model_for_embeddings_is_neither_loaded_nor_unloaded(daemon: FakeOllama) -> None:
    """The daemon refuses to load it without something to embed; its client works all the same."""
    async with provider_of(daemon) as provider, await provider.setup("vectors") as handle:
        assert str(handle.model.client.base_url) == f"{daemon.url}/v1/"
    assert daemon.asked("/api/generate") == []


async def test_a_missing_model_is_an_error_that_says_how_to_get_it(daemon: FakeOllama) -> None:
    """Gigabytes are not downloaded unasked."""
    async with provider_of(daemon) as provider:
        with pytest.raises(ModelSetupError) as info:
            await provider.setup("remote")
        assert isinstance(info.value.__cause__, LookupError)
    assert str(info.value).splitlines() == [
        "Failed to setup resource 'remote': model 'remote:latest' not found, says the Ollama daemon at " + daemon.url,
        "Run 'ollama pull remote', or pass pull=True.",
    ]
    assert daemon.asked("/api/pull") == []


@pytest.mark.parametrize(("constructor", "config"), [({"pull": True}, {}), ({}, {"pull": True})])
async def test_a_missing_model_is_pulled(
    daemon: FakeOllama, constructor: dict[str, Any], config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Where it was asked for; the log says how far it is."""
    caplog.set_level(logging.INFO, "doteval.ollama")
    async with provider_of(daemon, **constructor) as provider:
        async with await provider.setup("remote", **config) as handle:
            assert await handle.model.generate("Hi") == "Hello"
    assert [record.message for record in caplog.records if record.name == "doteval.ollama"] == [
        "pulling remote",
        "pulling remote: 10 % of sha256:abc",
        "pulling remote: 100 % of sha256:abc",
        "pulled remote",
    ]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([{"status": "pulling manifest"}, {"error": "no space left on device"}], "no space left on device"),
        ([{"status": "pulling manifest"}], "the download ended before it was complete"),
    ],
)
async def test_a_pull_that_fails_says_why(daemon: FakeOllama, events: list[dict[str, Any]], reason: str) -> None:
    """Also when the daemon notices in the middle, or ends without a word."""
    daemon.pull_events = events
    async with provider_of(daemon, pull=True) as provider:
        with pytest.raises(ModelSetupError, match=f"could not download 'remote': {reason}"):
            await provider.setup("remote")
    await daemon.wait_until_left()


async def test_a_model_that_nobody_has_says_so(daemon: FakeOllama) -> None:
    """With the daemon's own words."""
    async with provider_of(daemon, pull=True) as provider:
        with pytest.raises(ModelSetupError, match="could not download 'nothing': pull model manifest: file does not"):
            await provider.setup("nothing")


async def test_a_model_that_cannot_be_loaded_says_why(daemon: FakeOllama) -> None:
    """With the daemon's own words."""
    daemon.load_error = "model requires more system memory (40.0 GiB) than is available (20.0 GiB)"
    async with provider_of(daemon) as provider:
        with pytest.raises(
            ModelSetupError, match=r"could not load 'tiny': model requires more system memory .*\nTake a smaller"
        ):
            await provider.setup("tiny")
    await daemon.wait_until_left()


async def test_a_cancelled_pull_leaves_no_connection(daemon: FakeOllama) -> None:
    """The daemon sees at once that nobody wants the model any more, and stops."""
    daemon.pull_events, daemon.pull_waits = daemon.pull_events[:2], True
    async with provider_of(daemon, pull=True) as provider:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(provider.setup, "remote")
            await daemon.wait_for(daemon.begun)
            task_group.cancel_scope.cancel()
        await daemon.wait_for(daemon.broken_off)
        await daemon.wait_until_left()
    assert daemon.loaded == set()


async def test_a_cancelled_loading_is_undone(daemon: FakeOllama) -> None:
    """Whether or not the daemon finished loading, the model is not left in its memory."""
    daemon.load_waits = True
    async with provider_of(daemon) as provider:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(provider.setup, "tiny")
            await daemon.wait_for(daemon.begun)
            task_group.cancel_scope.cancel()
        await daemon.wait_until_left()
    assert daemon.asked("/api/generate")[-1] == {"model": "tiny", "stream": False, "keep_alive": 0}


@pytest.mark.skipif(
    tuple(map(int, version("anyio").split(".")[:2])) < (4, 16),
    reason="before 4.16, anyio forgets a connection on asyncio that is cancelled in the moment when it is made",
)
async def test_opening_may_be_cancelled_at_every_checkpoint(daemon: FakeOllama) -> None:
    """No connection is left, no model stays loaded, and the next one works."""
    async with provider_of(daemon) as provider:

        async def open_and_close() -> None:
            async with provider.open("tiny"):
                pass

        async def trial(k: int) -> bool:
            reached = await cancelled_at(k, open_and_close)
            await daemon.wait_until_left()
            assert daemon.loaded == set()
            return reached

        assert await at_every_checkpoint(trial) > 10
        async with await provider.setup("tiny") as handle:
            assert await handle.model.generate("Hi") == "Hello"


async def test_a_daemon_that_is_not_running() -> None:
    """The error says how to start one."""
    async with OllamaProvider(f"http://127.0.0.1:{free_port()}") as provider:
        with pytest.raises(ModelSetupError, match=r"no Ollama daemon .*start it with 'ollama serve'") as info:
            await provider.setup("tiny")
        assert isinstance(info.value.__cause__, ConnectionError)


async def test_something_else_at_the_address(daemon: FakeOllama) -> None:
    """Another web server is not taken for a daemon without the model."""
    async with OllamaProvider(f"{daemon.url}/other") as provider:
        with pytest.raises(ModelSetupError, match=r"is not an Ollama daemon \(status 404\)"):
            await provider.setup("tiny")


async def test_the_daemon_may_be_gone_at_the_end() -> None:
    """What was in its memory is gone with it: closing the model is no error."""
    with running_ollama() as short_lived:
        provider = provider_of(short_lived)
        await provider.__aenter__()
        await provider.setup("tiny")
    await provider.__aexit__(None, None, None)


async def test_the_address_comes_from_the_environment(daemon: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the time of setup, as for the other providers."""
    async with OllamaProvider() as provider:
        monkeypatch.setenv("OLLAMA_HOST", daemon.url.removeprefix("http://"))
        async with await provider.setup("tiny") as handle:
            assert await handle.model.generate("Hi") == "Hello"


async def test_a_key_is_shown_to_the_daemon_and_to_nobody_else(daemon: FakeOllama) -> None:
    """What stands in front of the daemon sees it with every request."""
    async with provider_of(daemon, api_key="secret-of-mine") as provider:
        async with await provider.setup("tiny") as handle:
            await handle.model.generate("Hi")
        daemon.load_error = "the key is secret-of-mine"
        daemon.loaded.clear()
        with pytest.raises(ModelSetupError) as info:
            await provider.setup("tiny", loaded_for=1)
    assert set(daemon.tokens) == {"Bearer secret-of-mine"}
    assert "secret-of-mine" not in str(info.value)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"base_url": "http://elsewhere"}, "base_url belongs to the whole OllamaProvider"),
        ({"num_ctx": 8192}, "has no keyword argument num_ctx"),
        ({"loaded_for": 0}, "loaded_for must be a number of seconds above 0"),
    ],
)
async def test_configuration_that_makes_no_sense(daemon: FakeOllama, config: dict[str, Any], problem: str) -> None:
    """It is refused before a model is downloaded."""
    async with provider_of(daemon, pull=True) as provider:
        with pytest.raises((ModelSetupError, TypeError), match=problem):
            await provider.setup("remote", **config)
    assert daemon.asked("/api/pull") == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        (":11435", "http://127.0.0.1:11435"),
        ("machine", "http://machine:11434"),
        ("http://machine", "http://machine"),
        ("https://machine:8443/path/", "https://machine:8443/path"),
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434"),
        ("[::]:99", "http://[::1]:99"),
        ("::1", "http://[::1]:11434"),
        (' "localhost:3" ', "http://localhost:3"),
    ],
)
def test_addresses_are_read_as_ollama_reads_them(host: str, url: str) -> None:
    """``OLLAMA_HOST`` is what the daemon listens at, too."""
    assert daemon_url(host) == url


@pytest.mark.parametrize("host", ["ftp://machine", "machine:port", "machine:99999", "http://user:word@machine"])
def test_an_address_that_is_none(host: str) -> None:
    """The message does not show a password."""
    with pytest.raises(ValueError, match="is not the address of an Ollama daemon") as info:
        daemon_url(host)
    assert "word" not in str(info.value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_that_is_none(seconds: float) -> None:
    """Zero would unload the model before its first request."""
    with pytest.raises(ValueError, match="loaded_for must be a number of seconds above 0"):
        OllamaProvider(loaded_for=seconds)
