"""A network in memory for httpcore2: each path says what becomes of its request, and every connection is counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import anyio.lowlevel
import httpcore2

ENDS = ("ok", "bye", "leaves", "chunked", "nothing", "half", "slow", "refused", "garbage")
"""The first parts of paths: answered; then closed, with or without a word; in chunks; closed unanswered, or half-way;
late; not let in; not HTTP."""
BODY = b"0123456789" * 3
CHAT = b'{"type": "message", "content": [{"type": "text", "text": "Hi"}], "choices": [{"message": {"content": "Hi"}}]}'


class Network(httpcore2.AsyncNetworkBackend):
    """Gives out connections; `most` is how many were open at once."""

    def __init__(self) -> None:
        self.open: list[Line] = []
        self.opened = self.most = 0
        self.refusing = False
        self.began: list[str] = []
        """The paths of the requests that arrived, in that order."""
        self.used: list[Line] = []
        """The connections on which they did."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as it is called
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection, after a moment."""
        await anyio.sleep(0.01)
        if host == "refusing" or self.refusing:
            raise httpcore2.ConnectError("refused")
        line = Line(self, host)
        self.open.append(line)
        self.opened += 1
        self.most = max(self.most, len(self.open))
        return line

    async def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:  # noqa: ASYNC109 - as it is called
        """There are none."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)


class Line(httpcore2.AsyncNetworkStream):
    """One connection; one request at a time is its business."""

    def __init__(self, network: Network, host: str) -> None:
        self.network, self.host = network, host
        self.left = False
        """Whether the other side has closed it."""
        self._sent = b""
        self._pieces: list[bytes | float] = []
        self._leaves = False

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as it is called
        """Take a request, which may come in pieces."""
        await anyio.lowlevel.checkpoint()
        if self not in self.network.open or self.left:
            raise httpcore2.WriteError("closed")
        self._sent += buffer
        if b"\r\n\r\n" in self._sent:
            head, self._sent = self._sent.split(b"\r\n\r\n", 1)
            assert not self._pieces, "two requests at once on one connection"
            path = head.split()[1].decode()
            self.network.began.append(path)
            self.network.used.append(self)
            self._pieces, self._leaves = answer(path), path.startswith("/leaves")
            if head.startswith(b"HEAD ") and path.startswith("/chat"):
                self._pieces = [0.05, b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n"]

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as it is called
        """The next piece of the answer; nothing where the other side has closed."""
        await anyio.lowlevel.checkpoint()
        if self not in self.network.open:
            raise httpcore2.ReadError("closed")
        if not self._pieces:
            self.left = True
            return b""
        piece = self._pieces.pop(0)
        if isinstance(piece, bytes):
            self.left = self._leaves and not self._pieces
            return piece
        with anyio.move_on_after(timeout):
            await anyio.sleep(piece)
            return await self.read(max_bytes, timeout)
        raise httpcore2.ReadTimeout

    async def aclose(self) -> None:
        """Close it; it may be closed again."""
        await anyio.lowlevel.checkpoint()
        if self in self.network.open:
            self.network.open.remove(self)

    def get_extra_info(self, info: str) -> Any:
        """Whether there is something to read, which there is of one that the other side has closed."""
        return self.left if info == "is_readable" else None


def answer(path: str) -> list[bytes | float]:
    """What is read for a request, and the seconds that pass between."""
    kind = path.split("/")[1]
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(BODY)
    answers: dict[str, list[bytes | float]] = {
        "ok": [0.05, head + b"\r\n", BODY[:10], BODY[10:]],
        "bye": [head + b"Connection: close\r\n\r\n", BODY],
        "leaves": [head + b"\r\n", BODY],
        "twice": [head + b"\r\n" + BODY + head + b"\r\n" + b"?" * len(BODY)],
        "more": [head + b"\r\n" + BODY + b"\r\n"],
        "chunked": [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            0.2,
            b"2\r\n!!\r\n0\r\n\r\n",
        ],
        "nothing": [],
        "half": [head + b"\r\n", BODY[:10]],
        "slow-body": [head + b"\r\n", BODY[:10], 60.0, BODY[10:]],
        "chat": [0.05, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CHAT) + CHAT],
        "slow": [60.0, head + b"\r\n", BODY],
        "garbage": [b"I am no server\r\n\r\n"],
        "refused": [head + b"\r\n", BODY],
    }
    return answers[kind]
