"""Slots that would be waited for for ever: by one task with two providers, by two tasks, by two processes."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from anyio import create_task_group, fail_after
from hypothesis import given
from hypothesis import strategies as st
from tests.servers.leftovers import parent
from tests.servers.lights import PATIENCE, StartPlayer, light

from doteval import CapacityDeadlockError, ServerProvider
from doteval.servers import LocalLauncher
from doteval.servers._local import waiting
from doteval.servers._local.runtime import Runtime
from doteval.servers._local.waiting import Wish, is_held_for_ever
from doteval.servers._supervisor.parts import WHOLE, amount_of

pytestmark = pytest.mark.concurrency


def on_every_loop(test: Any) -> Any:
    return pytest.mark.anyio(pytest.mark.process(test))


AT_ONCE = 5.0
"""Within how many seconds a deadlock is named; it would be for ever."""
OTHER = {"asyncio": "trio", "trio": "asyncio"}


def provider(runtime: Runtime, **settings: Any) -> ServerProvider:
    """A provider with a launcher of its own, as users make them."""
    return ServerProvider(light(), launcher=LocalLauncher(runtime.root), **settings)


@on_every_loop
async def test_a_judge_and_a_candidate_in_one_slot_are_told_at_once(runtime: Runtime) -> None:
    """One task leases a server of one provider and asks another one: it is said who has the slot, and what to do."""
    async with provider(runtime) as judges, provider(runtime) as candidates, await judges.setup("judge") as judge:
        with fail_after(AT_ONCE), pytest.raises(CapacityDeadlockError) as told:
            await candidates.setup("candidate")
        message = str(told.value)
        assert "setup of 'candidate' would wait for ever" in message
        assert f"slot-0: 'judge' ({judge.model.server.id}, process {judge.model.server.pid})" in message
        assert "1 lease, of which 1 waits for slots" in message
        assert "'candidate' waits for 1 of slot-0" in message
        assert judge.is_active
        assert await judge.model.generate("Hello") == str(judge.model.server.pid)
        await judge.teardown()
        async with await candidates.setup("candidate") as candidate:
            await candidate.model.generate("Hello")


@on_every_loop
async def test_who_holds_nothing_gets_what_a_stuck_one_has_asked_for_too(runtime: Runtime) -> None:
    """Both wait for the same opening; only the one that keeps its slot from it is told, and then lets go."""
    async with provider(runtime) as one, provider(runtime) as other, create_task_group() as group:
        served = anyio.Event()

        async def ask() -> None:
            async with await other.setup("wanted") as handle:
                await handle.model.generate("Hello")
                served.set()

        async with await one.setup("held") as held:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            with fail_after(AT_ONCE), pytest.raises(CapacityDeadlockError, match="'wanted' would wait for ever"):
                await other.setup("wanted")
            assert held.is_active
            assert not served.is_set()
        await one.teardown("held")
        with fail_after(PATIENCE):
            await served.wait()


@on_every_loop
async def test_two_tasks_that_wait_for_each_other_are_told(runtime: Runtime) -> None:
    """Each leases what the other one waits for, of providers that know nothing of each other; one of them goes on."""
    slots = {"capacity": 2}
    async with provider(runtime, **slots) as one, provider(runtime, **slots) as other:
        outcomes: list[str] = []
        have_one = [anyio.Event(), anyio.Event()]

        async def use(number: int, first: ServerProvider, second: ServerProvider) -> None:
            async with await first.setup(f"first-{number}"):
                have_one[number].set()
                await have_one[1 - number].wait()
                try:
                    async with await second.setup(f"second-{number}") as handle:
                        outcomes.append("served")
                        await handle.model.generate("Hello")
                except CapacityDeadlockError:
                    outcomes.append("told")

        with fail_after(PATIENCE):
            async with create_task_group() as group:
                group.start_soon(use, 0, one, other)
                group.start_soon(use, 1, other, one)
        assert "told" in outcomes
        assert len(outcomes) == 2


@on_every_loop
async def test_who_waits_for_somebody_that_works_is_told_nothing(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bystander of a deadlock, and a task that has a lease while another one does not wait, are served in the end."""
    async with provider(runtime, capacity=2) as one, provider(runtime, capacity=2) as other:
        busy = await one.setup("busy")
        looks: list[object] = []
        has_looked = anyio.Event()
        statuses = waiting.statuses

        async def counted(runtime: Runtime) -> Any:
            looks.append(found := await statuses(runtime))
            if len(looks) == 3:
                has_looked.set()
            return found

        monkeypatch.setattr(waiting, "statuses", counted)
        served = anyio.Event()

        async def ask() -> None:
            async with await one.setup("held"), await other.setup("wanted") as handle:
                await handle.model.generate("Hello")
                served.set()

        async with create_task_group() as group:
            group.start_soon(ask)
            with fail_after(PATIENCE):
                await has_looked.wait()
            assert not served.is_set()
            await busy.teardown()
            with fail_after(PATIENCE):
                await served.wait()


