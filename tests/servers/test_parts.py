"""Parts of a slot: several servers have one GPU together, never more than all of it, and start one after the other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.servers.callers import Caller, Supervisors
from tests.servers.leftovers import PATIENCE, await_end
from tests.servers.lights import Events, light
from tests.servers.test_slots import Wish, child, free, tickets

from doteval import ServerProvider
from doteval.cli import main
from doteval.servers import LocalLauncher
from doteval.servers._local.making_room import is_in_vain, taken_by, whom_to_ask
from doteval.servers._local.runtime import Runtime
from doteval.servers._slots import queue as queueing
from doteval.servers._slots.locks import Held, SlotLocks, give_back, take
from doteval.servers._slots.queue import SlotQueue
from doteval.servers._supervisor.parts import WHOLE, amount_of

pytestmark = [pytest.mark.concurrency, pytest.mark.counts_open_files]

NAMES = ("a", "b", "c")
HALF = amount_of(0.5)
GPU = ["MIG-0"]
"""A GPU that no machine has: a MIG name is taken as it is, whatever nvidia-smi says."""


@pytest.fixture
def slots(tmp_path: Path) -> Path:
    """The directory of the slots; others are made beside it."""
    directory = tmp_path / "slots"
    directory.mkdir()
    return directory


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlotQueue:
    monkeypatch.setattr(queueing, "POLL", 0.002)
    return SlotQueue(tmp_path)


@dataclass
class Holder:
    """Somebody who has slots, or a part of each."""

    held: Held
    amount: int = WHOLE
    starts: bool = False

    def is_ready(self) -> None:
        """As a supervisor's server: others may start beside it."""
        for files in self.held.values():
            files[1].unlock()
        self.starts = False

    def dies(self) -> None:
        """The locks end with whoever had them; the files stay."""
        for files in self.held.values():
            for file in files:
                file.close()


def parts(root: Path) -> int:
    """How many files of parts there are."""
    return len(list(root.glob("parts/*/*")))


def until(is_so: Callable[[], bool]) -> None:
    """Wait for another process."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -------------------------------------------------------------------- what is taken


@pytest.mark.parametrize("fraction", [1 / 3, 1 / 6, 1 / 7, 0.1, 0.2, 0.29, 0.33, 0.5, 0.58, 1.0])
def test_as_many_parts_fit_as_one_would_think(fraction: float) -> None:
    """Three thirds are a whole, and rounding makes no part of two digits smaller than it is said to be."""
    assert WHOLE // amount_of(fraction) == int(1 / fraction + 1e-9)
    assert abs(amount_of(fraction) - fraction * WHOLE) < 1


wishes = st.tuples(st.sampled_from(["take", "ready", "leave", "die"]), st.integers(0, 9), st.integers(1, 3))
amounts = st.sampled_from([WHOLE, WHOLE, amount_of(0.9), amount_of(0.6), HALF, amount_of(0.4), amount_of(1 / 3), 100])


@settings(max_examples=150)
@given(steps=st.lists(st.tuples(wishes, amounts), max_size=25))
def test_a_part_is_had_exactly_where_there_is_room(tmp_path_factory: pytest.TempPathFactory, steps: Any) -> None:
    """Beside a model that only adds up: as many slots are got as have room and nobody who starts, the fullest first."""
    slots = tmp_path_factory.mktemp("machine") / "slots"
    slots.mkdir()
    holders: list[Holder] = []

    def used(name: str) -> int:
        return sum(each.amount for each in holders if name in each.held)

    for (step, which, count), amount in steps:
        if step == "take":
            room = [name for name in NAMES if used(name) + amount <= WHOLE]
            if amount < WHOLE:
                starting = {name for each in holders if each.starts for name in each.held}
                room = sorted((name for name in room if name not in starting), key=lambda name: -used(name))
            holder = Holder(take(slots, NAMES, count, amount), amount, amount < WHOLE)
            assert list(holder.held) == room[:count]
            holders.append(holder)
        elif holders:
            holder = holders[which % len(holders)]
            if step == "ready":
                if holder.starts:
                    holder.is_ready()
                continue
            holders.remove(holder)
            if step == "leave":
                give_back(holder.held, NAMES)
            else:
                holder.dies()
        assert all(used(name) <= WHOLE for name in NAMES)
    for holder in holders:
        give_back(holder.held, NAMES)
    everything = take(slots, NAMES, 3)
    assert list(everything) == list(NAMES)
    give_back(everything, NAMES)


# -------------------------------------------------------------------- who is served


@pytest.mark.anyio
async def test_who_wants_all_of_a_slot_is_not_overtaken_by_parts(queue: SlotQueue, tmp_path: Path) -> None:
    """It waits for those who have parts, and parts that would fit wait behind it: it comes to its turn."""
    queue._make()
    part = take(tmp_path / "slots", ["a"], 1, HALF)
    Holder(part).is_ready()
    whole, half, late = Wish(queue, ("a",)), Wish(queue, ("a",), amount=HALF), Wish(queue, ("a",), amount=HALF)
    async with create_task_group() as group:
        for wish in (whole, half, late):
            group.start_soon(wish.wait)
            await wish.looked()
        await half.looked(4)
        assert (whole.got, half.got) == (None, None)
        give_back(part, ())
        assert await whole.served() == ("a",)
        await half.looked(4)
        assert half.got is None
        whole.release()
        assert await half.served() == ("a",)
        await late.looked(4)
        assert late.got is None  # there is room, but one starts there
        assert isinstance(half.got, SlotLocks)
        half.release()
        assert await late.served() == ("a",)
        late.release()
    assert tickets(tmp_path) == []


@pytest.mark.process
@pytest.mark.anyio
async def test_a_part_is_free_again_when_who_inherited_it_is_killed(queue: SlotQueue, tmp_path: Path) -> None:
    """What it leaves is removed by whoever comes next; the rest of the slot was anybody's all the time."""
    queue._make()
    held = take(tmp_path / "slots", ["a"], 1, HALF)
    locks = SlotLocks(held)
    with child(pass_fds=locks.fds) as supervisor:
        Holder(held).is_ready()
        locks.close()
        assert free(tmp_path, "a") == []
        rest = take(tmp_path / "slots", ["a"], 1, HALF)
        assert list(rest) == ["a"]
        Holder(rest).is_ready()
        wish = Wish(queue, ("a",), amount=HALF)
        async with create_task_group() as group:
            group.start_soon(wish.wait)
            await wish.looked(3)
            assert wish.got is None
            assert parts(tmp_path) == 2
            supervisor.kill()
            assert await wish.served() == ("a",)
        assert parts(tmp_path) == 2
        wish.release()
        give_back(rest, ())


