"""LoRA adapters: each is a spec of its own, all of a base are on one server, which loads and unloads them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group
from tests.servers.lights import PATIENCE

from doteval import ModelRequestError, ModelSetupError, ServerProvider, SpecError, VLLMProvider
from doteval.servers import LocalLauncher
from doteval.servers._local.runtime import Runtime

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency, pytest.mark.process]

LIGHT = Path(__file__).with_name("light_server.py")


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


@pytest.fixture
def vllm(tmp_path: Path) -> Vllm:
    return Vllm(tmp_path)


class Vllm:
    """A command that takes the arguments of ``vllm serve`` and serves as a light server does; and two adapters.

    Args:
        directory: Where it is, and they are.
    """

    def __init__(self, directory: Path) -> None:
        self.notes = directory / "notes"
        self.notes.touch()
        self.executable = directory / "vllm"
        self.executable.write_text(
            f'#!/bin/sh\nexport LIGHT_KEY="$VLLM_API_KEY"\n'
            f'exec {sys.executable} -I -S {LIGHT} "$6" model="$2" adapters={self.notes} $LIGHT_OPTIONS\n'
        )
        self.executable.chmod(0o755)
        self.adapters = {name: str(directory / name) for name in ("sql", "law", "broken")}
        for path in self.adapters.values():
            Path(path).mkdir()
            Path(path, "adapter_model.safetensors").write_text("weights")

    def provider(self, launcher: LocalLauncher, **settings: Any) -> VLLMProvider:
        return VLLMProvider(executable=self.executable, launcher=launcher, gpus=None, **settings)

    def train(self, name: str) -> None:
        """Write other weights to where an adapter is."""
        Path(self.adapters[name], "adapter_model.safetensors").write_text("other weights")

    def log(self) -> list[str]:
        """What was loaded and unloaded, without the digests in the names."""
        return [line.rpartition("-")[0] for line in self.notes.read_text().splitlines()]


async def ask(provider: ServerProvider | VLLMProvider, spec: str, **config: Any) -> str:
    with anyio.fail_after(PATIENCE):
        async with provider.setup(spec, **config) as handle:
            return str(await handle.model.generate("model"))


async def test_adapters_of_one_base_are_one_server(vllm: Vllm, launcher: LocalLauncher) -> None:
    """They and the base are leased at once, where there is one slot; each is loaded once, and none is left loaded."""
    sql, law = f"base@{vllm.adapters['sql']}", f"base@{vllm.adapters['law']}"
    async with vllm.provider(launcher, enable_lora=True, max_retries=0) as provider:
        async with provider.setup(sql) as one, provider.setup(law) as two, provider.setup("base") as three:
            for handle, place in ((one, vllm.adapters["sql"]), (two, vllm.adapters["law"]), (three, "base")):
                assert await handle.model.generate("model") == place
            assert one.model.server == two.model.server == three.model.server
            assert one.model.client is two.model.client
            names = one.model.name.rpartition("-")[0], two.model.name.rpartition("-")[0], three.model.name
            assert names == ("sql", "law", "base")
            assert one.resource_id == three.resource_id
            with pytest.raises(ModelRequestError, match=one.model.name):
                await one.model.generate("fail")
        handles = await provider.setup_many(law, "base", sql)
        assert [await handle.model.generate("model") for handle in handles] == [
            vllm.adapters["law"],
            "base",
            vllm.adapters["sql"],
        ]
        for handle in handles:
            await handle.teardown()
            assert not handle.is_active
        assert vllm.log() == ["load sql", "load law"]
    assert sorted(vllm.log()[2:]) == ["unload law", "unload sql"]
    assert len(launcher.starts) == 1


async def test_an_adapter_is_loaded_once_and_unloaded_with_its_last_user(vllm: Vllm, launcher: LocalLauncher) -> None:
    """Of all who use the server, at the same time or one after the other."""
    spec = f"base@{vllm.adapters['sql']}"
    other = LocalLauncher(launcher.runtime.root)
    async with vllm.provider(launcher) as base, base.setup("base", enable_lora=True):
        async with vllm.provider(launcher) as one, vllm.provider(other) as two:
            async with create_task_group() as group:
                for provider in (one, one, two, two):
                    group.start_soon(ask, provider, spec)
            assert vllm.log() == ["load sql"]
            await one.teardown_all()
            assert await ask(two, spec) == vllm.adapters["sql"]
            assert vllm.log() == ["load sql"]
        assert vllm.log() == ["load sql", "unload sql"]
        assert await ask(base, spec) == vllm.adapters["sql"]
        vllm.train("sql")
        assert await ask(base, spec) == vllm.adapters["sql"]
        assert vllm.log() == ["load sql", "unload sql", "load sql", "load sql"]
        assert len(set(vllm.notes.read_text().split()[1::2])) == 2, "new weights are another adapter"
    assert len(launcher.starts) == 1


async def test_an_adapter_is_there_again_after_its_server_has_died(vllm: Vllm, launcher: LocalLauncher) -> None:
    """Also for a handle that starts the server again by itself."""
    spec = f"base@{vllm.adapters['sql']}"
    async with vllm.provider(launcher, restarts=1, max_retries=0) as provider:
        async with provider.setup(spec) as handle:
            first = handle.model.server.pid
            with pytest.raises(ModelRequestError, match=r"exited with code 3"):
                async with vllm.provider(launcher) as other, other.setup(spec) as victim:
                    await victim.model.generate("die")
            assert await handle.model.generate("model") == vllm.adapters["sql"]
            assert handle.model.server.pid != first
        assert await ask(provider, spec) == vllm.adapters["sql"]
    assert vllm.log().count("load sql") == 2


async def test_what_is_no_adapter_is_explained(vllm: Vllm, launcher: LocalLauncher) -> None:
    """Before a server is started where that can be; its lease has ended, and the server serves others."""
    async with vllm.provider(launcher) as provider:
        for spec in ("base@", "@sql", "base@ sql", "base@-sql"):
            with pytest.raises(SpecError):
                await provider.setup(spec)
        with pytest.raises(ModelSetupError, match=r"does not load the adapter '/nowhere': there is no directory"):
            await provider.setup("base@/nowhere")
        assert not launcher.starts
        broken = f"base@{vllm.adapters['broken']}"
        with pytest.raises(ModelSetupError, match=r"it answers 500: .*rank 64 is greater than max_lora_rank 16"):
            await provider.setup(broken)
        with pytest.raises(ModelSetupError, match="it answers 500"):
            await provider.setup_many("base", broken)
        assert provider.statistics().active_leases == 0
        assert await ask(provider, f"base@{vllm.adapters['sql']}") == vllm.adapters["sql"]
    assert len(launcher.starts) == 1


async def test_a_path_with_an_at_sign_is_a_model(vllm: Vllm, launcher: LocalLauncher, tmp_path: Path) -> None:
    """Where there is one; an adapter of the server's own is not loaded."""
    model = tmp_path / "me@home"
    model.mkdir()
    async with vllm.provider(launcher, lora_modules={"own": "/somewhere"}) as provider:
        assert await ask(provider, str(model)) == str(model)
        async with provider.setup("base@own") as handle:
            assert handle.model.name == "own"
    assert vllm.log() == []
    one, two = (VLLMProvider(gpus=None).identity(spec) for spec in ("base", "base@sql"))
    assert one != two


async def test_a_server_with_adapters_sleeps_and_wakes(
    vllm: Vllm, launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As every other; what it had loaded is loaded again."""
    monkeypatch.setenv("LIGHT_OPTIONS", f"sleeps={tmp_path}")
    (tmp_path / "notes").unlink()
    vllm.notes = tmp_path / "adapters"
    vllm.executable.write_text(
        vllm.executable.read_text().replace("adapters=" + str(tmp_path / "notes"), f"adapters={vllm.notes}")
    )
    spec = f"base@{vllm.adapters['sql']}"
    async with vllm.provider(launcher, max_sleeping=2) as provider:
        for asked in (spec, "other", spec, "other"):
            assert await ask(provider, asked) == asked.removeprefix("base@")
    assert vllm.log() == ["load sql", "unload sql", "load sql", "unload sql"]
    assert (tmp_path / "notes").read_text().split("\n")[:-1] == [
        "start base",
        "sleep base",
        "start other",
        "sleep other",
        "wake base",
        "sleep base",
        "wake other",
    ]
    assert len(launcher.starts) == 2
