"""An event loop never waits for ``nvidia-smi``: who asks for a model does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from doteval import ModelSetupError, VLLMProvider
from doteval.servers import LocalLauncher
from doteval.servers._local.runtime import Runtime

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes an ``nvidia-smi`` that waits until somebody writes into a pipe what it is to say."""

    def make(then: str) -> Path:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nread x < {pipe}\n{then}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return pipe

    return make


async def test_a_provider_is_made_and_entered_before_it_is_known_which_gpus_there_are(
    machine: Callable[[str], Path], runtime: Runtime
) -> None:
    """The loop goes on meanwhile; then the provider has as many slots as there are, also for who asks for several."""
    pipe = machine("echo '0, GPU-a'; echo '1, GPU-b'")
    async with VLLMProvider(launcher=LocalLauncher(runtime.root), executable="/nowhere/vllm") as provider:
        assert provider.statistics().capacity == 1

        async def ask() -> None:
            with pytest.raises(ModelSetupError, match="the command 'vllm' is not installed"):
                await provider.setup_many("a", "b")

        async with anyio.create_task_group() as asking:
            asking.start_soon(ask)
            # It is being asked from here on; if the loop waited for that, this would not go on.
            descriptor = await anyio.to_thread.run_sync(os.open, pipe, os.O_WRONLY)
            assert provider.statistics().capacity == 1
            os.write(descriptor, b"\n")
            os.close(descriptor)
        assert provider.statistics().capacity == 2
        assert provider._terms.slots.names == ("GPU-a", "GPU-b")
    again = VLLMProvider(launcher=LocalLauncher(runtime.root))
    assert again._terms.slots.names == ("GPU-a", "GPU-b")  # nobody writes a second time


async def test_what_is_wrong_with_the_gpus_is_told_to_who_asks(
    machine: Callable[[str], Path], runtime: Runtime
) -> None:
    """And what makes no sense on any machine, when the provider is made."""
    pipe = machine("echo '0, GPU-a'")
    with pytest.raises(ValueError, match="capacity must be a whole number from 1"):
        VLLMProvider(capacity=0)
    async with VLLMProvider(launcher=LocalLauncher(runtime.root), gpus=[3], executable="/nowhere/vllm") as provider:

        async def answer() -> None:
            descriptor = await anyio.to_thread.run_sync(os.open, pipe, os.O_WRONLY)
            os.write(descriptor, b"\n")
            os.close(descriptor)

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(answer)
            for _ in range(2):
                with pytest.raises(ModelSetupError, match=r"GPU '3' in gpus= is not one .* says nvidia-smi"):
                    await provider.setup("a")
