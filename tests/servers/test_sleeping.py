"""Sleep instead of stop: servers take turns at a slot, each is started once, and none answers for another."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group
from packaging.version import Version
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.servers.callers import Supervisors
from tests.servers.leftovers import await_end, leftovers, parent
from tests.servers.lights import PATIENCE, Events, StartPlayer, get, light
from tests.servers.test_server_cancellation import Listener

from doteval import ServerProvider
from doteval.cli import main
from doteval.servers import (
    HTTPSleep,
    LocalLauncher,
    PortOpen,
    ReadinessView,
    ServerCommand,
    SleepWith,
    SlotSet,
    Terms,
)
from doteval.servers._local.room import statuses
from doteval.servers._local.runtime import Runtime
from doteval.servers._slots.locks import SlotLocks, take

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency, pytest.mark.process]

UNCLOSED = "error" if Version(version("anyio")) >= Version("4.16") else "ignore"
"""Of a connection that is cancelled as it is made: an older anyio leaves it to the garbage collection."""

OTHER = {"asyncio": "trio", "trio": "asyncio"}
TROUBLES = ("fails", "dies")
SLEEP = HTTPSleep(state_path="/is_sleeping")


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


@pytest.fixture
def other_backend(anyio_backend: tuple[str, Any]) -> str:
    """What another process runs on, so that both kinds are met together."""
    return OTHER[anyio_backend[0]]


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
        return Counter(note.rpartition(" ")[0] for note in self.all())

    def plan(self, spec: str, action: str, trouble: str) -> None:
        (self.directory / f"{spec}-{action}").write_text(trouble)


def sleepy(notes: Notes, launcher: LocalLauncher, **settings: Any) -> ServerProvider:
    settings = {"sleep": SLEEP, "max_sleeping": 3, "max_retries": 0} | settings
    return ServerProvider(notes.command, launcher=launcher, **settings)


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


async def test_a_server_that_is_leased_never_sleeps(notes: Notes, launcher: LocalLauncher) -> None:
    """Who needs its slot waits until its last lease has ended; then it sleeps, in whichever provider it was."""
    async with sleepy(notes, launcher) as one, sleepy(notes, launcher) as other:
        first = await one.setup("a")
        async with create_task_group() as group:

            async def ask_for_b() -> None:
                assert await ask(other, "b") == "b"
                assert not first.is_active

            group.start_soon(ask_for_b)
            await anyio.wait_all_tasks_blocked()
            assert await first.model.generate("model") == "a"
            assert notes.count() == {"start": 1}
            await first.teardown()
        assert await ask(one, "a") == "a"
    assert notes.all() == ["start a", "sleep a", "start b", "sleep b", "wake a"]


async def test_a_server_that_two_providers_hold_sleeps_and_is_lost_to_neither(
    notes: Notes, launcher: LocalLauncher
) -> None:
    """Each has it idle when its slot is needed by the other, and finds it asleep."""
    events = Events()
    async with (
        sleepy(notes, launcher, on_event=events) as one,
        sleepy(notes, LocalLauncher(launcher.runtime.root), on_event=events) as other,
    ):
        for spec in "abba":
            assert await ask(one, spec) == await ask(other, spec) == spec
        assert await ask(other, "b") == "b"
        assert one.statistics().losses == other.statistics().losses == 0
    assert notes.count() == {"start": 2, "sleep": 3, "wake": 2}
    assert not events.of("lost")


async def test_two_processes_at_one_slot_put_each_others_servers_to_sleep(
    notes: Notes, launcher: LocalLauncher, other_backend: str, player: StartPlayer
) -> None:
    """Of the one that ends nothing is left, but for what others hold."""
    root = launcher.runtime.root
    settings = {"sleep": asdict(SLEEP), "max_sleeping": 3}
    async with sleepy(notes, launcher) as provider:
        async with player(root, other_backend, notes.command, **settings) as other:
            for theirs, ours in (("a", "b"), ("b", "a"), ("c", "a")):
                await other.ask("setup", "h", theirs)
                assert await other.ask("generate", "h", "model") == theirs
                await other.ask("teardown", "h")
                assert await ask(provider, ours) == ours
        assert notes.count() == {"start": 3, "sleep": 4, "wake": 2}
        left = [status["spec"] for status in (await statuses(launcher.runtime)).values()]
        assert sorted(left) == ["a", "b"], "nobody is there any more who has used c"
    assert not leftovers(root)


async def test_a_program_that_is_killed_leaves_no_server_that_sleeps(
    notes: Notes, runtime: Runtime, other_backend: str, player: StartPlayer
) -> None:
    """The kernel closes its connections, those that hold a server asleep among them."""
    settings = {"sleep": asdict(SLEEP), "max_sleeping": 3}
    with pytest.raises(AssertionError):  # of the player, which does not end as it should
        async with player(runtime.root, other_backend, notes.command, **settings) as other:
            await other.ask("setup", "h", "a")
            await other.ask("teardown", "h")
            server = await other.ask("setup", "h", "b")
            assert notes.all() == ["start a", "sleep a", "start b"]
            os.kill(parent(parent(parent(server["pid"]))), signal.SIGKILL)
    assert not leftovers(runtime.root)


async def test_no_more_servers_sleep_than_may(notes: Notes, launcher: LocalLauncher) -> None:
    """Where one more would have to, the one that was used longest ago ends; one that is asked for does not."""
    async with sleepy(notes, launcher, max_sleeping=2) as provider:
        for spec in "abcd":
            assert await ask(provider, spec) == spec
            known = (await statuses(launcher.runtime)).values()
            assert {status["spec"]: status["state"] for status in known}[spec] == "ready"
            assert {status["bed"] is None for status in known if status["state"] == "ready"} == {True}
            assert sum(status["bed"] is not None for status in known) <= 2
        assert notes.all() == ["start a", "sleep a", "start b", "sleep b", "start c", "sleep c", "start d"]
        assert await ask(provider, "b") == "b"
        assert notes.all()[-2:] == ["sleep d", "wake b"]
        beds = {status["spec"]: status["bed"] for status in (await statuses(launcher.runtime)).values()}
        assert beds["b"] is None
    async with sleepy(notes, launcher, max_sleeping=1) as provider:
        assert [await ask(provider, spec) for spec in "aba"] == [*"aba"]
    assert notes.all()[-4:] == ["start a", "sleep a", "start b", "wake a"], "two cannot be asleep to take turns"


@pytest.mark.parametrize("action", ["sleep", "wake"])
async def test_what_cannot_sleep_is_stopped_and_what_cannot_wake_is_started(
    notes: Notes, launcher: LocalLauncher, action: str
) -> None:
    """Whoever asks notices nothing; the next time it sleeps and wakes as it should."""
    async with sleepy(notes, launcher) as provider:
        for trouble in TROUBLES:
            notes.plan("a", action, trouble)
            for spec in "aba":
                assert await ask(provider, spec) == spec
        assert provider.statistics().losses == provider.statistics().open_failures == 0
    failed = {f"{action} {trouble}": 1 for trouble in TROUBLES}
    assert notes.count() == {"start": 4, "sleep": 2 if action == "sleep" else 4, "wake": 1, **failed}
    assert len(launcher.starts) == 4


@pytest.mark.parametrize("hangs", ["sleep", "wake"])
async def test_a_server_that_takes_too_long_to_change_is_stopped_or_started_again(
    notes: Notes, launcher: LocalLauncher, hangs: str
) -> None:
    """Whoever needs its slot, or the server, waits for as long as was said, of either or for both, and no longer."""

    async def for_ever(server: ReadinessView) -> None:
        await anyio.sleep_forever()

    settings: Any = {
        "sleep": {"sleep": SleepWith(for_ever, for_ever, timeout=0.05)},
        "wake": {"sleep": SleepWith(SLEEP.sleep, for_ever), "sleep_timeout": 0.2},
    }[hangs]
    async with sleepy(notes, launcher, **settings) as provider:
        assert [await ask(provider, spec) for spec in "aba"] == [*"aba"]
    assert notes.count()["start"] == 3


@pytest.mark.parametrize("whole", [False, True], ids=["server", "supervisor and keeper"])
async def test_a_server_that_dies_asleep_is_started_again(notes: Notes, launcher: LocalLauncher, whole: bool) -> None:
    """Killed by somebody, it holds no place where another one may sleep."""
    async with sleepy(notes, launcher, max_sleeping=2) as provider:
        async with provider.setup("a") as handle:
            server = handle.model.server
        assert await ask(provider, "b") == "b"
        assert server.pid is not None
        for pid in (parent(parent(server.pid)), parent(server.pid)) if whole else [server.pid]:
            os.kill(pid, signal.SIGKILL)
            assert await_end(pid)
        assert [await ask(provider, spec) for spec in "aba"] == [*"aba"]
    assert notes.count() == {"start": 3, "sleep": 4, "wake": 2}


async def test_a_server_sleeps_on_where_its_directory_is_deleted(notes: Notes, launcher: LocalLauncher) -> None:
    """It makes it again, and is found and woken up in it."""
    root = launcher.runtime.root
    async with sleepy(notes, launcher) as provider:
        assert [await ask(provider, spec) for spec in "ab"] == [*"ab"]
        gone = root.rename(f"{root}-gone")  # in one step: it is made again at once
        shutil.rmtree(gone)
        with anyio.fail_after(PATIENCE):
            while not root.is_dir() or len(launcher.runtime.server_ids()) < 2:
                await anyio.lowlevel.checkpoint()
        assert [await ask(provider, spec) for spec in "ab"] == [*"ab"]
    assert notes.count() == {"start": 2, "sleep": 3, "wake": 2}


async def test_a_server_falls_asleep_and_wakes_by_functions(notes: Notes, launcher: LocalLauncher) -> None:
    """Those of its provider; where they take too long, or raise, it is stopped and started as any other."""
    calls: list[str] = []

    async def to_sleep(server: ReadinessView) -> None:
        await SLEEP.sleep(server)
        calls.append("sleep")

    async def to_wake(server: ReadinessView) -> None:
        await SLEEP.wake(server)
        calls.append("wake")
        if calls.count("wake") == 2:
            raise OSError("no memory")

    async with sleepy(notes, launcher, sleep=SleepWith(to_sleep, to_wake)) as provider:
        assert [await ask(provider, spec) for spec in "ababa"] == [*"ababa"]
    assert calls == ["sleep", "sleep", "wake", "sleep", "wake", "sleep", "wake"]
    assert notes.count()["start"] == 3


async def test_nobody_uses_a_server_before_it_is_awake(notes: Notes, launcher: LocalLauncher) -> None:
    """All who have leased it meanwhile wait for that; one of them holds it since before it slept."""
    may_wake = anyio.Event()
    asked = list[str]()

    async def to_wake(server: ReadinessView) -> None:
        await may_wake.wait()
        assert not asked
        await SLEEP.wake(server)

    async def use(provider: ServerProvider) -> None:
        assert await ask(provider, "a") == "a"
        asked.append("a")

    how = SleepWith(SLEEP.sleep, to_wake)
    others = [LocalLauncher(launcher.runtime.root) for _ in range(2)]
    async with AsyncExitStack() as stack:
        one, two, three = [
            await stack.enter_async_context(sleepy(notes, each, sleep=how)) for each in (launcher, *others)
        ]
        for provider, spec in ((one, "a"), (two, "a"), (three, "b")):
            await ask(provider, spec)
        with anyio.fail_after(PATIENCE):
            async with create_task_group() as group:
                for number, provider in enumerate((one, two, three), 1):
                    group.start_soon(use, provider)
                    leases = 0
                    while leases < number:  # so that the second one finds it waking, with the hold that it has
                        known = await statuses(launcher.runtime)
                        leases = max(each["leases"] for each in known.values() if each["spec"] == "a")
                may_wake.set()
    assert notes.count() == {"start": 2, "sleep": 2, "wake": 1}


@pytest.mark.parametrize("action", ["sleep", "wake"])
@pytest.mark.parametrize("problem", ["out of memory", None], ids=["told", "gone"])
def test_a_server_ends_where_whoever_switches_it_fails_or_has_gone(
    supervisors: Supervisors, runtime: Runtime, action: str, problem: str | None
) -> None:
    """Nobody knows then what state it is in. While that goes on, nobody else switches it."""
    (runtime.root / "slots").mkdir()
    held = SlotLocks(take(runtime.root / "slots", ["slot-0"], 1))
    caller = supervisors.start("good", slot_fds=held.fds, may_sleep=1)
    held.close()
    caller.ask("ready", condition="")
    caller.ask("hold")
    nurse, other = supervisors.call(), supervisors.call()
    while not (answer := nurse.ask("end", sleep=True, reason="needed"))["granted"]:
        assert answer == {"id": answer["id"], "ending": False, "granted": False, "is_full": False}
    assert not other.ask("end", sleep=True, reason="needed")["granted"]
    assert not other.ask("lease")["granted"]
    assert other.ask("switched", problem="it is not mine") == {"id": 3}
    if action == "wake":
        nurse.ask("switched", problem="")
        assert (caller.status()["state"], caller.status()["slots"]) == ("asleep", [])
        assert nurse.ask("wake")["granted"]
        assert not other.ask("wake")["granted"]
    if problem is None:
        nurse.close()
    else:
        nurse.ask("switched", problem=problem)
    done = "put to sleep" if action == "sleep" else "woken up"
    reason = problem or "whoever was to do that has gone"
    assert caller.expect("exited")["reason"] == f"it could not be {done}: {reason}"


def test_a_server_says_only_now_that_it_found_no_place_to_sleep(supervisors: Supervisors, runtime: Runtime) -> None:
    """And not once it is leased again: nobody else has to end for it then."""
    (runtime.root / "beds").mkdir()
    taken = SlotLocks(take(runtime.root / "beds", ["0"], 1))
    caller = supervisors.start("good", may_sleep=1)
    caller.ask("ready", condition="")
    caller.ask("hold")
    other = supervisors.call()
    while not (answer := other.ask("end", sleep=True, reason="needed"))["is_full"]:
        assert not answer["granted"]
    caller.ask("lease")
    assert not other.ask("end", sleep=True, reason="needed")["is_full"]
    taken.close()


async def test_a_program_that_does_not_know_the_functions_stops_the_server(
    notes: Notes, launcher: LocalLauncher, other_backend: str, player: StartPlayer
) -> None:
    """It is a server like any other to it."""
    how = SleepWith(SLEEP.sleep, SLEEP.wake)
    async with (
        sleepy(notes, launcher, sleep=how) as provider,
        player(launcher.runtime.root, other_backend, notes.command) as other,
    ):
        assert await ask(provider, "a") == "a"
        await other.ask("setup", "h", "b")
        assert await other.ask("generate", "h", "model") == "b"
    assert notes.all() == ["start a", "start b"]


async def test_a_server_that_sleeps_ends_when_it_is_torn_down_or_expires(notes: Notes, launcher: LocalLauncher) -> None:
    """As one that is awake: by the id of its resource, with all others, and when it was kept for long enough."""
    runtime = launcher.runtime

    async def asleep() -> list[str]:
        return sorted(each["spec"] for each in (await statuses(runtime)).values() if each["state"] == "asleep")

    async with sleepy(notes, launcher) as provider:
        for spec in "abc":
            await ask(provider, spec)
        assert await asleep() == ["a", "b"]
        await provider.teardown("a")
        assert await asleep() == ["b"]
        await provider.teardown_all()
        assert not leftovers(runtime.root)
    async with sleepy(notes, launcher, keep_alive=0.2) as provider:
        await ask(provider, "a")
        async with provider.setup("b"):
            with anyio.fail_after(PATIENCE):
                while "a" in {each["spec"] for each in (await statuses(runtime)).values()}:
                    await anyio.lowlevel.checkpoint()


async def test_a_server_wakes_with_its_own_gpu(
    notes: Notes, launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody leases that, it is started with another one: it cannot move."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0,MIG-1")
    command = light(f"sleeps={notes.directory}", "crowd=yes")
    async with ServerProvider(command, launcher=launcher, gpus="auto", sleep=SLEEP, max_sleeping=9) as provider:
        assert [await slots(provider, spec) for spec in "abca"] == ["MIG-0", "MIG-1", "MIG-0", "MIG-0"]
        assert [await slots(provider, spec) for spec in "bcb"] == ["MIG-1", "MIG-0", "MIG-1"]
        assert launcher.starts[3:] == []
        async with provider.setup("c") as handle:
            assert handle.model.server.slots == ("MIG-0",)
            assert await slots(provider, "a") == "MIG-1"
    assert len(launcher.starts) == 4


async def slots(provider: ServerProvider, spec: str) -> str:
    """The slots of a server that has answered."""
    with anyio.fail_after(PATIENCE):
        async with provider.setup(spec) as handle:
            assert await handle.model.generate("model") == spec
            return ",".join(handle.model.server.slots)


@pytest.mark.parametrize("backends", [("asyncio", "trio"), ("trio", "asyncio")], ids="-".join)
def test_servers_of_a_launcher_that_keeps_sleep_between_event_loops(
    notes: Notes,
    runtime: Runtime,
    backends: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in a run of pytest; `close` ends those that sleep, too. The command shows them, and stops them."""
    launcher = LocalLauncher(runtime.root, keeps=True, stay_seconds=30.0)

    async def take_turns() -> None:
        async with sleepy(notes, launcher) as provider:
            assert [await ask(provider, spec) for spec in "ab"] == ["a", "b"]

    for backend in backends:
        anyio.run(take_turns, backend=backend)
    assert notes.count() == {"start": 2, "sleep": 3, "wake": 2}
    monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", str(runtime.root))
    assert main(["servers", "--json"]) == 0
    found = {each["spec"]: each for each in json.loads(capsys.readouterr().out)}
    assert [(found[spec]["state"], found[spec]["slots"]) for spec in "ab"] == [("asleep", []), ("ready", ["slot-0"])]
    assert main(["stop", found["a"]["id"]]) == 0
    assert runtime.server_ids() == [found["b"]["id"]]
    launcher.close(PATIENCE)
    assert not leftovers(runtime.root)


@pytest.mark.filterwarnings(f"{UNCLOSED}::pytest.PytestUnraisableExceptionWarning")
async def test_a_switch_that_is_cancelled_anywhere_disturbs_nobody(notes: Notes, runtime: Runtime) -> None:
    """Whoever comes next is answered by the right model; nothing is started again."""
    launcher = LocalLauncher(runtime.root, keeps=True)
    terms = Terms(ready=PortOpen(), slots=SlotSet(("slot-0",)), sleep=SLEEP, max_sleeping=3)

    async def launch(spec: str) -> None:
        argv = tuple(word.replace("{spec}", spec) for word in notes.command)
        async with launcher.launch(ServerCommand("light", spec, argv), terms, Listener()) as lease:
            assert (await get(lease.server, "/is_sleeping")) == {"is_sleeping": False}

    async def trial(k: int) -> bool:
        await launch("a")
        reached = await cancelled_at(k, lambda: launch("b"))
        await launch("b")
        return reached

    assert await at_every_checkpoint(trial) > 15
    launcher.close(PATIENCE)
    assert notes.count()["start"] == 2
