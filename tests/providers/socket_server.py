"""A server on loopback that says what it saw of its connections: plain, in TLS, as a proxy, or as all of them."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Any, Self


class SocketServer:
    """Answers each request with ``ok``; to ``/last`` with that, and then it closes the connection without a word.

    As a proxy it answers in the place of whom it was asked for; it refuses to reach the host ``refused``.

    Args:
        tls: What it speaks, by itself and behind ``CONNECT``; `None`: it takes no TLS.
        is_tls: Whether it speaks TLS from the beginning.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, *, is_tls: bool = False) -> None:
        self._tls = tls
        self._is_tls = is_tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.seen: list[tuple[int, str, dict[str, str]]] = []
        """Of each request, the number of its connection, its first line, and its headers."""
        self.has_left = threading.Semaphore(0)
        """Released when a connection was closed without a word."""

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name="socket server")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            for number in range(1_000_000):
                self._start(self._serve, number, self._listener.accept()[0])

    def _serve(self, number: int, connection: socket.socket) -> None:
        connection.settimeout(30)
        with suppress(OSError):
            if self._is_tls and self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            while head := _head(connection):
                line, *rest = head.split("\r\n")
                fields = {name.lower(): value for name, value in (each.split(": ", 1) for each in rest if each)}
                self.seen.append((number, line, fields))
                method, target, _ = line.split(" ")
                if method == "CONNECT" and target.startswith("refused"):
                    connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
                    break
                if method == "CONNECT":
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    if self._tls is not None:
                        connection = self._tls.wrap_socket(connection, server_side=True)
                    continue
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                if target.endswith("/last"):
                    connection.close()
                    self.has_left.release()
                    return
        connection.close()


def _head(connection: socket.socket) -> str:
    """Of the next request, which has no body; empty where none comes."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (received := connection.recv(1)):
            return ""
        head += received
    return head.decode()
