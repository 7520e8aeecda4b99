"""Threads hand leases to each other at random: nobody who may still go on is ever told that it would wait for ever."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.forks import Forks

from doteval import CapacityDeadlockError
from doteval._pool import pool
from doteval.blocking import BlockingHandle, BlockingProvider, entered
from doteval.testing import FakeModel, FakeProvider

pytestmark = pytest.mark.concurrency

Provider = BlockingProvider[FakeModel]
Done = Future[Any]
PATIENCE = 30
HOW = ("with", "with", "stack", "bare", "by hand", "in a function")


@dataclass(eq=False)
class Loose:
    """A lease that whoever has it may end, or enter."""

    key: str
    end: Callable[[], object]
    handle: BlockingHandle[FakeModel] | None = None


@dataclass(eq=False)
class Hand:
    """A thread, or the worker of a pool, that does one thing after the other; blocks are on its stack as they are."""

    provider: Provider
    workers: ThreadPoolExecutor | None
    inbox: queue.SimpleQueue[tuple[Callable[[Done], Done | None], Done]] = field(default_factory=queue.SimpleQueue)
    blocks: list[str] = field(default_factory=list)
    wants: str = ""
    how: str = ""
    done: Done | None = None

    def __post_init__(self) -> None:
        if self.workers is None:
            threading.Thread(target=self.obey, daemon=True).start()

    def obey(self) -> Done:
        """Do what comes until a block is to be left."""
        while True:
            work, done = self.inbox.get()
            left = self.perform(work, done)
            if left is not None:
                return left

    def perform(self, work: Callable[[Done], Done | None], done: Done) -> Done | None:
        try:
            return work(done)
        except BaseException as exc:
            done.set_exception(exc)
            return None

    def do(self, work: Callable[[Done], Done | None]) -> Done:
        self.done = done = Future()
        if self.workers is not None and not self.blocks:
            self.workers.submit(self.perform, work, done)
        else:
            self.inbox.put((work, done))
        return done

    def ask(self, key: str, how: str) -> None:
        self.wants, self.how = key, how
        setup = self.provider.setup

        def work(done: Done) -> None:
            if how == "with":
                with setup(key):
                    done.set_result(None)
                    left = self.obey()
                left.set_result(None)
                return
            stack, handle = ExitStack(), setup(key)
            if how == "stack":
                stack.enter_context(handle)
            elif how == "in a function":
                enter(handle)
            elif how == "by hand":
                user = threading.Thread(target=lambda: handle.model)
                user.start()
                user.join()
            is_bare = how in ("bare", "by hand")
            done.set_result(Loose(key, stack.close if how == "stack" else handle.teardown, handle if is_bare else None))

        self.do(work)

    def enter(self, loose: Loose) -> None:
        handle = loose.handle
        assert handle is not None

        def work(done: Done) -> None:
            with handle:
                done.set_result(None)
                left = self.obey()
            left.set_result(None)

        self.do(work).result(PATIENCE)
        self.blocks.append(loose.key)

    def leave(self) -> None:
        self.do(lambda done: done).result(PATIENCE)
        self.blocks.pop()


def enter(handle: BlockingHandle[FakeModel]) -> None:
    """In a function that returns, and leaves it to others to leave the block."""
    handle.__enter__()


def doomed(asking: list[Hand], capacity: int) -> list[Hand]:
    """Who of those that wait is never served, though all is given back that is in no block of theirs."""
    while True:
        held = {key for hand in asking for key in hand.blocks}
        served = [hand for hand in asking if hand.wants in held or len(held) < capacity]
        if not served:
            return asking
        asking = [hand for hand in asking if hand is not served[0]]


class Play:
    """One history."""

    def __init__(self, provider: Provider, capacity: int, hands: list[Hand], rng: random.Random) -> None:
        self.provider, self.capacity, self.hands, self.rng = provider, capacity, hands, rng
        self.loose: list[Loose] = []
        self.told = 0

    @property
    def waiting(self) -> list[Hand]:
        return [hand for hand in self.hands if hand.wants]

    def settle(self) -> None:
        """Until all who wait stand in the queue; who has been told would never have been served."""
        while True:
            queued = self.provider.statistics().waiting
            before = self.waiting
            for hand in before:
                assert hand.done is not None
                if hand.done.done():
                    self.decided(hand, before)
            if len(self.waiting) == len(before) == queued:
                break
        assert not doomed(self.waiting, self.capacity)

    def decided(self, hand: Hand, asking: list[Hand]) -> None:
        assert hand.done is not None
        error = hand.done.exception()
        if error is not None:
            assert isinstance(error, CapacityDeadlockError), error
            assert hand in doomed(asking, self.capacity), f"a false alarm: {error}"
            self.told += 1
        elif hand.how == "with":
            hand.blocks.append(hand.wants)
        else:
            self.loose.append(hand.done.result())
        hand.wants = ""

    def step(self) -> None:
        rng, free = self.rng, [hand for hand in self.hands if not hand.wants]
        hand = rng.choice(free) if free else None
        choice = rng.random()
        if hand is None or choice < 0.2:
            if self.loose:  # by a thread that has nothing to do with it
                self.loose.pop(rng.randrange(len(self.loose))).end()
        elif choice < 0.4 and hand.blocks:
            hand.leave()
        elif choice < 0.5 and (bare := [each for each in self.loose if each.handle is not None]):
            taken = rng.choice(bare)
            self.loose.remove(taken)
            hand.enter(taken)
        else:
            hand.ask(rng.choice("abcd"), rng.choice(HOW))

    def end(self) -> None:
        """Everything is given back, and everybody is served."""
        while self.loose or self.waiting or any(hand.blocks for hand in self.hands):
            for loose in self.loose:
                loose.end()
            self.loose.clear()
            for hand in self.hands:
                while hand.blocks and not hand.wants:
                    hand.leave()
            self.settle()


def play(seed: int, backend: str, steps: int) -> int:
    rng = random.Random(seed)
    capacity = rng.randint(1, 3)
    with entered(FakeProvider(capacity=capacity), backend=backend) as provider, ExitStack() as pools:
        hands = [
            Hand(provider, pools.enter_context(ThreadPoolExecutor(1)) if rng.random() < 0.5 else None) for _ in range(4)
        ]
        history = Play(provider, capacity, hands, rng)
        try:
            for _ in range(steps):
                history.step()
                history.settle()
            history.end()
        finally:
            for loose in history.loose:
                loose.end()
            for hand in hands:
                for _ in range(steps):  # out of all blocks, and the thread ends
                    hand.inbox.put((lambda done: done, Future()))
            while any(hand.wants and hand.done and not hand.done.done() for hand in hands):
                for key in "abcd":
                    provider.teardown(key)
        return history.told


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_who_may_still_go_on_is_never_told_that_it_would_wait_for_ever(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever would for certain is told: in blocks, in stacks, in functions that have returned, in workers."""
    monkeypatch.setattr(pool, "A_WHILE", 0)
    assert sum(play(seed, backend, 40) for seed in range(6)) > 0


