"""Stands in for a model server, and starts in 12 ms: passes on what it is sent to one that runs already.

``python -I -S relay.py PORT TO``: every connection to the one port of this machine is one to the other. As in
`light_service`, it has what is in C only.
"""

from __future__ import annotations

import _socket
import _thread
import sys


def pass_on(source: _socket.socket, target: _socket.socket) -> None:
    """Until one side says no more; then the other side is told."""
    try:
        while data := source.recv(1 << 16):
            while data:
                data = data[target.send(data) :]
    except OSError:
        pass  # one of them was reset
    for each in (source, target):
        try:  # noqa: SIM105 - there is no contextlib
            each.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass


def main(port: int, to: int) -> None:
    listener = _socket.socket()
    listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(100)
    while True:
        here = _socket.socket(fileno=listener._accept()[0])
        there = _socket.socket()
        there.connect(("127.0.0.1", to))
        _thread.start_new_thread(pass_on, (here, there))
        _thread.start_new_thread(pass_on, (there, here))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
