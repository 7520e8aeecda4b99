"""``Place``: what a server has in the runtime directory, and what becomes of it where somebody deletes that.

Programs that clean up temporary files, and people, delete the runtime directory while servers run. Nobody could find
them any more, and locks on deleted files keep nobody from their slots. So what is gone is made again, unless somebody
else has taken its place in the meantime; and nobody removes what is somebody else's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import time

from .files import delete
from .parts import WHOLE, amount_in, taken, unused
from .processes import watch

DOOR_SECONDS = 0.2  # how long somebody may look at the parts of a slot


class PlaceTakenError(Exception):
    """Somebody else is where the server was."""


class Place:
    """The server's socket, its directory, and its slots.

    Args:
        path: The socket.
        directory: Its own directory.
        slots: The file of each slot, with the descriptor that has it locked.
        files: What belongs into the directory, by name.
        parts: The same for its parts of the slots, where others may have others.
    """

    def __init__(
        self, path: str, directory: str, slots: dict[str, int], files: dict[str, str], parts: dict[str, int]
    ) -> None:
        self._path = path
        self._directory = directory
        self._slots = slots
        self._parts = parts
        self._how = fcntl.LOCK_SH if parts else fcntl.LOCK_EX
        self._has_slots = True
        self._files = files
        self._socket_id: tuple[int, int] | None = None
        self._directory_id: tuple[int, int] | None = None
        self.watch = -1
        """Readable when something may have been deleted; -1 where the system does not tell."""

    def listen(self) -> socket.socket:
        """Make the socket."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self._path)
        listener.listen(128)
        listener.setblocking(False)
        self._socket_id = _id(self._path)
        return listener

    def make_directory(self) -> None:
        """Make the server's own directory, with its files in it; one that could not be removed is removed first."""
        delete(self._directory)
        os.mkdir(self._directory, 0o700)
        self._directory_id = _id(self._directory)
        self._fill()

    def _fill(self) -> None:
        """Make what is not in the directory (any more)."""
        os.makedirs(os.path.join(self._directory, "tmp"), 0o700, exist_ok=True)
        for name, content in self._files.items():
            path = os.path.join(self._directory, name)
            if not os.path.lexists(path):
                with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                    file.write(content.encode())

    def look_after(self) -> None:
        """From now on it is told when something may have been deleted."""
        if self.watch >= 0:
            os.close(self.watch)
        around = {os.path.dirname(each) for each in (self._path, *self._slots, *self._parts)}
        self.watch = watch({*around, self._directory})

    def is_whole(self) -> bool:
        """Whether everything is where it was."""
        return (
            _id(self._path) == self._socket_id
            and (self._directory_id is None or _id(self._directory) == self._directory_id)
            and all(os.path.lexists(os.path.join(self._directory, each)) for each in ("tmp", *self._files))
            and all(_id(path) == _id(slot) for path, slot in self._locks() if self._has_slots)
        )

    def mend(self) -> socket.socket | None:
        """Make again what is gone.

        Returns:
            The new socket, where there has to be one.

        Raises:
            PlaceTakenError: Somebody else has a slot, the socket or the directory by now.
            OSError: It cannot be made, or only later.
        """
        root = os.path.dirname(self._path)
        os.makedirs(root, 0o700, exist_ok=True)
        found = os.lstat(root)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PlaceTakenError
        for directory in {os.path.dirname(path) for path, _ in self._locks()}:
            os.makedirs(directory, 0o700, exist_ok=True)
        lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._has_slots:
                for path, slot in self._slots.items():
                    if _id(path) != _id(slot):
                        _lock(path, slot, self._how)
                for path, part in self._parts.items():
                    if _id(path) != _id(part):
                        _take_part(path, part)
            listener = None
            if _id(self._path) != self._socket_id:
                if _id(self._path) is not None:
                    raise PlaceTakenError
                listener = self.listen()
            if self._directory_id is not None and _id(self._directory) != self._directory_id:
                self.make_directory()
            self._fill()
            return listener
        finally:
            os.close(lock)

    def give_slots_back(self) -> None:
        """From now on others may have the slots, until they are taken again."""
        self._has_slots = False
        for path, part in self._parts.items():
            if _id(path) == _id(part):
                with contextlib.suppress(OSError):
                    os.rename(path, unused(path))
        for slot in self._slots.values():
            fcntl.flock(slot, fcntl.LOCK_UN)

    def take_slots(self) -> list[str]:
        """Have the slots again, all of them; returns the files of those that others have, and then has none.

        They are locked by the descriptors that they were locked by before, which the keeper has open, too.
        """
        refused: list[str] = []
        for path, slot in self._slots.items():
            try:
                if _id(path) == _id(slot):
                    fcntl.flock(slot, self._how | fcntl.LOCK_NB)
                else:
                    _lock(path, slot, self._how)
            except (OSError, PlaceTakenError):
                refused.append(path)
        for path, part in self._parts.items():
            try:
                _take_part(path, part)
            except (OSError, PlaceTakenError):
                refused.append(path)
        if refused:
            self.give_slots_back()
        self._has_slots = not refused
        return refused

    def leave_slots(self) -> None:
        """Give the slots back for good, also where a child of the starter has a copy of the descriptors."""
        for path, part in self._parts.items():
            for each in (path, unused(path)):
                if _id(each) == _id(part):
                    with contextlib.suppress(OSError):
                        os.unlink(each)
        for _, slot in self._locks():
            fcntl.flock(slot, fcntl.LOCK_UN)
            os.close(slot)

    def _locks(self) -> list[tuple[str, int]]:
        return [*self._slots.items(), *self._parts.items()]

    def remove(self) -> None:
        """Remove what is ours; whatever has come in its place stays."""
        if self.watch >= 0:
            os.close(self.watch)
        if self._directory_id is not None and _id(self._directory) == self._directory_id:
            delete(self._directory)
        if self._socket_id is not None and _id(self._path) == self._socket_id:
            with contextlib.suppress(OSError):  # the last: from then on somebody else may start the same server
                os.unlink(self._path)


def _take_part(path: str, part: int) -> None:
    """Take a part again, where so much is left; its file is locked all the time, unless somebody has deleted it."""
    directory = os.path.dirname(path)
    door = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _wait_for(door)
        if taken(directory) + amount_in(path) > WHOLE:
            raise PlaceTakenError
        if _id(unused(path)) == _id(part):
            os.rename(unused(path), path)
        else:
            _lock(path, part, fcntl.LOCK_EX)
    finally:
        os.close(door)


def _wait_for(door: int) -> None:
    """Lock a directory that somebody else has locked for a moment."""
    deadline = time.monotonic() + DOOR_SECONDS
    while True:
        try:
            return fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(DOOR_SECONDS / 100)


def _lock(path: str, slot: int, how: int) -> None:
    """Have a file locked by its name, by the descriptor that has been locked before."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
        os.dup2(file, slot, inheritable=False)
    except BlockingIOError:
        raise PlaceTakenError from None
    finally:
        os.close(file)


def _id(file: str | int) -> tuple[int, int] | None:
    """What a file is, whatever it is called; `None` where there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
