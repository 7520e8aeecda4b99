"""A model server with a family, as real ones have: ``family_server.py PORT DELAY``.

One child is in its process group, the other has called setsid and has a child of its own that does not end when it is
told to. It takes DELAY seconds until it answers ``GET /health`` and ``POST /v1/chat/completions``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Answers everything in the same way."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": f"{request['model']} of {os.getpid()}"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        self.answer(
            {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"], "choices": [choice]}
        )

    def answer(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


def child(then: Callable[[], object]) -> None:
    if os.fork() == 0:
        then()
        while True:
            signal.pause()


def apart() -> None:
    os.setsid()
    child(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))


def main() -> None:
    child(lambda: None)
    child(apart)
    print("loading ...", flush=True)
    time.sleep(float(sys.argv[2]))  # it starts slowly, as they do
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
