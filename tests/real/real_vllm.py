"""vLLM on a CPU."""

from __future__ import annotations

import os
import signal
from typing import Any

import anthropic
import pytest
from tests.real.real_server import WORDS, RealServer, command_lines, model, needed

from doteval import AnthropicProvider, ModelSetupError, ServerProvider
from doteval.providers._served.model import ServerModel
from doteval.providers.vllm import VLLMProvider
from doteval.servers import HTTPSleep

CLAUDES_WORDS: dict[str, Any] = {"max_tokens": 16, "extra_body": {"temperature": 0}}
"""The same as `WORDS`: this SDK does not know a temperature any more, the server does."""


class TestVLLM(RealServer):
    @pytest.fixture(autouse=True)
    def models(self) -> None:
        self.spec, self.other_spec = model("tiny-llama"), model("tiny-qwen2")
        self.bad_spec = "/nowhere/no-such-model"

    def provider(self, **settings: Any) -> VLLMProvider:
        return VLLMProvider(
            python=needed("DOTEVAL_TEST_VLLM"),
            enforce_eager=True,
            max_model_len=512,
            max_num_seqs=8,
            environment={"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "DO_NOT_TRACK": "1"},
            gpus=None,
            **settings,
        )

    async def test_it_answers_anthropics_sdk(self) -> None:
        """At the server's address without /v1, with its key."""
        async with self.make_provider() as provider, await provider.setup(self.spec) as handle:
            server = handle.model.server
            question = {"model": handle.model.name, "messages": [{"role": "user", "content": "Hello"}], **CLAUDES_WORDS}
            async with anthropic.AsyncAnthropic(base_url=server.url, api_key=server.api_key) as client:
                message = await client.messages.create(**question)
                assert message.usage.output_tokens == 16
                async with client.messages.stream(**question) as stream:
                    assert "".join([text async for text in stream.text_stream]) == message.content[0].text
            async with AnthropicProvider(base_url=server.url, api_key=server.api_key) as other:
                async with await other.setup(handle.model.name) as claude:
                    assert await claude.model.generate("Hello", **CLAUDES_WORDS) == message.content[0].text

    async def test_adapters_of_a_base_are_one_server(self) -> None:
        """Each writes something of its own; they are loaded while it runs, and unloaded when nobody uses them."""
        one, other = (f"{self.spec}@{model(name)}" for name in ("one-lora", "other-lora"))
        async with self.provider(enable_lora=True, max_loras=2) as keeper, keeper.setup(self.spec) as base:
            async with self.provider(enable_lora=True, max_loras=2) as provider:
                handles = [await provider.setup(spec) for spec in (one, other, one)]
                replies = [await handle.model.generate("Hello", **WORDS) for handle in (base, *handles)]
                assert len(set(replies)) == 3
                assert replies[1] == replies[3]
                assert {handle.model.server.pid for handle in handles} == {base.model.server.pid}
                assert len(await _names(base.model)) == 3
            assert await _names(base.model) == [self.spec]
            with pytest.raises(ModelSetupError, match="does not load the adapter"):
                await keeper.setup(f"{self.spec}@{self.spec}")

    async def test_it_keeps_the_protocol_of_sleep(self) -> None:
        """On a CPU it gives nothing back; the requests, and what it answers, are those of a GPU."""
        command = [needed("DOTEVAL_TEST_VLLM"), "-m", "vllm.entrypoints.openai.api_server", "--model", "{spec}"]
        command += ["--host", "{host}", "--port", "{port}", "--served-model-name", "{spec}"]
        variables = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_SERVER_DEV_MODE": "1"}
        async with ServerProvider(
            [*command, "--enforce-eager", "--max-model-len", "512"],
            environment=variables,
            sleep=HTTPSleep(state_path="/is_sleeping"),
            max_sleeping=2,
        ) as provider:
            pids: list[int | None] = []
            for spec in (self.spec, self.other_spec, self.spec, self.other_spec):
                async with provider.setup(spec) as handle:
                    assert await handle.model.generate("Hello", **WORDS)
                    pids.append(handle.model.server.pid)
            assert pids[:2] == pids[2:]

    async def test_a_worker_that_is_killed_ends_the_server(self) -> None:
        """What it leaves is cleared away, and the next request starts another one."""
        async with self.provider(restarts=1) as provider, await provider.setup(self.spec) as handle:
            old = handle.model.server.pid
            assert old is not None
            (worker,) = [pid for pid, line in command_lines(old).items() if b"VLLM::Worker" in line]
            os.kill(worker, signal.SIGKILL)
            assert await handle.model.generate("Hello", **WORDS)
            assert handle.model.server.pid != old


async def _names(model: ServerModel) -> list[str]:
    return [each.id async for each in model.client.models.list()]
