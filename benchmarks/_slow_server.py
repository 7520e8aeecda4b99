"""A server process that takes its time to start and to end, and notes when it did what: the arguments say how long.

``python _slow_server.py PORT NOTES START END``: START and END in seconds; NOTES is a file that gets a line for each
start, for the moment it listens and for the moment it is told to end, by the clock that all processes share.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, NOTES, START, END = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])


def note(what: str) -> None:
    with NOTES.open("a", encoding="utf-8") as file:
        file.write(f"{what} {os.getpid()} {time.monotonic()}\n")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def end(*_: object) -> None:
    note("told")
    time.sleep(END)
    os._exit(0)


signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end).start())
note("start")
time.sleep(START)
server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
note("listens")
server.serve_forever()
