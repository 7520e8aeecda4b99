"""Slots of the whole machine: taken once, given to whoever came first, free again whatever dies."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import CancelScope, Event, create_task_group, fail_after
from anyio.lowlevel import checkpoint
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.forks import Forks
from tests.servers.slot_processes import DEADLINE, SlotProcess, slot_processes

from doteval._errors import CapacityExceededError
from doteval.servers._slots import queue as queueing
from doteval.servers._slots.locks import SlotLocks
from doteval.servers._slots.queue import SlotQueue, in_line
from doteval.servers._supervisor.parts import WHOLE
from doteval.servers._unshared import Descriptor

pytestmark = [pytest.mark.concurrency, pytest.mark.counts_open_files]

NAMES = ("slot-0", "slot-1", "slot-2", "slot-3")
IN_TURN = [("asyncio", "trio", "asyncio"), ("trio", "asyncio", "trio")]


class Wish:
    """One that wants slots, and what it has seen.

    Args:
        queue: Where it waits.
        names: The slots that will do.
        count: How many it needs.
        amount: How much of each.
    """

    def __init__(
        self, queue: SlotQueue, names: tuple[str, ...] = NAMES, count: int = 1, *, amount: int = WHOLE
    ) -> None:
        self.queue, self.names, self.count, self.amount = queue, names, count, amount
        self.looks = 0
        self.asked: list[tuple[int, tuple[str, ...]]] = []
        self.early: str | None = None
        self.got: SlotLocks | str | None = None
        self.on_look: Callable[[], object] = lambda: None
        self.on_room: Callable[[], object] = lambda: None
        self.is_in_vain = False
        self._looked = Event()
        self._served = Event()

    async def wait(self) -> None:
        """Want the slots; `got` is what came of it."""
        self.got = await self.queue.acquire(
            self.names,
            self.count,
            resource_id="test:model",
            make_room=self._make_room,
            come_early=self._come_early,
            amount=self.amount,
        )
        self._served.set()

    async def looked(self, times: int = 2) -> None:
        """Wait until it has looked so many times more; after 2, it has a ticket and has found no slots."""
        enough = self.looks + times
        with fail_after(DEADLINE):
            while self.looks < enough:
                await self._looked.wait()

    async def served(self) -> tuple[str, ...]:
        with fail_after(DEADLINE):
            await self._served.wait()
        assert isinstance(self.got, SlotLocks)
        return self.got.names

    def release(self) -> None:
        assert isinstance(self.got, SlotLocks)
        self.got.close()

    async def _come_early(self) -> str | None:
        await checkpoint()
        self.looks += 1
        self._looked.set()
        self._looked = Event()
        self.on_look()
        return self.early

    async def _make_room(self, missing: int, taken: tuple[str, ...]) -> bool:
        await checkpoint()
        self.asked.append((missing, taken))
        self.on_room()
        return not self.is_in_vain


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "doteval"


@pytest.fixture
def queue(root: Path, monkeypatch: pytest.MonkeyPatch) -> SlotQueue:
    """The queue, in which all that are in this process look more often than usual."""
    monkeypatch.setattr(queueing, "POLL", 0.002)
    return SlotQueue(root)


def tickets(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "queue").iterdir())


def free(root: Path, *names: str) -> list[str]:
    """Those of the slots that anybody could take now."""
    found: list[str] = []
    for name in names:
        with (root / "slots" / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            found.append(name)
    return found


def modes_of(root: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}


def child(**options: Any) -> subprocess.Popen[bytes]:
    """A process that does nothing until its input ends."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, **options)