ALONE = """
import threading
from doteval import CapacityDeadlockError
from doteval._pool import pool
from doteval.blocking import entered
from doteval.testing import FakeProvider

pool.A_WHILE = 0
with entered(FakeProvider(capacity=1), backend="{backend}") as provider:
    handle = provider.setup("a")
    try:
        provider.setup("b")
    except CapacityDeadlockError as exc:
        print("told", str(exc).splitlines()[0])

    def end_it():
        while not provider.statistics().waiting or not told:
            pass
        handle.teardown()

    told = []
    import logging
    logging.getLogger("doteval.pool").addFilter(lambda record: told.append(record.getMessage()) or False)
    threading.Thread(target=end_it).start()
    with provider.setup("b") as other:
        print("got", other.resource_id, told)
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_is_told_after_a_while_where_nobody_else_is_there_and_warned_where_somebody_is(
    forks: Forks, tmp_path: Path, backend: str
) -> None:
    """Of what it has set up and not entered: another thread might give it back."""
    program = tmp_path / "program.py"
    program.write_text(ALONE.format(backend=backend))
    done = forks.run(str(program))
    told, got = done.stdout.splitlines()
    assert told == "told setup of 'b' would wait for ever: who holds its slots waits, too."
    assert got.startswith("got b [\"setup of 'b' will wait for ever unless another thread gives back what")
    assert "'a': 1 slot, leased by thread MainThread" in got
