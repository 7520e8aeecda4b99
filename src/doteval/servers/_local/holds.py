"""``Holds``: connections that keep servers warm, whatever becomes of the event loops that used them.

Nobody reads them most of the time. The kernel closes them when this process dies, however it dies.
"""

from __future__ import annotations

import time

from .._supervisor.messages import Ask
from .connection import Exit
from .runtime import Runtime
from .wire import Wire


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
            self._held[server_id] = hold = _Hold(Wire(connection))
            hold.wire.send(Ask.hold(keep_alive))

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
            held.leave()
        for held in self._held.values():
            while patience > 0 and held.read(deadline - time.monotonic()) and held.may_end:
                if time.monotonic() >= deadline:
                    break
        for server_id in list(self._held):
            self._drop(server_id)

    def _drop(self, server_id: str) -> None:
        held = self._held.pop(server_id, None)
        if held is not None:
            held.wire.close()


class _Hold:
    """One of them.

    Args:
        wire: The line to its supervisor.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.reason = ""
        self.may_end = True
        """Until the supervisor says that others keep it."""
        self._left = 0

    def leave(self) -> None:
        """Hold it no longer."""
        self._left = self.wire.send(Ask.leave())

    def read(self, patience: float = 0.0) -> bool:
        """Take in what has come, or comes within `patience` seconds; whether the server may still be there."""
        messages = self.wire.wait(patience)
        while messages:
            for message in messages:
                if message.get("event") == "exited":
                    self.reason = Exit.told(message).reason
                elif message.get("id") == self._left:
                    self.may_end = message["ending"]
            messages = self.wire.take()
        return messages is not None