def stop(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


async def taken(queue: SlotQueue, *names: str) -> SlotLocks:
    wish = Wish(queue, names, len(names))
    with fail_after(DEADLINE):
        await wish.wait()
    assert isinstance(wish.got, SlotLocks)
    return wish.got


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or directory as another process would."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


# ---------------------------------------------------------------- what is taken


@pytest.mark.anyio
async def test_free_slots_are_taken_at_once(queue: SlotQueue, root: Path) -> None:
    """Those in front first; who has them is in nobody's way in the queue."""
    locks = await taken(queue, "slot-0", "slot-1")
    assert locks.names == ("slot-0", "slot-1")
    assert repr(locks) == "<SlotLocks slot-0, slot-1>"
    assert tickets(root) == []
    assert free(root, "slot-0", "slot-1") == []
    locks.close()
    assert free(root, "slot-0", "slot-1") == ["slot-0", "slot-1"]


@pytest.mark.anyio
async def test_closing_twice_closes_once(queue: SlotQueue) -> None:
    """The number of a closed file descriptor may already be somebody else's."""
    locks = await taken(queue, "slot-0")
    (fd,) = locks.fds
    locks.close()
    read, write = os.pipe()
    assert fd in (read, write)
    locks.close()
    assert (locks.fds, repr(locks)) == ((), "<SlotLocks slot-0, closed>")
    os.close(read)
    os.close(write)


@pytest.mark.anyio
async def test_what_is_made_is_for_its_owner_only(queue: SlotQueue, root: Path) -> None:
    """Directories 0700, files 0600, whatever the umask would allow."""
    old = os.umask(0)
    try:
        with closing(await taken(queue, "slot-0")):
            wish = Wish(queue, ("slot-0",))
            async with create_task_group() as task_group:
                task_group.start_soon(wish.wait)
                await wish.looked()
                modes, ticket = modes_of(root), json.loads((root / "queue" / "1").read_text())
                task_group.cancel_scope.cancel()
    finally:
        os.umask(old)
    assert modes == {"doteval": 0o700, "slots": 0o700, "queue": 0o700, "slot-0": 0o600, "1": 0o600}
    assert ticket == {"pid": os.getpid(), "names": ["slot-0"], "for": "test:model"}


@pytest.mark.anyio
async def test_every_name_of_a_gpu_can_be_the_name_of_a_slot(queue: SlotQueue, root: Path) -> None:
    """The old names of MIG parts have slashes in them."""
    with closing(await taken(queue, "MIG-GPU-12/1/0", "../escaped")):
        assert sorted(path.name for path in (root / "slots").iterdir()) == ["..%2Fescaped", "MIG-GPU-12%2F1%2F0"]


@pytest.mark.anyio
async def test_more_than_there_are_fails_at_once(queue: SlotQueue, root: Path) -> None:
    """Even where somebody is in front; nothing is written for it."""
    with pytest.raises(CapacityExceededError, match="'test:model' needs 5 slots at once, but the provider has 4"):
        await Wish(queue, count=5).wait()
    assert [*root.parent.iterdir()] == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("names", "count", "complaint"),
    [
        (NAMES, 0, "count must be at least 1, not 0"),
        (("a", "b", "a"), 1, "a slot is there twice: a, b, a"),
        (("", "b"), 1, "'' cannot be the name of a slot"),
        ((".", "b"), 1, "'.' cannot be the name of a slot"),
        (("b", ".."), 1, "'..' cannot be the name of a slot"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    queue: SlotQueue, names: tuple[str, ...], count: int, complaint: str
) -> None:
    """Each with what is wrong about it."""
    with pytest.raises(ValueError, match=f"^{complaint}$"):
        await Wish(queue, names, count).wait()


@pytest.mark.anyio
async def test_a_slot_whose_file_was_deleted_meanwhile_is_not_taken(
    queue: SlotQueue, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deletes the file after it was opened: a lock on it would keep nobody out, so the new file is locked."""
    path = root / "slots" / "slot-0"
    lock = Descriptor.lock

    def deleting(file: Descriptor, *, is_shared: bool = False) -> bool:
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            path.unlink()
            monkeypatch.undo()
        return lock(file, is_shared=is_shared)

    monkeypatch.setattr(Descriptor, "lock", deleting)
    with closing(await taken(queue, "slot-0")):
        assert free(root, "slot-0") == []


# ---------------------------------------------------------------- who inherits


@pytest.mark.process
@pytest.mark.anyio
async def test_a_slot_stays_taken_until_the_child_that_inherited_it_ends(queue: SlotQueue, root: Path) -> None:
    """Closing our own file descriptors frees nothing while a supervisor has them; its end does, and serves the next."""
    locks = await taken(queue, "slot-0", "slot-1")
    with child(pass_fds=locks.fds) as supervisor:
        locks.close()
        assert free(root, "slot-0", "slot-1") == []
        wish = Wish(queue, ("slot-0", "slot-1"), 2)
        async with create_task_group() as task_group:
            task_group.start_soon(wish.wait)
            await wish.looked(3)
            assert wish.got is None
            supervisor.kill()
            assert await wish.served() == ("slot-0", "slot-1")
        wish.release()


@pytest.mark.process
@pytest.mark.anyio
async def test_other_children_inherit_no_slot(queue: SlotQueue, root: Path) -> None:
    """A process that is started in any other way does not keep slots, nor places in the queue."""
    locks = await taken(queue, "slot-0")
    waiting = Wish(queue, ("slot-0",))
    async with create_task_group() as task_group:
        task_group.start_soon(waiting.wait)
        await waiting.looked()
        with child(close_fds=False):
            locks.close()
            assert await waiting.served() == ("slot-0",)
            waiting.release()
            assert free(root, "slot-0") == ["slot-0"]


# ---------------------------------------------------------------- who is served


@pytest.mark.anyio
async def test_slots_are_given_in_order_of_arrival(queue: SlotQueue, root: Path) -> None:
    """Wishes for 1, 2, 4, 1, 2 of four slots: the one for all four is not overtaken by those that could be served."""
    everything = await taken(queue, *NAMES)
    one, two, four, late_one, late_two = wishes = [Wish(queue, count=count) for count in (1, 2, 4, 1, 2)]
    async with create_task_group() as task_group:
        for wish in wishes:
            task_group.start_soon(wish.wait)
            await wish.looked()
        assert tickets(root) == ["1", "2", "3", "4", "5"]
        everything.close()
        assert await one.served() == ("slot-0",)
        assert await two.served() == ("slot-1", "slot-2")
        await late_one.looked(4)
        await late_two.looked(4)
        assert (four.got, late_one.got, late_two.got) == (None, None, None)
        assert free(root, "slot-3") == ["slot-3"]
        one.release()
        await late_one.looked(4)
        assert (four.got, late_one.got) == (None, None)
        two.release()
        assert await four.served() == NAMES
        four.release()
        assert await late_one.served() == ("slot-0",)
        assert await late_two.served() == ("slot-1", "slot-2")
    late_one.release()
    late_two.release()
    assert tickets(root) == []


@pytest.mark.anyio
async def test_who_leaves_the_queue_is_not_waited_for(queue: SlotQueue, root: Path) -> None:
    """The first in the queue is cancelled; the second is served, and a newcomer stands behind it."""
    lock = await taken(queue, "slot-0")
    first, second, third = wishes = [Wish(queue, ("slot-0",)) for _ in range(3)]
    leaving = CancelScope()

    async def leave() -> None:
        with leaving:
            await first.wait()

    async with create_task_group() as task_group:
        for start, wish in zip([leave, second.wait, third.wait], wishes, strict=True):
            task_group.start_soon(start)
            await wish.looked()
        leaving.cancel()
        await second.looked()
        assert tickets(root) == ["2", "3"]
        lock.close()
        await second.served()
        await third.looked(3)
        assert third.got is None
        second.release()
        await third.served()
    third.release()


@pytest.mark.anyio
async def test_wishes_that_share_no_slot_do_not_wait_for_each_other(queue: SlotQueue) -> None:
    """One that shares a slot with an older wish stands behind it, even if that is not served itself."""
    lock = await taken(queue, "a")
    older, between, apart = Wish(queue, ("a", "b"), 2), Wish(queue, ("b", "c")), Wish(queue, ("c", "d"))
    async with create_task_group() as task_group:
        task_group.start_soon(older.wait)
        await older.looked()
        task_group.start_soon(between.wait)
        await between.looked()
        await taken_and_closed(queue, "e")
        task_group.start_soon(apart.wait)
        await apart.looked(4)
        assert (older.got, between.got, apart.got) == (None, None, None)
        lock.close()
        assert await older.served() == ("a", "b")
        assert await between.served() == ("c",)
        assert await apart.served() == ("d",)
    for wish in (older, between, apart):
        wish.release()


async def taken_and_closed(queue: SlotQueue, *names: str) -> None:
    (await taken(queue, *names)).close()


@pytest.mark.anyio
async def test_a_directory_that_is_deleted_is_made_again_after_a_while(
    queue: SlotQueue, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first it is left to those whose servers have the slots; nobody who waits is told of it."""
    monkeypatch.setattr(queueing, "SETTLE", 1000.0)
    lock = await taken(queue, "slot-0")
    wish = Wish(queue, ("slot-0",))
    async with create_task_group() as task_group:
        task_group.start_soon(wish.wait)
        await wish.looked()
        shutil.rmtree(root)
        await wish.looked(9)
        assert not modes_of(root.parent).keys() & {root.name}
        monkeypatch.setattr(queueing, "SETTLE", 0.0)
        assert await wish.served() == ("slot-0",)
    lock.close()
    wish.release()
    assert tickets(root) == []
    assert set(modes_of(root).values()) <= {0o700, 0o600}


@pytest.mark.anyio
async def test_nobody_removes_the_ticket_that_has_come_in_the_place_of_theirs(queue: SlotQueue, root: Path) -> None:
    """After the directory was deleted, the numbers begin again."""
    lock = await taken(queue, "slot-0")
    leaving, wish = CancelScope(), Wish(queue, ("slot-0",))

    async def leave() -> None:
        with leaving:
            await wish.wait()

    async with create_task_group() as task_group:
        task_group.start_soon(leave)
        await wish.looked()
        (root / "queue" / "1").unlink()
        (root / "queue" / "1").write_text("another's")
        leaving.cancel()
    assert tickets(root) == ["1"]
    lock.close()


@pytest.mark.anyio
@pytest.mark.process
async def test_who_stands_in_line_is_told_with_what_is_stopped(queue: SlotQueue, root: Path) -> None:
    """In the order in which they are served; who wants other slots is not named."""
    with child() as process:
        stop(process)
        lock = await taken(queue, "slot-0")
        wishes = {"9": (process.pid, "slot-0"), "10": (1, "slot-0"), "11": (1, "slot-1")}
        for number, (pid, slot) in wishes.items():
            (root / "queue" / number).write_text(json.dumps({"pid": pid, "names": [slot], "for": f"m{number}"}))
        with ExitStack() as stack:
            for number in wishes:
                stack.enter_context(locked(root / "queue" / number))
            told = in_line(root, ["slot-0"])
        process.kill()
    lock.close()
    assert told == [f"'m9' (process {process.pid}, which is stopped)", "'m10' (process 1)"]
    assert in_line(root, ["slot-0"]) == []
    assert in_line(root / "nowhere", ["slot-0"]) == []


@pytest.mark.anyio
async def test_the_ticket_of_a_dead_process_is_removed(queue: SlotQueue, root: Path) -> None:
    """It is a file that nobody has locked; what is in it does not matter, nor do other files."""
    await taken_and_closed(queue, "slot-0")
    (root / "queue" / "7").write_text(json.dumps({"pid": 1, "names": ["slot-0"]}))
    (root / "queue" / "8").touch()
    (root / "queue" / "readme.txt").touch()
    await taken_and_closed(queue, "slot-0")
    assert tickets(root) == ["readme.txt"]


@pytest.mark.anyio
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"names": 3}', "\ufffd{"])
async def test_a_ticket_that_cannot_be_read_is_waited_for(queue: SlotQueue, root: Path, content: str) -> None:
    """Whoever holds it may want any slot."""
    await taken_and_closed(queue, "slot-0")
    ticket = root / "queue" / "7"
    ticket.write_text(content)
    wish = Wish(queue)
    async with create_task_group() as task_group:
        with locked(ticket):
            task_group.start_soon(wish.wait)
            await wish.looked(4)
            assert tickets(root) == ["7", "8"]
            assert wish.got is None
        await wish.served()
    wish.release()
    assert tickets(root) == []


@pytest.mark.anyio
async def test_a_process_that_stops_while_it_draws_a_ticket_blocks_no_event_loop(queue: SlotQueue, root: Path) -> None:
    """Nobody else can draw one, but can still be told that the wish is fulfilled, and be cancelled."""
    await taken_and_closed(queue, "slot-0")
    patient, lucky, cancelled = Wish(queue), Wish(queue), Wish(queue)
    async with create_task_group() as task_group:
        with locked(root / "queue"):
            task_group.start_soon(patient.wait)
            task_group.start_soon(lucky.wait)
            await lucky.looked(3)
            with CancelScope() as scope:
                cancelled.on_look = scope.cancel
                await cancelled.wait()
            assert tickets(root) == []
            lucky.early = "early"
            await patient.looked(3)
            assert (patient.got, lucky.got, cancelled.got) == (None, "early", None)
        await patient.served()
    patient.release()


# ---------------------------------------------------------------- the two callbacks


@pytest.mark.anyio
async def test_a_wish_fulfilled_otherwise_leaves_the_queue(queue: SlotQueue, root: Path) -> None:
    """Whether it is at the head or not; the others go on waiting."""
    lock = await taken(queue, "slot-0")
    first, second, third = wishes = [Wish(queue, ("slot-0",)) for _ in range(3)]
    async with create_task_group() as task_group:
        for wish in wishes:
            task_group.start_soon(wish.wait)
            await wish.looked()
        second.early = "the second"
        await second.looked(1)
        await third.looked()
        assert tickets(root) == ["1", "3"]
        first.early = "the first"
        await first.looked(1)
        await third.looked()
        assert tickets(root) == ["3"]
        assert (first.got, second.got, third.got) == ("the first", "the second", None)
        lock.close()
        await third.served()
    third.release()


@pytest.mark.anyio
async def test_a_wish_that_is_fulfilled_already_takes_nothing(queue: SlotQueue, root: Path) -> None:
    """`come_early` is asked before a slot is taken and before a ticket is drawn."""
    wish = Wish(queue)
    wish.early = "early"
    await wish.wait()
    assert (wish.got, wish.looks) == ("early", 1)
    assert list((root / "slots").iterdir()) == []


@pytest.mark.anyio
async def test_only_who_is_served_next_asks_for_room(queue: SlotQueue) -> None:
    """It says how many slots are missing and which ones others have."""
    locks = [await taken(queue, name) for name in ("slot-1", "slot-3")]
    first, second = Wish(queue, count=4), Wish(queue)

    def make_room() -> None:
        if locks:
            locks.pop().close()

    first.on_room = make_room
    async with create_task_group() as task_group:
        task_group.start_soon(first.wait)
        await first.looked(1)
        task_group.start_soon(second.wait)
        assert await first.served() == NAMES
        assert first.asked == [(2, ("slot-1", "slot-3")), (1, ("slot-1",))]
        first.on_room = lambda: None
        await second.looked(3)
        first.release()
        await second.served()
    second.release()
    assert set(second.asked) == {(1, NAMES)}


@pytest.mark.anyio
async def test_who_nobody_can_make_room_for_lets_others_go_first(queue: SlotQueue, root: Path) -> None:
    """It waits on behind them, and is served once there is room."""
    lock = await taken(queue, "slot-0")
    first, second = Wish(queue, ("slot-0", "slot-1"), count=2), Wish(queue, ("slot-0", "slot-1"))
    first.is_in_vain = True
    async with create_task_group() as task_group:
        task_group.start_soon(first.wait)
        await first.looked(3)
        task_group.start_soon(second.wait)
        assert await second.served() == ("slot-1",)
        assert first.got is None
        lock.close()
        second.release()
        assert await first.served() == ("slot-0", "slot-1")
    first.release()
    assert tickets(root) == []


@pytest.mark.anyio
async def test_room_is_asked_for_from_time_to_time(queue: SlotQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and then less often than the slots are looked at."""
    monkeypatch.setattr(queueing, "MAKE_ROOM", 3600)
    lock = await taken(queue, "slot-0")
    wish = Wish(queue, ("slot-0",))
    async with create_task_group() as task_group:
        task_group.start_soon(wish.wait)
        await wish.looked(5)
        assert len(wish.asked) == 1
        lock.close()
    wish.release()


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["on_look", "on_room"])
async def test_a_callback_that_fails_ends_the_wait(queue: SlotQueue, root: Path, where: str) -> None:
    """What it raises is raised, and nothing is left."""

    def fail() -> None:
        if wish.looks >= 2 or where == "on_room":
            raise ConnectionError("no")

    lock = await taken(queue, "slot-0")
    wish = Wish(queue, NAMES, 4)
    setattr(wish, where, fail)
    with pytest.raises(ConnectionError):
        await wish.wait()
    assert tickets(root) == []
    assert free(root, *NAMES) == ["slot-1", "slot-2", "slot-3"]
    lock.close()


@pytest.mark.anyio
@pytest.mark.parametrize("function", ["write", "flock"])
async def test_a_ticket_that_cannot_be_made_leaves_nothing(
    queue: SlotQueue, root: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """The disk is full, or cannot lock: said, with no ticket, no lock and no file descriptor left."""

    def fail(fd: int, *rest: object) -> int:
        if function == "write" or not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError("no")
        return 0

    await taken_and_closed(queue, "slot-0")
    with monkeypatch.context() as patch:
        patch.setattr(os if function == "write" else fcntl, function, fail)
        with pytest.raises(OSError, match="no"):
            await Wish(queue).wait()
    assert tickets(root) == []
    await taken_and_closed(queue, "slot-0")


@pytest.mark.anyio
async def test_slots_that_cannot_all_be_opened_are_given_back(queue: SlotQueue, root: Path) -> None:
    """One of the files is not ours: the error says which, the others are free."""
    await taken_and_closed(queue, *NAMES)
    (root / "slots" / "slot-2").unlink()
    (root / "slots" / "slot-2").mkdir()
    with pytest.raises(IsADirectoryError, match="slot-2"):
        await Wish(queue, count=4).wait()
    assert tickets(root) == []
    assert free(root, "slot-0", "slot-1") == ["slot-0", "slot-1"]


# ---------------------------------------------------------------- cancellation

Scenario = Callable[[SlotQueue, Wish], Coroutine[Any, Any, None]]


async def slots_are_free(queue: SlotQueue, wish: Wish) -> None:
    await wish.wait()


async def slots_become_free(queue: SlotQueue, wish: Wish) -> None:
    with closing(await taken(queue, "slot-1")) as lock:
        wish.on_look = lambda: lock.close() if wish.looks == 4 else None
        await wish.wait()


async def room_is_made(queue: SlotQueue, wish: Wish) -> None:
    with closing(await taken(queue, "slot-1", "slot-2")) as lock:
        wish.on_room = lock.close
        await wish.wait()


async def another_is_ahead(queue: SlotQueue, wish: Wish) -> None:
    await taken_and_closed(queue, "slot-1")
    ahead = queueing._draw(queue._tickets, NAMES, "ahead")
    assert ahead is not None
    try:
        wish.on_look = lambda: ahead.drop() if wish.looks == 3 else None
        await wish.wait()
    finally:
        if wish.looks < 3:
            ahead.drop()


async def it_is_fulfilled_otherwise(queue: SlotQueue, wish: Wish) -> None:
    def fulfil() -> None:
        wish.early = "early" if wish.looks == 3 else None

    with closing(await taken(queue, "slot-1")):
        wish.on_look = fulfil
        await wish.wait()


SCENARIOS: list[Scenario] = [
    slots_are_free,
    slots_become_free,
    room_is_made,
    another_is_ahead,
    it_is_fulfilled_otherwise,
]


@pytest.mark.anyio
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_wish_cancelled_anywhere_leaves_nothing_behind(
    queue: SlotQueue, root: Path, scenario: Scenario
) -> None:
    """It is cancelled at its k-th checkpoint: no ticket, no lock and no file descriptor is left."""

    async def trial(k: int) -> bool:
        wish = Wish(queue, count=4)
        reached = await cancelled_at(k, lambda: scenario(queue, wish))
        if isinstance(wish.got, SlotLocks):
            assert not reached  # no checkpoint comes after they are taken
            wish.release()
        assert not list((root / "queue").glob("*"))
        await taken_and_closed(queue, *NAMES)
        return reached

    assert await at_every_checkpoint(trial) >= 1


# ---------------------------------------------------------------- other processes


@pytest.fixture(params=IN_TURN, ids="-".join)
def processes(request: pytest.FixtureRequest, root: Path, forks: Forks) -> Iterator[list[SlotProcess]]:
    """Three processes that want some of four slots, some on asyncio and some on trio."""
    with slot_processes(forks, root, request.param, *NAMES) as started:
        yield started


def test_processes_are_served_in_order_of_arrival(processes: list[SlotProcess], root: Path) -> None:
    """Whoever came first, in whichever process."""
    one, two, three = processes
    one.take("all", 4)
    two.queue("a", 4)
    three.queue("b", 4)
    one.queue("c", 2)
    two.queue("d", 2)
    three.queue("e", 1)
    one.release("all")
    assert two.expect("served", "a")["names"] == list(NAMES)
    two.release("a")
    assert three.expect("served", "b")["names"] == list(NAMES)
    for process, key in ((one, "c"), (two, "d"), (three, "e")):
        process.look_in_vain(key)
    three.release("b")
    first = one.expect("served", "c")["names"]  # any two: a slot is there for others as soon as it is free
    second = two.expect("served", "d")["names"]
    assert sorted(first + second) == list(NAMES)
    one.release("c")
    assert set(three.expect("served", "e")["names"]) < set(first)
    assert tickets(root) == []


def test_the_head_of_the_queue_may_be_killed(processes: list[SlotProcess], root: Path) -> None:
    """Nobody waits for a dead process."""
    one, two, three = processes
    one.take("all", 4)
    two.queue("a", 4)
    three.queue("b", 1)
    two.queue("c", 1)
    one.queue("d", 4)
    two.kill()
    three.look_in_vain("b")
    one.release("all")
    three.expect("served", "b")
    three.release("b")
    one.expect("served", "d")
    assert tickets(root) == []


def test_who_holds_slots_may_be_killed(processes: list[SlotProcess], root: Path) -> None:
    """Its slots are free, and who waits for them is served."""
    one, two, three = processes
    one.take("three", 3)
    two.take("one", 1)
    three.queue("all", 4)
    one.kill()
    two.release("one")
    assert three.expect("served", "all")["names"] == list(NAMES)
    assert tickets(root) == []


def test_who_leaves_the_queue_in_one_process_is_not_waited_for_in_another(
    processes: list[SlotProcess], root: Path
) -> None:
    """By cancellation, or because the wish is fulfilled otherwise."""
    one, two, three = processes
    one.take("three", 3)
    two.queue("a", 4)
    three.queue("b", 4)
    one.queue("c", 1)
    two.send("leave", "a")
    two.expect("left", "a")
    three.send("come_early", "b")
    three.expect("early", "b")
    assert one.expect("served", "c")["names"] == ["slot-3"]
    assert tickets(root) == []


def test_no_slot_is_used_twice(processes: list[SlotProcess], root: Path) -> None:
    """Three processes with four tasks each want 1, 2 or 4 of four slots again and again; all are served."""
    for number, process in enumerate(processes):
        process.send("crowd", 4, 5, number)
    for process in processes:
        process.expect("done")
    assert tickets(root) == []
    assert free(root, *NAMES) == list(NAMES)


def test_a_wish_for_all_slots_does_not_starve(processes: list[SlotProcess], root: Path) -> None:
    """Two processes keep wanting one slot each, so that the four are never free at once by chance."""
    one, two, three = processes
    for process in (one, two):
        process.send("hammer", 6)
        process.expect("hammering")
    assert three.take("all", 4) == list(NAMES)
    for process in (one, two):
        process.send("stop")
    for process in (one, two):
        for _ in range(6):
            process.expect("stopped")
    assert free(root, *NAMES) == []
    assert tickets(root) == []


@pytest.mark.process
def test_the_package_can_be_imported_on_windows(forks: Forks) -> None:
    """That servers do not work there is said when one is wanted, not when the package is imported."""
    script = (
        "import sys, anyio, asyncio, httpx\n"
        "for name in [name for name in sys.modules if name.startswith('doteval')]: del sys.modules[name]\n"
        "sys.platform = 'win32'; sys.modules['fcntl'] = None\n"
        "import doteval.servers._slots.gpus, doteval.servers._slots.queue\n"
    )
    with forks.start("-c", script, stderr=2) as fork:
        assert fork.wait(60) == 0
