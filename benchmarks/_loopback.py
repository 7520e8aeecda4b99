"""A model server on loopback: as much of the protocols as the SDKs need, at little cost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from _requests import answers

PIECES = 50
"""In how many pieces a reply is streamed."""

SERVER = r"""
import ast, asyncio, sys
ANSWERS = ast.literal_eval(sys.stdin.readline())
PAUSE = float(sys.argv[1])

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
            answers = ANSWERS["Anthropic" if b"/messages " in head else "OpenAI"]
            answer = answers[b'"stream":true' in body.replace(b" ", b"")]
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
    command = [sys.executable, "-c", SERVER, str(pause)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(f"{answers(PIECES)!r}\n")
        process.stdin.flush()
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.stdin.close()
