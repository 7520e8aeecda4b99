"""A server that streams in steps: ``python -I -S gated_server.py PORT FIFO``.

``POST`` sends one event, and the rest after ``GET /go``; where the client goes before, a line is written to FIFO.
``GET /health`` is answered at once.
"""

from __future__ import annotations

import socket
import sys
import threading

go = threading.Event()


def answer(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as file:
        method, path, _ = file.readline().decode().split()
        size = 0
        while (header := file.readline().strip()) != b"":
            if header.lower().startswith(b"content-length:"):
                size = int(header.partition(b":")[2])
        file.read(size)
        if method == "GET":
            if path == "/go":
                go.set()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Of-Server: yes\r\nConnection: close\r\n\r\n"
        connection.sendall(head + b"data: first\n\n")
        connection.settimeout(0.02)
        while not go.is_set():
            try:
                if connection.recv(1) == b"":
                    with open(sys.argv[2], "w") as fifo:
                        fifo.write("the client has gone\n")
                    return
            except TimeoutError:
                pass
        connection.sendall(b": a comment\r\n\r\ndata: last\n\n")


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=100)
while True:
    threading.Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()
