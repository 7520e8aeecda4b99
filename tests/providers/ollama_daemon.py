"""``FakeOllama``: a daemon that speaks as much of Ollama's API as is needed, in a thread of its own.

It keeps the books that a test looks at: what was pulled and loaded, and how many connections are open. A pull goes on
only as far as the test lets it.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 10.0


class FakeOllama:
    """The daemon.

    Attributes:
        models: What is on the machine, with what each can do.
        library: What can be pulled.
        loaded: What is in memory.
        requests: Path and body of every request to the daemon's own API.
        pull_events: What a pull reports, in order.
        pull_waits: Whether a pull goes on for ever after its events.
        load_waits: Whether loading goes on for ever.
        load_error: Why loading fails.
        tokens: The Authorization header of each request.
    """

    def __init__(self) -> None:
        self.url = ""
        self._connections = 0
        self._changed = threading.Condition()
        self.reset()

    def reset(self) -> None:
        """Be as if just started."""
        self.models: dict[str, list[str]] = {"tiny:latest": ["completion"], "vectors:latest": ["embedding"]}
        self.library: dict[str, list[str]] = {"remote:latest": ["completion"]}
        self.loaded: set[str] = set()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.pull_events: list[dict[str, Any]] = [
            {"status": "pulling manifest"},
            {"status": "pulling abc", "digest": "sha256:abc", "total": 200, "completed": 20},
            {"status": "pulling abc", "digest": "sha256:abc", "total": 200, "completed": 200},
            {"status": "verifying sha256 digest"},
            {"status": "success"},
        ]
        self.pull_waits = self.load_waits = False
        self.load_error: str | None = None
        self.tokens: list[str | None] = []
        self.begun, self.broken_off = threading.Event(), threading.Event()

    async def wait_for(self, event: threading.Event) -> None:
        """Return when the daemon says so; fail if it does not."""
        assert await anyio.to_thread.run_sync(event.wait, PATIENCE)

    async def wait_until_left(self) -> None:
        """Return when nobody is connected; fail if somebody stays."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: self._connections == 0, PATIENCE)

        assert await anyio.to_thread.run_sync(wait), "a connection was left open"

    def count(self, change: int) -> None:
        with self._changed:
            self._connections += change
            self._changed.notify_all()

    def asked(self, path: str) -> list[dict[str, Any]]:
        """The bodies of the requests to a path."""
        return [body for asked, body in self.requests if asked == path]

    # ---------------------------------------------------------------- what it answers

    async def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(await request.body() or b"{}")
        self.requests.append((request.url.path, body))
        self.tokens.append(request.headers.get("Authorization"))
        return body

    async def show(self, request: Request) -> Response:
        name = full(await self._body(request))
        if name not in self.models:
            return JSONResponse({"error": f"model '{name}' not found"}, 404)
        return JSONResponse({"details": {"family": "llama"}, "capabilities": self.models[name]})

    async def ps(self, request: Request) -> Response:
        await self._body(request)
        return JSONResponse({"models": [{"name": name, "model": name} for name in sorted(self.loaded)]})

    async def generate(self, request: Request) -> Response:
        body = await self._body(request)
        name = full(body)
        if name not in self.models:
            return JSONResponse({"error": f"model '{name}' not found"}, 404)
        if "completion" not in self.models[name]:
            return JSONResponse({"error": f'"{name}" does not support generate'}, 400)
        if body.get("keep_alive") == 0:
            self.loaded.discard(name)
            return JSONResponse({"model": name, "response": "", "done": True, "done_reason": "unload"})
        if self.load_error:
            return JSONResponse({"error": self.load_error}, 500)
        self.begun.set()
        if self.load_waits:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            self.broken_off.set()
        self.loaded.add(name)
        return JSONResponse({"model": name, "response": "", "done": True, "done_reason": "load"})

    async def pull(self, request: Request) -> Response:
        name = full(await self._body(request))
        if name not in self.library:
            return JSONResponse({"error": "pull model manifest: file does not exist"}, 500)
        return StreamingResponse(self._pulling(name), media_type="application/x-ndjson")

    async def _pulling(self, name: str) -> AsyncIterator[str]:
        try:
            for event in self.pull_events:
                if event.get("status") == "success":
                    self.models[name] = self.library[name]
                yield json.dumps(event) + "\n"
            self.begun.set()
            if self.pull_waits:
                await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.broken_off.set()
            raise

    async def chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.tokens.append(request.headers.get("Authorization"))
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        common = {"id": "1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
            return JSONResponse({**common, "object": "chat.completion", "choices": [choice], "usage": usage})
        chunk = {**common, "object": "chat.completion.chunk"}
        choice = {"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        lines = [{**chunk, "choices": [choice]}, {**chunk, "choices": [], "usage": usage}]
        text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        return Response(text, media_type="text/event-stream")


def full(body: dict[str, Any]) -> str:
    name: str = body["model"]
    return name if ":" in name else f"{name}:latest"


@contextmanager
def running_ollama() -> Iterator[FakeOllama]:
    """Start a daemon, and end it."""
    daemon = FakeOllama()
    app = Starlette(
        routes=[
            Route("/api/show", daemon.show, methods=["POST"]),
            Route("/api/ps", daemon.ps, methods=["GET"]),
            Route("/api/generate", daemon.generate, methods=["POST"]),
            Route("/api/pull", daemon.pull, methods=["POST"]),
            Route("/v1/chat/completions", daemon.chat, methods=["POST"]),
        ]
    )

    class Counted(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            daemon.count(1)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            daemon.count(-1)

    config = uvicorn.Config(app, log_level="critical", lifespan="off", http=Counted, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        daemon.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield daemon
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
