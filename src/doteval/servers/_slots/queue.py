"""``SlotQueue``: who wants slots stands in a queue of files; there is no daemon.

It is first come, first served over all processes of a user. Whoever waits holds a lock on a ticket, a file with
a number larger than every other. A ticket that can be locked belongs to nobody any more, and whoever sees that removes
it. One is served when no ticket with a smaller number wants any of the same slots. From this follows all the rest:

- Two that are served at the same time want different slots, so none takes from another. Only those that are served
  take slots, so those that become free stay free until the one that is served sees enough of them at once. It keeps
  nothing meanwhile: nobody who waits holds a slot, and there is no deadlock among those who wait.
- Tickets ahead of one's own only become fewer. So everybody is served in turn, and a wish for many slots is not
  overtaken by wishes for few.
- Wishes that share no slot do not wait for each other.

A wish that only its own kind stands in the way of goes to the end, again and again: it would keep all others waiting.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from anyio import current_time, sleep
from anyio.lowlevel import checkpoint

from ..._errors import CapacityExceededError
from ..._server_errors import RuntimeDirectoryError
from .._supervisor.parts import WHOLE
from .._unshared import Descriptor
from .locks import SlotLocks, give_back, is_same, take

T = TypeVar("T")

POLL = 0.03
"""How often somebody who waits looks again, in seconds."""
MAKE_ROOM = 0.1
"""How often the one that is served asks others to make room, in seconds."""

SETTLE = 0.3
"""How long a directory that was deleted is left to those whose servers have slots: they make it again, in seconds."""
_TRIES = 5


class SlotQueue:
    """The queue for the slots of this machine.

    Args:
        root: The runtime directory. All who use the same one share its slots. What is missing is made, for its owner
            only (0700).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._slots = root / "slots"
        self._tickets = root / "queue"

    async def acquire(
        self,
        names: Sequence[str],
        count: int,
        *,
        resource_id: str,
        make_room: Callable[[int, tuple[str, ...]], Awaitable[bool]],
        come_early: Callable[[], Awaitable[T | None]],
        in_turn: Callable[[], Awaitable[Collection[str] | None]] | None = None,
        amount: int = WHOLE,
    ) -> SlotLocks | T:
        """Wait in the queue for some of the slots, and take them all at once.

        This looks again every 30 ms, since there is no daemon that could wake us. It is always a checkpoint, and
        there is none between taking the slots and returning them. Whatever ends the wait, cancellation included,
        nothing of it is left behind.

        Args:
            names: The slots that will do; those in front are preferred.
            count: How many of them are needed.
            resource_id: Who wants them, for messages.
            make_room: Called when it is our turn and too few slots are free, every 100 ms: gets how many are missing
                and the names of those that are taken, asks idle servers to end, and returns without waiting for that.
                Where it returns `False`, nobody else can make enough room, and those behind us are served first.
            come_early: Called at every look, also before it is our turn, and before a slot is taken. Returns something
                other than `None` when the slots are not needed any more. It should not wait for long, since we do not
                look meanwhile; what it returns is handed on without another checkpoint.

            in_turn: Called at every look when it is our turn; nobody else takes meanwhile what we stand in the queue
                for. Returns slots that are to be left alone, or `None` for all of them.
            amount: How much of each slot is needed.

        Returns:
            The slots, or what `come_early` returned.

        Raises:
            CapacityExceededError: `count` is more than there are names.
            ValueError: `count` is less than 1, or a name is there twice or cannot be one.
        """
        _check(names, count, resource_id)
        await checkpoint()
        self._make()
        gone_since: float | None = None
        tries = 0
        ticket: _Ticket | None = None
        ask_at = current_time()
        try:
            while True:
                early = await come_early()
                if early is not None:
                    return early
                held = None
                try:
                    ticket = ticket or _draw(self._tickets, names, resource_id)
                    if ticket is not None and ticket.is_served():
                        others = () if in_turn is None else await in_turn()
                        if others is not None:
                            held = take(self._slots, [name for name in names if name not in others], count, amount)
                except FileNotFoundError:  # somebody has deleted the runtime directory
                    tries += self._slots.is_dir() and self._tickets.is_dir()
                    if tries > _TRIES:
                        raise
                    gone_since = current_time() if gone_since is None else gone_since
                    if ticket is not None:
                        ticket.drop()
                        ticket = None
                    if current_time() >= gone_since + SETTLE:
                        self._make()
                        gone_since = None
                if held is not None:
                    if len(held) == count:
                        return SlotLocks(held)
                    taken = give_back(held, names)
                    if current_time() >= ask_at:
                        is_in_vain = not await make_room(count - len(held), taken)
                        ask_at = current_time() + MAKE_ROOM
                        if is_in_vain and ticket is not None:
                            ticket.drop()
                            ticket = None  # the next one is at the end
                await sleep(POLL)
        finally:
            if ticket is not None:
                ticket.drop()

    def _make(self) -> None:
        """Make what is missing."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._root.lstat().st_uid != os.getuid():
            raise RuntimeDirectoryError(str(self._root), "it belongs to somebody else")
        for directory in (self._slots, self._tickets):
            directory.mkdir(mode=0o700, exist_ok=True)


class _Ticket:
    """A place in the queue: a locked file.

    Args:
        path: The file.
        file: The same, open and locked.
        ahead: The tickets that are served before this one; no others can join them.
    """

    def __init__(self, path: Path, file: Descriptor, ahead: list[Path]) -> None:
        self._path = path
        self._file = file
        self._ahead = ahead

    def is_served(self) -> bool:
        """Whether all that were ahead have left the queue."""
        while self._ahead and _is_abandoned(self._ahead[0]):
            del self._ahead[0]
        return not self._ahead

    def drop(self) -> None:
        """Leave the queue; a forked child has no place in it."""
        if self._file.is_open:
            with suppress(OSError):  # then the next one who looks removes it
                if is_same(self._file, self._path):  # else somebody has deleted it, and it may be another's by now
                    self._path.unlink()
        self._file.unlock()
        self._file.close()


def in_line(root: Path, names: Collection[str]) -> list[str]:
    """Who stands in the queue for any of these slots, the next one first, in words.

    Args:
        root: The runtime directory.
        names: The slots.
    """
    with suppress(FileNotFoundError):
        paths = sorted((path for path in (root / "queue").iterdir() if path.name.isdecimal()), key=_number)
        return [_described(path) for path in paths if _overlap(_wish(path), names) and not _is_abandoned(path)]
    return []


def _number(path: Path) -> int:
    return int(path.name)


def _described(path: Path) -> str:
    try:
        ticket = json.loads(path.read_bytes())
        pid, wish = int(ticket["pid"]), str(ticket.get("for", "a server"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "somebody unknown"
    try:
        is_stopped = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"Tt"
    except (OSError, IndexError):
        is_stopped = False
    return f"'{wish}' (process {pid}{', which is stopped' if is_stopped else ''})"


def _draw(directory: Path, names: Sequence[str], resource_id: str) -> _Ticket | None:
    """Take a place at the end of the queue; `None` if another process is doing that just now."""
    door = Descriptor(directory, os.O_RDONLY)
    try:
        if not door.lock():
            return None
        try:
            others = _waiting(directory)
            path = directory / str(max(others, default=0) + 1)
            ahead = [directory / str(number) for number in sorted(others) if _overlap(others[number], names)]
            return _Ticket(path, _written(path, names, resource_id), ahead)
        finally:
            door.unlock()  # a child that is just being started may have a copy
    finally:
        door.close()


def _waiting(directory: Path) -> dict[int, frozenset[str] | None]:
    """The tickets in the queue and what each is for, `None` if that cannot be read. Needs the lock on the directory."""
    paths = [path for path in directory.iterdir() if path.name.isdecimal()]
    return {int(path.name): _wish(path) for path in paths if not _is_abandoned(path)}


def _is_abandoned(path: Path) -> bool:
    """Whether nobody stands behind a ticket any more; removes it if somebody has died behind it.

    Only who has the lock on a ticket removes it, and its number is not given out again while a larger one is there.
    """
    try:
        file = Descriptor(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        if not file.lock():
            return False
        with suppress(FileNotFoundError):
            path.unlink()
        return True
    finally:
        file.close()


def _written(path: Path, names: Sequence[str], resource_id: str) -> Descriptor:
    """Make a ticket; returns its locked file."""
    file = Descriptor(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        file.lock()
        os.write(file.fileno(), json.dumps({"pid": os.getpid(), "names": list(names), "for": resource_id}).encode())
    except BaseException:
        file.close()
        path.unlink(missing_ok=True)
        raise
    return file


def _wish(path: Path) -> frozenset[str] | None:
    try:
        return frozenset(map(str, json.loads(path.read_bytes())["names"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _overlap(wish: frozenset[str] | None, names: Collection[str]) -> bool:
    return wish is None or not wish.isdisjoint(names)


def _check(names: Sequence[str], count: int, resource_id: str) -> None:
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"a slot is there twice: {', '.join(names)}")
    if impossible := {"", ".", ".."}.intersection(names):
        raise ValueError(f"{min(impossible)!r} cannot be the name of a slot")
    if count > len(names):
        raise CapacityExceededError([resource_id], count, len(names))
