"""A process with a `ServerProvider` of its own. Run by `lights.player`.

A command is a JSON list a line on stdin, an answer is a JSON value a line on stdout, in the order in which they come
about: ``setup KEY SPEC`` leases a model under a name of the caller's and answers with its server, ``generate KEY
PROMPT`` answers with the text, ``teardown KEY`` and ``events`` with all events so far. ``until KIND`` waits for an
event, ``crowd ...`` sets up and tears down many at once. At the end of the input the provider is closed.
"""

from __future__ import annotations

import json
import random
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
from anyio import create_task_group, to_thread

from doteval import CapacityDeadlockError, ModelHandle, PoolEvent
from doteval.providers.server import ServerProvider
from doteval.servers import HTTPSleep, LocalLauncher


class Provider(ServerProvider):
    """A spec such as ``"m-4"`` needs four slots."""

    def server_slots(self, spec: str, /, **config: Any) -> int:
        return int(spec.partition("-")[2] or 1)


class Play:
    """The commands.

    Args:
        provider: The provider.
        events: What it has reported.
    """

    def __init__(self, provider: ServerProvider, events: list[PoolEvent]) -> None:
        self.provider = provider
        self.handles: dict[str, ModelHandle[Any]] = {}
        self.events_so_far = events
        self.news = anyio.Event()
        self.may_go = anyio.Event()

    async def run(self, op: str, *arguments: Any) -> None:
        try:
            answer = await getattr(self, op)(*arguments)
        except Exception as exc:
            answer = {"error": "".join(traceback.format_exception(exc))}
        print(json.dumps(answer, default=str), flush=True)

    async def setup(self, key: str, spec: str) -> Any:
        handle = self.handles[key] = await self.provider.setup(spec)
        server = handle.model.server
        return {**asdict(server), "url": server.url}

    async def in_turn(self, first: str, second: str) -> Any:
        """Leases one model, and after ``go`` asks for another one meanwhile; answers twice."""
        async with await self.provider.setup(first):
            print(json.dumps("leased"), flush=True)
            await self.may_go.wait()
            try:
                async with await self.provider.setup(second):
                    return "served"
            except CapacityDeadlockError:
                return "told"

    async def go(self) -> Any:
        self.may_go.set()
        return "goes"

    async def generate(self, key: str, prompt: str) -> Any:
        return str(await self.handles[key].model.generate(prompt))

    async def teardown(self, key: str) -> Any:
        await self.handles.pop(key).teardown()

    async def events(self) -> Any:
        return [asdict(event) for event in self.events_so_far]

    async def until(self, kind: str) -> Any:
        while not (found := [event for event in self.events_so_far if event.kind == kind]):
            await self.news.wait()
        return asdict(found[-1])

    async def crowd(self, seed: int, tasks: int, specs: list[str]) -> Any:
        """Many tasks, each of which leases a few models one after the other and asks each of them something."""
        chance = random.Random(seed)
        plans = [[chance.choice(specs) for _ in range(chance.randint(1, 2))] for _ in range(tasks)]
        asked = 0

        async def visit(plan: list[str]) -> None:
            nonlocal asked
            for spec in plan:
                async with await self.provider.setup(spec) as handle:
                    for _ in range(chance.randint(1, 3)):
                        await handle.model.generate("Hello")
                        asked += 1

        async with create_task_group() as group:
            for plan in plans:
                group.start_soon(visit, plan)
        return {"asked": asked, "statistics": asdict(self.provider.statistics())}


async def main(root: str, command: list[str], settings: dict[str, Any]) -> None:
    drain_seconds = settings.pop("drain_seconds", 10.0)
    if "sleep" in settings:
        settings["sleep"] = HTTPSleep(**settings["sleep"])
    events: list[PoolEvent] = []

    def on_event(event: PoolEvent) -> None:
        events.append(event)
        play.news.set()
        play.news = anyio.Event()

    launcher = LocalLauncher(Path(root), drain_seconds=drain_seconds)
    async with Provider(command, launcher=launcher, on_event=on_event, **settings) as provider:
        play = Play(provider, events)
        async with create_task_group() as group:
            while line := await to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
                group.start_soon(play.run, *json.loads(line))


if __name__ == "__main__":
    root, backend, command, settings = sys.argv[1:]
    anyio.run(main, root, json.loads(command), json.loads(settings), backend=backend)
