"""A model server on loopback: as much of the protocols as the SDKs need, at little cost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PIECES = 50
"""In how many pieces a reply is streamed."""

SERVER = r"""
import asyncio, sys
BODY = (b'{"id":"1","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
        b'"message":{"role":"assistant","content":"Hello!"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,'
        b'"total_tokens":7}}')
MESSAGE = (b'{"id":"1","type":"message","role":"assistant","model":"m","stop_reason":"end_turn","stop_sequence":null,'
           b'"content":[{"type":"text","text":"Hello!"}],"usage":{"input_tokens":5,"output_tokens":2}}')
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
ANSWER, MESSAGE = HEAD % len(BODY) + BODY, HEAD % len(MESSAGE) + MESSAGE
PIECE = (b'data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,'
         b'"finish_reason":%s,"delta":{"content":"Hello"}}]}\n\n')
EVENTS = PIECE % b"null" * (int(sys.argv[1]) - 1) + PIECE % b'"stop"' + b"data: [DONE]\n\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s" % (len(EVENTS), EVENTS)
PAUSE = float(sys.argv[2])

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""
    def data_received(self, data):
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, rest = self.data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            if len(rest) < length:
                return
            body, self.data = rest[:length], rest[length:]
            answer = STREAM if b'"stream":true' in body.replace(b" ", b"") else ANSWER
            if b"/messages " in head:
                answer = MESSAGE
            asyncio.get_running_loop().call_later(PAUSE, self.answer, answer)
    def answer(self, answer):
        if not self.transport.is_closing():
            self.transport.write(answer)

async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def model_server(pause: float = 0.02) -> Iterator[str]:
    """Run the server in a process of its own; yields its URL.

    Args:
        pause: How long an answer takes, in seconds.
    """
    command = [sys.executable, "-c", SERVER, str(PIECES), str(pause)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.stdin.close()
