"""``Holds``: connections that keep servers warm, whatever becomes of the event loops that used them.

They are plain sockets that nobody reads most of the time. The kernel closes them when this process dies, however it
dies.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress

from .runtime import Runtime

_HOLD, _LEAVE = 1, 2  # the numbers of the two requests


class Holds:
    """The servers that this process keeps warm.

    Args:
        runtime: Where the servers are.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._held: dict[str, _Hold] = {}

    def hold(self, server_id: str, keep_alive: float) -> None:
        """Keep a server warm; does nothing where that is so, or where the server is about to end.

        Args:
            server_id: The server.
            keep_alive: How long it is to stay when nobody is connected any more, in seconds.
        """
        held = self._held.get(server_id)
        if held is not None and held.read():
            return
        self._drop(server_id)
        connection = self._runtime.connect(server_id)
        if connection is not None:
            self._held[server_id] = hold = _Hold(connection)
            hold.send(_HOLD, "hold", keep_alive=keep_alive)

    def why_ended(self, server_id: str) -> str:
        """Why a server that was kept warm has ended; empty where it has not, or is not known."""
        held = self._held.get(server_id)
        if held is None or held.read():
            return ""
        self._drop(server_id)
        return held.reason

    def close(self, patience: float) -> None:
        """Let all of them go.

        Args:
            patience: How long to wait for those that end because of that, in seconds.
        """
        deadline = time.monotonic() + patience
        for held in self._held.values():
            held.send(_LEAVE, "leave")
        for held in self._held.values():
            while patience > 0 and held.read(deadline - time.monotonic()) and held.may_end:
                if time.monotonic() >= deadline:
                    break
        for server_id in list(self._held):
            self._drop(server_id)

    def _drop(self, server_id: str) -> None:
        held = self._held.pop(server_id, None)
        if held is not None:
            held.socket.close()


class _Hold:
    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.reason = ""
        self.may_end = True  # until the supervisor says that others keep it
        self._received = b""

    def send(self, number: int, op: str, **fields: float) -> None:
        with suppress(OSError):  # it is gone already
            self.socket.send(json.dumps({"id": number, "op": op, **fields}).encode() + b"\n")

    def read(self, patience: float = 0.0) -> bool:
        """Take in what has arrived, or arrives within `patience` seconds; whether the server may still be there."""
        try:
            self.socket.settimeout(max(0.0, patience))
            while data := self.socket.recv(1 << 16):
                *lines, self._received = (self._received + data).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    if message.get("event") == "exited":
                        self.reason = message["reason"]
                    elif message.get("id") == _LEAVE:
                        self.may_end = message["ending"]
                self.socket.settimeout(0.0)
        except (BlockingIOError, TimeoutError):
            return True
        except OSError:
            pass
        return False
