"""``RealServer``: what is shown of every real server, besides the contract of providers."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import anyio
import httpx
import pytest

from doteval import ModelSetupError
from doteval.providers._served.model import ServerModel
from doteval.providers._served.provider import ServerProviderBase
from doteval.testing import ProviderContract

WARM = 120.0
"""How long a server stays when no test uses it, in seconds."""

WORDS = {"max_tokens": 16, "temperature": 0}


def needed(variable: str) -> str:
    """The value of an environment variable without which nothing can be shown."""
    value = os.environ.get(variable)
    if not value:
        pytest.fail(f"{variable} is not set; tests/real/conftest.py says what it is")
    return value


def model(name: str) -> str:
    """The path of a tiny model."""
    return str(Path(needed("DOTEVAL_TEST_MODELS"), name))


class RealServer(ProviderContract[ServerModel]):
    """The tests; a subclass says how to make a provider, and what its server is like."""

    patience = 300.0
    takes_key: ClassVar[bool] = True
    lists_models: ClassVar[bool] = True

    def provider(self, **settings: Any) -> ServerProviderBase:
        raise NotImplementedError

    def make_provider(self) -> ServerProviderBase:
        return self.provider(capacity=2, server_keep_alive=WARM)

    def is_open(self, model: ServerModel) -> bool:
        return not model.client.is_closed()

    async def use(self, model: ServerModel) -> None:
        assert await model.generate("Hello", **WORDS)  # at random, two tokens may be half a letter

    async def test_it_answers_and_streams(self) -> None:
        """The same text at once and in pieces, through OpenAI's SDK."""
        async with self.make_provider() as provider, await provider.setup(self.spec) as handle:
            reply = await handle.model.generate("Hello", **WORDS)
            assert len(reply) >= 16
            assert reply.finish_reason == "length"
            assert reply.usage is not None
            assert reply.usage.output_tokens == 16
            async with handle.model.stream("Hello", **WORDS) as stream:
                assert "".join([text async for text in stream]) == reply

    async def test_requests_at_the_same_time_do_not_disturb_each_other(self) -> None:
        """Every stream comes to its own end."""
        ends: list[tuple[int, str | None]] = []

        async with self.make_provider() as provider, await provider.setup(self.spec) as handle:

            async def read(tokens: int) -> None:
                async with handle.model.stream("Hello", max_tokens=tokens, temperature=0) as stream:
                    async for _ in stream:
                        pass
                ends.append((tokens, stream.completion.finish_reason))

            async with anyio.create_task_group() as task_group:
                for tokens in range(8, 48, 8):
                    task_group.start_soon(read, tokens)
        assert sorted(ends) == [(tokens, "length") for tokens in range(8, 48, 8)]

    async def test_the_server_lists_the_model(self) -> None:
        """Under the name that requests use."""
        if not self.lists_models:
            pytest.skip("this server lists what is in the hub's cache")
        async with self.make_provider() as provider, await provider.setup(self.spec) as handle:
            assert [one.id async for one in handle.model.client.models.list()] == [handle.model.name]

    async def test_the_key_is_needed_and_nowhere_to_be_seen(self) -> None:
        """Neither on a command line nor in the log nor in a message."""
        async with self.make_provider() as provider, await provider.setup(self.spec) as handle:
            server = handle.model.server
            if not self.takes_key:
                assert server.api_key is None
                return
            key = server.api_key
            assert key
            async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
                body = {"model": handle.model.name, "messages": [{"role": "user", "content": "Hello"}]}
                for headers in ({}, {"Authorization": "Bearer another"}):
                    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
                    assert answer.status_code == 401
            assert server.pid is not None
            lines = command_lines(server.pid)
            assert lines
            assert key.encode() not in b"".join(lines.values())
            assert server.log is not None
            assert key not in server.log.read_text("utf-8", "replace")
            assert key not in server.command
            assert key not in repr(server) + repr(handle) + repr(provider)

    async def test_a_server_that_is_killed_is_started_again(self) -> None:
        """The handle goes on; its next request is answered by a new server."""
        async with self.provider(restarts=1) as provider, await provider.setup(self.spec) as handle:
            old = handle.model.server.pid
            assert old is not None
            os.kill(old, signal.SIGKILL)
            assert await handle.model.generate("Hello", **WORDS)
            assert handle.model.server.pid != old

    async def test_a_model_that_is_not_there(self) -> None:
        """Nothing is started; the message says what is missing, and what to do."""
        async with self.provider() as provider:
            with pytest.raises(ModelSetupError, match="there is no file or directory '/nowhere/") as info:
                await provider.setup(self.bad_spec or "")
        message = str(info.value)
        print(message)
        assert "Correct the path" in message
        assert "command: " in message
        assert "log: " not in message

    async def test_a_model_that_is_none(self, tmp_path: Path) -> None:
        """The message has what the server said, and what to do."""
        wrong = tmp_path / Path(self.bad_spec or "").name
        if wrong.suffix:
            wrong.write_text("no weights", "utf-8")
        else:
            wrong.mkdir()
        async with self.provider() as provider:
            with pytest.raises(ModelSetupError, match=r"exited with code 1 after .*, before it was ready") as info:
                await provider.setup(str(wrong))
        message = str(info.value)
        print(message)
        assert "command: " in message
        assert "log: " in message

    async def test_an_option_that_the_server_does_not_know(self) -> None:
        """The message names it."""
        async with self.provider(extra_args=["--no-such-option"]) as provider:
            with pytest.raises(ModelSetupError, match="does not know --no-such-option") as info:
                await provider.setup(self.spec)
        print(info.value)

    async def test_a_port_that_is_taken(self) -> None:
        """Where the port was chosen by the user, that is an error; it names the cause."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            async with self.provider(port=other.getsockname()[1]) as provider:
                with pytest.raises(ModelSetupError, match=r"port \d+, .* is taken by another process") as info:
                    await provider.setup(self.spec)
        print(info.value)


def command_lines(group: int) -> dict[int, bytes]:
    """The command line of each process in a group."""
    found: dict[int, bytes] = {}
    for entry in os.scandir("/proc"):
        with suppress(OSError):  # it has just ended
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                found[int(entry.name)] = Path(entry.path, "cmdline").read_bytes()
    return found
