"""Sleep instead of stop: servers take turns at a slot, each is started once, and none answers for another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.servers.lights import PATIENCE, light

from doteval import ServerProvider
from doteval.servers import HTTPSleep, LocalLauncher
from doteval.servers._local.runtime import Runtime

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency, pytest.mark.process]

SLEEP = HTTPSleep(state_path="/is_sleeping")


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


class Notes:
    """What the servers have written down, and what is to go wrong with them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.command = light(f"sleeps={directory}")

    def all(self) -> list[str]:
        """Everything, in order; nobody was awake beside another one."""
        path = self.directory / "notes"
        found = path.read_text().splitlines() if path.exists() else []
        assert not [note for note in found if note.startswith("CROWDED")]
        return found

    def count(self) -> Counter[str]:
        return Counter(note.partition(" ")[0] for note in self.all())

    def plan(self, spec: str, action: str, trouble: str) -> None:
        (self.directory / f"{spec}-{action}").write_text(trouble)


def sleepy(notes: Notes, launcher: LocalLauncher, **settings: Any) -> ServerProvider:
    return ServerProvider(notes.command, launcher=launcher, **{"sleep": SLEEP, "max_sleeping": 3} | settings)


async def ask(provider: ServerProvider, spec: str) -> str:
    """Lease a model, ask it for its name, and let it go."""
    with anyio.fail_after(PATIENCE):
        async with provider.setup(spec) as handle:
            return str(await handle.model.generate("model"))


async def test_models_that_take_turns_at_a_slot_are_each_started_once(notes: Notes, launcher: LocalLauncher) -> None:
    """Each answers for itself, and all of them end with the provider."""
    async with sleepy(notes, launcher) as provider:
        specs = [*"abcabcbaac"]
        assert [await ask(provider, spec) for spec in specs] == specs
    assert notes.count() == {"start": 3, "sleep": 8, "wake": 6}
    assert len(launcher.starts) == 3
