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
import ast, asyncio, ssl, sys
ANSWERS = ast.literal_eval(sys.stdin.readline())
PAUSE = float(sys.argv[1])
TLS = None
if sys.argv[2:]:
    TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    TLS.load_cert_chain(sys.argv[2])

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""
    def data_received(self, data):
        self.data += data
        while b"\r\n\r\n" in self.data:
            head, _, rest = self.data.partition(b"\r\n\r\n")
            if head.startswith(b"HEAD "):
                self.data = rest
                self.answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n")
                continue
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
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024, ssl=TLS)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def model_server(pause: float = 0.02, certificate: str = "") -> Iterator[str]:
    """Run the server in a process of its own; yields its URL.

    Args:
        pause: How long an answer takes, in seconds.
        certificate: A file with one and its key, for TLS; it is for localhost.
    """
    command = [sys.executable, "-c", SERVER, str(pause), *filter(None, [certificate])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(f"{answers(PIECES)!r}\n")
        process.stdin.flush()
        host = "https://localhost" if certificate else "http://127.0.0.1"
        yield f"{host}:{process.stdout.readline().strip()}/v1"
        process.stdin.close()
