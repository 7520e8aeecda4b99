"""A model server that keeps vLLM's protocol for sleeping: slow to start, quick to wake, and it refuses requests asleep.

``python _sleepy_server.py PORT NOTES MODEL START REPLY SWITCH``: START is how long it takes to start, REPLY how long a
reply, and SWITCH how long it takes to fall asleep or to wake up, in seconds. A reply is the name of the model. NOTES is
a file that gets a line for each start.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, NOTES, MODEL = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
START, REPLY, SWITCH = map(float, sys.argv[4:])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    is_sleeping = False

    def do_GET(self) -> None:
        self.answer(200, {"is_sleeping": Handler.is_sleeping})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        if self.path in ("/sleep?level=1", "/wake_up"):
            time.sleep(SWITCH)
            Handler.is_sleeping = self.path != "/wake_up"
            self.answer(200, {})
        elif Handler.is_sleeping:
            self.answer(503, {"error": {"message": "it sleeps"}})
        else:
            time.sleep(REPLY)
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": MODEL}}
            reply = {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"], "choices": [choice]}
            self.answer(200, reply)

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


time.sleep(START)
with NOTES.open("a", encoding="utf-8") as file:
    file.write(f"start {MODEL}\n")
Handler.wbufsize = -1  # one packet an answer
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
