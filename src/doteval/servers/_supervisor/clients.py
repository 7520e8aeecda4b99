"""``Clients``: who is connected to the supervisor; sends and receives, a JSON object a line."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import selectors
import socket
import struct

TYPE_CHECKING = False  # as in typing, whose import would take a twelfth of the start of the whole program
if TYPE_CHECKING:
    from .messages import Message

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
RESERVED_FILES = 16
BUFFER_LIMIT = 1 << 18  # what is kept for a client that does not read, in bytes


class Client:
    """One connection.

    Args:
        connection: A connected socket; it is non-blocking from now on.
        received: What has come by it already.
    """

    def __init__(self, connection: socket.socket, received: bytes = b"") -> None:
        connection.setblocking(False)
        self.socket = connection
        self._received = received
        self._unsent = b""

    @property
    def is_behind(self) -> bool:
        """Whether there is something that could not be sent yet."""
        return bool(self._unsent)

    def requests(self) -> list[Message] | None:
        """What it has asked since last time; `None` when it has gone."""
        try:
            data = self.socket.recv(1 << 16)
            if not data or len(self._received) > BUFFER_LIMIT:
                return None
            self._received += data
        except BlockingIOError:
            pass  # what came along with the job is there already
        except OSError:
            return None
        *lines, self._received = self._received.split(b"\n")
        try:
            found = [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            return None
        return found if all(isinstance(request, dict) for request in found) else None

    def tell(self, message: Message) -> None:
        """Send, or keep until it can be sent; who never reads misses something, but holds nobody up."""
        if len(self._unsent) < BUFFER_LIMIT:
            self._unsent += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what could not be sent before, as far as that is possible now."""
        with contextlib.suppress(OSError):
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]


class Clients:
    """All connections, and the socket at which new ones come.

    Args:
        selector: What the loop waits for; a connection is registered with its `Client`, all else with a function.
        starter: Who has started the supervisor, connected from the beginning.
        listener: Where others come.
    """

    def __init__(self, selector: selectors.BaseSelector, starter: Client, listener: socket.socket) -> None:
        self.starter = starter
        self._selector = selector
        self._listener = listener
        self._connected = [starter]
        self._new: list[Client] = []  # they may have asked something already
        self._spare = _spare()

    def listen(self, listener: socket.socket) -> None:
        """Others come there from now on."""
        self._selector.unregister(self._listener)
        self._listener.close()
        self._listener = listener
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def attend(self) -> None:
        """From now on the loop wakes up when somebody comes, speaks, or leaves."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self.starter.socket, selectors.EVENT_READ, self.starter)

    def heard(self, events: list[tuple[selectors.SelectorKey, int]]) -> list[tuple[Client, list[Message] | None]]:
        """Who has asked what, or has gone; those last who leave: whoever comes instead may be there already."""
        speaking = [key.data for key, mask in events if isinstance(key.data, Client) and mask & selectors.EVENT_READ]
        said = [(client, client.requests()) for client in [*speaking, *self._new]]
        self._new.clear()
        return sorted(said, key=lambda each: _is_leaving(each[1]))

    def tell_all(self, message: Message) -> None:
        """Tell everybody who is connected."""
        for client in self._connected:
            client.tell(message)

    def drop(self, client: Client) -> None:
        """Forget somebody who has gone."""
        self._connected.remove(client)
        self._selector.unregister(client.socket)
        client.socket.close()

    def flush(self) -> None:
        """Send what was not sent yet; the loop wakes up when there is room for what is left."""
        for client in self._connected:
            client.flush()
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.is_behind else 0)
            if self._selector.get_key(client.socket).events != wanted:
                self._selector.modify(client.socket, wanted, client)

    def say_goodbye(self) -> None:
        """Send what was not sent yet, waiting for a second at most for each; the loop is over."""
        for client in self._connected:
            client.socket.settimeout(1)
            client.flush()

    def hang_up(self) -> None:
        """Close all connections: for those who had them, it is over."""
        for client in self._connected:
            client.socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    connection, _ = self._listener.accept()
                except ConnectionAbortedError:
                    continue
                except OSError as exc:
                    if exc.errno not in _FULL:
                        raise
                    self._turn_away()
                    continue
                if peer_user(connection) == os.getuid() and connection.fileno() < _most_files():
                    client = Client(connection)
                    self._connected.append(client)
                    self._new.append(client)
                    self._selector.register(connection, selectors.EVENT_READ, client)
                else:
                    connection.close()

    def _turn_away(self) -> None:
        """Hang up on who comes when the system has no more files; left waiting, they would keep the loop awake."""
        os.close(self._spare)
        try:
            self._listener.accept()[0].close()
        finally:
            self._spare = _spare()


def _most_files() -> int:
    """How many files may be open for clients; the others are for looking after the server."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FILES


def _spare() -> int:
    """A file descriptor that can be given up for another one."""
    return os.open(os.devnull, os.O_RDONLY)


def _is_leaving(requests: list[Message] | None) -> bool:
    return requests is None or any(request.get("op") == "leave" for request in requests)


def peer_user(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket."""
    if hasattr(socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    local_peercred = 1  # macOS and the BSDs: struct xucred begins with a version and the user
    return int(struct.unpack("2I", connection.getsockopt(0, local_peercred, struct.calcsize("2I")))[1])