# -------------------------------------------------------------------- who makes room

servers = st.lists(
    st.tuples(
        st.sets(st.sampled_from(NAMES), min_size=1),
        st.sampled_from([1.0, 0.6, 0.5, 0.3]),
        st.integers(0, 1),
        st.sampled_from(["ready", "ready", "ending"]),
    ),
    max_size=6,
)


@example(servers=[({"a"}, 0.3, 0, "ready"), ({"a"}, 0.6, 0, "ready")], missing=1, fraction=0.5)
@example(servers=[({"a"}, 0.5, 0, "ready"), ({"a", "b"}, 0.5, 0, "ready")], missing=1, fraction=1.0)
@given(servers=servers, missing=st.integers(1, 3), fraction=st.sampled_from([1.0, 0.7, 0.5, 0.2]))
def test_as_few_leases_as_possible_make_room_and_nobody_in_vain(servers: Any, missing: int, fraction: float) -> None:
    """Beside all sets of servers that could go."""
    known: list[dict[str, Any]] = []
    for slots, part, leases, state in servers:
        status = {"slots": sorted(slots), "fraction": part, "leases": leases, "state": state, "ready": True}
        if max(taken_by([*known, status]).values()) <= WHOLE:
            known.append({"id": str(len(known)), "last_used": float(len(known)), **status})
    amount = amount_of(fraction)

    def room(going: Any) -> list[str]:
        gone = {each["id"] for each in going}
        used = taken_by(each for each in known if each["id"] not in gone)
        return [name for name in NAMES if used.get(name, 0) + amount <= WHOLE]

    full = [name for name in NAMES if name not in room([])]
    going = [each for each in known if each["state"] == "ending"]
    asked = whom_to_ask(known, full, missing, amount)
    enough = min(missing, len(full))
    assert len(set(room([*asked, *going])) & set(full)) >= enough
    chosen = [each for each in asked if each not in going]
    if enough == 1:
        assert not any(set(room([each for each in (*asked, *going) if each is not one])) & set(full) for one in chosen)
        others = [each for each in known if each not in going]
        sets = [group for size in range(len(others) + 1) for group in combinations(others, size)]
        enough_sets = [group for group in sets if set(room([*group, *going])) & set(full)]
        assert any(each["leases"] for each in chosen) is all(any(e["leases"] for e in group) for group in enough_sets)


