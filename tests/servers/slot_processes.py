"""Processes that want slots, each on a backend of its own; the file is also what they run.

A test writes one command a line, the process answers with one JSON object a line.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CancelScope, Event, create_task_group
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from doteval.servers._slots.locks import SlotLocks
from doteval.servers._slots.queue import SlotQueue

if TYPE_CHECKING:
    from tests.forks import Forks  # of no use in the processes

DEADLINE = 30.0
"""How long an answer may take, in seconds; only ever waited for where something is wrong."""


# ---------------------------------------------------------------- the test's side


class SlotProcess:
    """A process that wants slots.

    Args:
        forks: Where it comes from.
        root: The runtime directory.
        backend: What the process runs on.
        names: The slots it asks for.
    """

    def __init__(self, forks: Forks, root: Path, backend: str, *names: str) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            self.process = forks.start(__file__, str(root), backend, *names, stdin=number, stdout=number, stderr=2)
        self._unread = b""
        self._answers: list[dict[str, Any]] = []

    def send(self, *words: object) -> None:
        self._connection.sendall(" ".join(map(str, words)).encode() + b"\n")

    def expect(self, event: str, key: object = None) -> dict[str, Any]:
        """Wait for an answer; others that come before it are kept for later."""
        wanted = (event, None if key is None else str(key))
        end = time.monotonic() + DEADLINE
        while True:
            for answer in self._answers:
                if (answer["event"], answer.get("key")) == wanted:
                    self._answers.remove(answer)
                    return answer
            self._read(wanted, end)

    def queue(self, key: object, count: int = 1) -> None:
        """Ask for slots and wait until the ticket is drawn."""
        self.send("acquire", key, count)
        self.expect("waiting", key)

    def take(self, key: object, count: int = 1) -> list[str]:
        """Ask for slots and wait until they are there; returns their names."""
        self.send("acquire", key, count)
        return self.expect("served", key)["names"]

    def release(self, key: object) -> None:
        self.send("release", key)
        self.expect("released", key)

    def look_in_vain(self, key: object, times: int = 3) -> None:
        """Wait until a wish has looked so many times from now on; fails if that served it."""
        self.send("ping")
        self.expect("pong")
        self._answers = [answer for answer in self._answers if answer["event"] != "look"]
        for _ in range(times):
            self.expect("look", key)
        assert not any((answer["event"], answer["key"]) == ("served", str(key)) for answer in self._answers)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self._connection.close()  # which ends the process
        with self.process:
            pass

    def _read(self, wanted: object, end: float) -> None:
        while b"\n" not in self._unread:
            ready = select.select([self._connection], [], [], max(0, end - time.monotonic()))[0]
            assert ready, f"no {wanted} in time, only {self._answers}"
            chunk = self._connection.recv(4096)
            assert chunk, f"the process ended before {wanted}"
            self._unread += chunk
        *lines, self._unread = self._unread.split(b"\n")
        self._answers += map(json.loads, lines)


@contextmanager
def slot_processes(forks: Forks, root: Path, backends: tuple[str, ...], *names: str) -> Iterator[list[SlotProcess]]:
    """Run a process on each of the backends."""
    processes = [SlotProcess(forks, root, backend, *names) for backend in backends]
    try:
        for process in processes:
            process.expect("ready")
        yield processes
    finally:
        for process in processes:
            process.close()


# ---------------------------------------------------------------- the process's side


def say(event: str, key: str | None = None, **more: object) -> None:
    print(json.dumps({"event": event, "key": key, **more}), flush=True)


async def never() -> None:
    """Nobody fulfils the wish otherwise."""


class Wanter:
    """What runs in the process.

    Args:
        root: The runtime directory.
        names: The slots.
    """

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root = root
        self.names = names
        self.slots = SlotQueue(root)
        self.scopes: dict[str, CancelScope] = {}
        self.held: dict[str, SlotLocks] = {}
        self.early: set[str] = set()
        self.stopping = False
        self.looked = Event()

    async def run(self) -> None:
        async with create_task_group() as task_group:
            say("ready")
            while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
                operation, *words = line.split()
                getattr(self, f"do_{operation}")(task_group, *words)
            os._exit(0)  # as abrupt as a test that has failed

    # ------------------------------------------------------------ commands

    def do_acquire(self, task_group: TaskGroup, key: str, count: str) -> None:
        task_group.start_soon(self._acquire, key, int(count))

    def do_release(self, task_group: TaskGroup, key: str) -> None:
        self.held.pop(key).close()
        say("released", key)

    def do_leave(self, task_group: TaskGroup, key: str) -> None:
        self.scopes[key].cancel()

    def do_come_early(self, task_group: TaskGroup, key: str) -> None:
        self.early.add(key)

    def do_ping(self, task_group: TaskGroup) -> None:
        say("pong")

    def do_crowd(self, task_group: TaskGroup, tasks: str, wishes: str, seed: str) -> None:
        """Many tasks that want some slots again and again."""
        task_group.start_soon(self._crowd, int(tasks), int(wishes), random.Random(seed))

    def do_hammer(self, task_group: TaskGroup, tasks: str) -> None:
        """Many tasks that want one slot each, again and again, until `stop`; the slots are never all free at once."""
        for _ in range(int(tasks)):
            task_group.start_soon(self._hammer)

    def do_stop(self, task_group: TaskGroup) -> None:
        self.stopping = True
        self.looked.set()

    # ------------------------------------------------------------ tasks

    async def _acquire(self, key: str, count: int) -> None:
        looks = 0

        async def come_early() -> str | None:
            nonlocal looks
            looks += 1
            if looks == 2:  # a ticket is drawn at the first look
                say("waiting", key)
            if looks > 2:
                say("look", key)
            return "early" if key in self.early else None

        with CancelScope() as self.scopes[key]:
            got = await self._taken(count, come_early)
            if isinstance(got, str):
                say("early", key)
            else:
                self.held[key] = got
                say("served", key, names=got.names)
        if self.scopes[key].cancelled_caught:
            say("left", key)

    async def _taken(self, count: int, come_early: Any) -> SlotLocks | str:
        return await self.slots.acquire(
            self.names, count, resource_id="test", make_room=self._make_room, come_early=come_early
        )

    async def _make_room(self, missing: int, taken: tuple[str, ...]) -> bool:
        await checkpoint()
        return True

    async def _crowd(self, tasks: int, wishes: int, chance: random.Random) -> None:
        async def member() -> None:
            for _ in range(wishes):
                got = await self._taken(chance.choice([1, 1, 2, 4]), never)
                assert isinstance(got, SlotLocks)
                with closing(got):
                    await self._use(got)

        async with create_task_group() as task_group:
            for _ in range(tasks):
                task_group.start_soon(member)
        say("done")

    async def _use(self, locks: SlotLocks) -> None:
        """Leave a mark for each slot; it fails if somebody else has left one."""
        marks = [self.root / f"used-{name}" for name in locks.names]
        for mark in marks:
            mark.touch(exist_ok=False)
        for _ in range(3):
            await checkpoint()
        for mark in marks:
            mark.unlink()

    async def _hammer(self) -> None:
        served = 0
        while not self.stopping:
            got = await self._taken(1, self._look)
            if isinstance(got, SlotLocks):
                with closing(got):
                    served += 1
                    if served == 2:
                        say("hammering")
                    for _ in range(10):  # others of this process look in vain
                        if not self.stopping:
                            await self.looked.wait()
        say("stopped", served=served)

    async def _look(self) -> str | None:
        self.looked.set()
        self.looked = Event()
        return "stopped" if self.stopping else None


if __name__ == "__main__":
    directory, chosen_backend, *slot_names = sys.argv[1:]
    anyio.run(partial(Wanter(Path(directory), slot_names).run), backend=chosen_backend)