@on_every_loop
async def test_two_processes_that_wait_for_each_other_are_told(
    runtime: Runtime, anyio_backend: tuple[str, Any], player: StartPlayer
) -> None:
    """Their supervisors can tell: each has a lease whose holder waits."""
    async with (
        provider(runtime, capacity=2) as ours,
        player(runtime.root, OTHER[anyio_backend[0]], light(), capacity=2) as theirs,
        await ours.setup("ours") as handle,
    ):
        assert await theirs.ask("in_turn", "theirs", "theirs too") == "leased"
        assert await theirs.ask("go") == "goes"
        with fail_after(PATIENCE):
            try:
                async with await ours.setup("ours too") as other:
                    await other.model.generate("Hello")
                outcome = "served"
            except CapacityDeadlockError:
                outcome = "told"
        await handle.teardown()
        assert "told" in (outcome, await theirs.answer())


@on_every_loop
async def test_who_waits_for_long_says_who_holds_what(
    runtime: Runtime, anyio_backend: tuple[str, Any], player: StartPlayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process works: that is no deadlock, and may take long; a silent supervisor is named, too."""
    monkeypatch.setattr(waiting, "SAY_SECONDS", 0.2)
    said: list[str] = []
    heard = anyio.Event()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            heard.set()

    handler = Listening()
    waiting.logger.addHandler(handler)
    try:
        async with provider(runtime) as ours, player(runtime.root, OTHER[anyio_backend[0]], light()) as theirs:
            server = await theirs.ask("setup", "h", "theirs")
            with fail_after(PATIENCE):
                async with create_task_group() as group:

                    async def ask() -> None:
                        async with await ours.setup("ours"):
                            pass

                    group.start_soon(ask)
                    await heard.wait()
                    await theirs.ask("teardown", "h")
    finally:
        waiting.logger.removeHandler(handler)
    assert said[0].startswith("'ours' has been waiting for a slot for ")
    assert f"slot-0: 'theirs' ({server['id']}, process {server['pid']})" in said[0]


@on_every_loop
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it is about another process, and waits for it
async def test_who_waits_for_a_supervisor_that_is_stopped_is_told_which(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be resumed; until then nobody gets an answer, and it is said what ends it."""
    said: list[str] = []
    heard = anyio.Event()

    def emit(message: str, *arguments: object) -> None:
        said.append(message % arguments)
        heard.set()

    monkeypatch.setattr(waiting.logger, "warning", emit)
    async with provider(runtime) as one, provider(runtime) as other, await one.setup("m") as handle:
        server = handle.model.server
        supervisor = parent(server.pid or 0)
        monkeypatch.setattr(waiting, "SAY_SECONDS", 0.1)

        async def ask() -> None:
            async with await other.setup("m") as again:
                assert again.model.server.pid == server.pid

        with fail_after(PATIENCE):
            async with create_task_group() as group:
                os.kill(supervisor, signal.SIGSTOP)
                try:
                    group.start_soon(ask)
                    await heard.wait()
                finally:
                    os.kill(supervisor, signal.SIGCONT)
    assert f"{server.id} does not answer: its supervisor is stopped, killed, or very busy" in said[0]
    assert f"'doteval stop --force {server.id}' ends it" in said[0]


# -------------------------------------------------------------------- the decision alone


def status(slots: Sequence[str], waits: Sequence[tuple[Sequence[str], int]], fraction: float = 1.0) -> dict[str, Any]:
    return {
        "slots": list(slots),
        "fraction": fraction,
        "waits": [[list(names), count, WHOLE] for names, count in waits],
    }


@pytest.mark.parametrize(
    ("known", "is_stuck"),
    [
        ([], False),
        ([status("a", [])], False),
        ([status("a", [("a", 1)])], True),
        ([status("a", [("ab", 1)])], False),
        ([status("a", [("b", 1)]), status("b", [])], False),
        ([status("a", [("b", 1)]), status("b", [("a", 1)])], True),
        ([status("a", [("b", 1)]), status("b", [("c", 1)]), status("c", [])], False),
        ([status("ab", [("abc", 2)]), status("c", [])], True),
        ([status("a", [("a", 1)], 0.5)], True),
        ([status("a", [("b", 1)], 0.5), status("b", [("a", 1)], 0.1)], True),
        ([status("a", [("b", 1)], 0.5), status("a", [("b", 1)], 0.5)], False),
    ],
)
def test_a_wish_for_slots_is_held_for_ever_or_not(known: list[dict[str, Any]], is_stuck: bool) -> None:
    """The wish is for slot a."""
    assert is_held_for_ever(Wish(("a",), 1), known) is is_stuck


def test_a_wish_for_a_part_is_held_for_ever_where_too_little_is_left() -> None:
    """By a server whose user waits itself, on the only slot that would do."""
    known = [status("a", [("a", 1)], 0.6)]
    assert not is_held_for_ever(Wish(("a",), 1, amount_of(0.4)), known)
    assert is_held_for_ever(Wish(("a",), 1, amount_of(0.41)), known)
    assert not is_held_for_ever(Wish(("a", "b"), 1, amount_of(0.41)), known)
    assert is_held_for_ever(Wish(("a", "b"), 2, amount_of(0.41)), known)


slot_sets = st.sets(st.sampled_from("abcd"), min_size=1)


@given(
    servers=st.permutations("abcd").flatmap(
        lambda names: st.lists(
            st.tuples(st.just(names), st.lists(st.tuples(slot_sets, st.integers(1, 3)), max_size=3)), max_size=4
        )
    ),
    wish=st.tuples(slot_sets, st.integers(1, 3)),
    seed=st.integers(0, 1000),
)
def test_it_is_as_if_everybody_had_their_turn(
    servers: list[tuple[list[str], list[tuple[set[str], int]]]], wish: tuple[set[str], int], seed: int
) -> None:
    """Played in a random order: whoever can be served is, and lets go; what nobody could do then is for ever."""
    chance = random.Random(seed)
    left = [(names[place], [list(each) for each in wishes]) for place, (names, wishes) in enumerate(servers)]
    known = [status(slot, [(sorted(names), count) for names, count in wishes]) for slot, wishes in left]

    def short(names: set[str], count: int) -> bool:
        return len(names - {slot for slot, _ in left}) < count

    def possible() -> list[tuple[list[Any], list[Any]]]:
        return [(wishes, each) for _, wishes in left for each in wishes if not short(*each)]

    while True:
        left = [(slot, wishes) for slot, wishes in left if wishes]
        if not possible():
            break
        wishes, served = chance.choice(possible())
        wishes.remove(served)
    assert is_held_for_ever(Wish(tuple(sorted(wish[0])), wish[1]), known) is short(*wish)