def test_replicas_make_no_room_for_each_other() -> None:
    """Somebody else's server does, or nobody, also where they are idle."""
    replica = {"id": "1", "slots": ["a"], "fraction": 1.0, "leases": 1, "state": "ready", "last_used": 1.0}
    other = {**replica, "id": "2", "slots": ["b"], "last_used": 2.0}
    assert whom_to_ask([replica, other], ["a", "b"], 1, WHOLE) == [replica]
    assert whom_to_ask([replica, other], ["a", "b"], 1, WHOLE, ["1"]) == [other]
    assert whom_to_ask([replica], ["a"], 1, WHOLE, ["1"]) == []
    idle = {**replica, "leases": 0}
    assert whom_to_ask([idle, other], ["a", "b"], 1, WHOLE, ["1"]) == [other]


@pytest.mark.parametrize(
    ("spared", "missing", "expected"), [("1", 1, True), ("1", 0, False), ("2", 1, False), ("3", 1, False)]
)
def test_room_is_in_vain_where_only_its_own_replicas_could_make_it(spared: str, missing: int, expected: bool) -> None:
    """One that is just ending is not in the way."""
    replica = {"id": "1", "slots": ["a"], "fraction": 0.75, "leases": 0, "state": "ready"}
    known = [replica, {**replica, "id": "2", "fraction": 0.25}, {**replica, "id": "3", "state": "ending"}]
    assert is_in_vain(known, ["a"], missing, HALF, [spared]) is expected


def test_room_is_made_nowhere_where_one_that_starts_leaves_enough() -> None:
    """Who waits for it to get ready ends nobody for that, there or elsewhere."""
    starting = {"id": "1", "slots": ["a"], "fraction": 0.5, "leases": 1, "state": "starting", "ready": False}
    idle = {"id": "2", "slots": ["b"], "fraction": 1.0, "leases": 0, "state": "ready", "ready": True}
    known = [{**each, "last_used": 0.0} for each in (starting, idle)]
    assert whom_to_ask(known, ["a", "b"], 1, HALF) == []
    assert [each["id"] for each in whom_to_ask(known, ["a", "b"], 2, HALF)] == ["2"]
    assert [each["id"] for each in whom_to_ask(known, ["a", "b"], 1, WHOLE)] == ["2"]


# -------------------------------------------------------------------- what a supervisor does


def started(supervisors: Supervisors, server_id: str, fraction: float = 0.5, **job: Any) -> Caller:
    """A server with a part of the slot a; others may start beside it."""
    root = supervisors.runtime.root
    (root / "slots").mkdir(exist_ok=True)
    locks = SlotLocks(take(root / "slots", ["a"], 1, amount_of(fraction)))
    paths = [str(path) for path in locks.paths]
    caller = supervisors.start(
        id=server_id, slots=["a"], fraction=fraction, slot_fds=locks.fds, slot_paths=paths, **job
    )
    locks.close()
    caller.expect_up()
    return caller


def room(runtime: Runtime, fraction: float) -> bool:
    """Whether somebody could have a part of the slot a now."""
    held = take(runtime.root / "slots", ["a"], 1, amount_of(fraction))
    give_back(held, ())
    return bool(held)


@pytest.mark.process
def test_servers_on_one_slot_start_one_after_the_other(supervisors: Supervisors, runtime: Runtime) -> None:
    """The next one may when the one before is ready; and at its end, nothing of a part is left."""
    one = started(supervisors, "one")
    assert not room(runtime, 0.5)
    one.ask("ready")
    assert room(runtime, 0.5)
    assert not room(runtime, 0.51)
    other = started(supervisors, "other")
    assert not room(runtime, 0.01)
    one.ask("leave")
    one.expect_end()
    assert not room(runtime, 0.5)  # the other one starts
    other.ask("ready")
    assert room(runtime, 0.5)
    other.ask("leave")
    other.expect_end()
    assert parts(runtime.root) == 0
    assert room(runtime, 1.0)


@pytest.mark.process
@pytest.mark.parametrize("place", ["free", "enough", "taken"])
def test_a_part_whose_directory_was_deleted_is_had_again_where_there_is_room(
    supervisors: Supervisors, runtime: Runtime, place: str
) -> None:
    """Two that have more together than a slot do not go on: the one that lost its directory ends."""
    one = started(supervisors, "one", 0.6)
    one.ask("ready")
    with one.standstill():
        shutil.rmtree(runtime.root)
        runtime.root.mkdir(0o700)
        if place != "free":
            other = started(supervisors, "other", 0.4 if place == "enough" else 0.5)
            other.ask("ready")
    if place == "taken":
        assert one.expect("exited")["reason"] == "its runtime directory was deleted, and its place is taken"
        one.expect_end()
        assert room(runtime, 0.5)
    else:
        until(lambda: parts(runtime.root) == (1 if place == "free" else 2))
        until((runtime.root / "one.sock").exists)
        assert one.status()["state"] == "ready"
        assert room(runtime, 0.4) is (place == "free")


