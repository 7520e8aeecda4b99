"""``Wire``: one end of the line to a supervisor, for who waits in an event loop (`Connection`) or in none (`Holds`).

Sending is synchronous: the messages are small, and a supervisor always reads. So a resource that becomes idle can say
so in the same step.
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
from contextlib import suppress

from .._supervisor.messages import Message

_READ_BYTES = 1 << 16


class Wire:
    """A connected socket by which messages go and come, a JSON object a line.

    Args:
        connection: The socket; it is non-blocking from now on.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.is_broken = False
        """Whether something that was sent did not arrive; whoever reads finds out why."""
        self._numbers = itertools.count(1)
        self._received = b""

    def send(self, request: Message) -> int:
        """Send a request, one of `Ask`; to a supervisor that is gone it goes nowhere.

        Returns:
            Its number, which the answer has as ``id``.
        """
        number = next(self._numbers)
        line = json.dumps({"id": number, **request}).encode() + b"\n"
        try:
            sent = self.socket.send(line)
        except OSError:
            sent = 0
        if sent < len(line):
            self.is_broken = True
        return number

    def take(self) -> list[Message] | None:
        """What has come, without waiting for it; `None` when nothing will come any more."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self._messages(data)

    def wait(self, patience: float) -> list[Message] | None:
        """The same, waiting for so many seconds at most, in this thread."""
        try:
            self.socket.settimeout(max(0.0, patience))
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, TimeoutError):
            return []
        except OSError:
            return None
        finally:
            with suppress(OSError):  # a forked child has closed it
                self.socket.setblocking(False)
        return self._messages(data)

    def _messages(self, data: bytes) -> list[Message] | None:
        *lines, self._received = (self._received + data).split(b"\n")
        return [json.loads(line) for line in lines] if data else None

    def credentials(self) -> bytes:
        """Who is at the other end, as the system tells where it does."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