@pytest.mark.process
def test_a_server_that_sleeps_has_no_part_and_wakes_up_where_enough_is_left(
    supervisors: Supervisors, runtime: Runtime
) -> None:
    """Its locks are the same as before, which its keeper has, too; what it does not get is told by name."""
    one = started(supervisors, "one", 0.6, may_sleep=1)
    one.ask("ready")
    one.ask("hold")
    nurse = supervisors.call("one")
    while not nurse.ask("end", sleep=True, reason="needed")["granted"]:
        pass
    nurse.ask("switched", problem="")
    assert one.status()["slots"] == []
    other = started(supervisors, "other", 0.5)
    other.ask("ready")
    answer = nurse.ask("wake")
    assert (answer["granted"], answer["taken"]) == (False, ["a"])
    assert room(runtime, 0.5)  # who was refused has kept nothing
    other.ask("leave")
    other.expect_end()
    assert room(runtime, 1.0)
    assert nurse.ask("wake")["granted"]
    assert room(runtime, 0.4)
    assert not room(runtime, 0.41)
    nurse.ask("switched", problem="")
    one.ask("lease")
    os.kill(one.keeper, signal.SIGSTOP)
    os.kill(one.supervisor, signal.SIGKILL)
    one.expect_end()
    assert not room(runtime, 0.41)  # its keeper still has the part
    os.kill(one.keeper, signal.SIGCONT)
    assert await_end(one.keeper)
    assert room(runtime, 1.0)


# -------------------------------------------------------------------- all of it


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


@pytest.mark.anyio
@pytest.mark.process
async def test_models_share_a_gpu_and_make_room_for_one_that_wants_all_of_it(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each sees the GPU; a third one replaces one that is idle, and a whole one waits for those that are leased."""
    monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", str(launcher.runtime.root))
    events = Events()
    async with (
        ServerProvider(light(), gpus=GPU, gpu_fraction=0.5, launcher=launcher, on_event=events) as halves,
        ServerProvider(light(), gpus=GPU, gpu_fraction=0.3, launcher=launcher) as small,
        ServerProvider(light(), gpus=GPU, launcher=launcher) as wholes,
    ):
        assert (halves.statistics().capacity, small.statistics().capacity) == (2, 3)
        a, c = await halves.setup("a"), await small.setup("c")
        assert (a.model.server.slots, a.model.server.fraction) == (("MIG-0",), 0.5)
        await c.teardown()
        b = await halves.setup("b")  # and c has to go
        await anyio.to_thread.run_sync(main, ["servers", "--json"])
        told = json.loads(capsys.readouterr().out)
        assert [(each["spec"], each["slots"], each["fraction"]) for each in told] == [
            ("a", ["MIG-0"], 0.5),
            ("b", ["MIG-0"], 0.5),
        ]
        await anyio.to_thread.run_sync(main, ["servers"])
        assert [line.split()[4] for line in capsys.readouterr().out.splitlines()] == ["SLOTS", "0.5", "0.5"]
        await b.teardown()
        async with create_task_group() as group:

            async def ask_for_all() -> None:
                async with await wholes.setup("a") as handle:
                    assert not a.is_active
                    assert handle.model.server.fraction == 1

            group.start_soon(ask_for_all)
            await events.until("retiring")
            await a.teardown()
        assert not events.of("lost")


@pytest.mark.anyio
@pytest.mark.process
async def test_parts_of_several_gpus_are_packed_and_a_wish_for_all_of_both_waits(launcher: LocalLauncher) -> None:
    """Two small ones are on one GPU, so that another stays whole; half of each of two is a wish as well."""
    gpus = ["MIG-0", "MIG-1"]
    async with (
        ServerProvider(light(), gpus=gpus, gpu_fraction=0.25, launcher=launcher) as small,
        ServerProvider(light(), gpus=gpus, gpu_fraction=0.5, slots_needed=2, launcher=launcher) as wide,
    ):
        async with small.setup("a") as a, small.setup("b") as b, wide.setup("c") as c:
            assert a.model.server.slots == b.model.server.slots == ("MIG-0",)
            assert c.model.server.slots == ("MIG-0", "MIG-1")
            assert wide.statistics().capacity == 4
