"""What servers send, as bytes, and a server that sends just that: one thread on loopback, without any HTTP library.

A `Reply` is the same fact for every SDK; `answer` and `events` write it down in the words of one of them.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

JSON = "application/json"
EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Reply:
    """What a model says.

    Args:
        text: The reply, in the pieces in which it is streamed.
        reasoning: What it thought, likewise.
        refusal: Why it declines, likewise.
        tools: The tools it calls: id, name, and the arguments in pieces.
        finish: Why it ends, in the words of each SDK's protocol.
        usage: The counts, in the words of each.
        openai: Fields of OpenAI's message, or of each delta, instead of what follows from the others.
    """

    text: Sequence[str] = ()
    reasoning: Sequence[str] = ()
    refusal: Sequence[str] = ()
    tools: Sequence[tuple[str, str, Sequence[str]]] = ()
    finish: Mapping[str, str | None] = field(default_factory=lambda: {"openai": "stop", "anthropic": "end_turn"})
    usage: Mapping[str, Any] = field(
        default_factory=lambda: {
            "openai": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
            "anthropic": {"input_tokens": 5, "output_tokens": 3},
        }
    )
    openai: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Sent:
    """What goes over the wire.

    Args:
        body: The bytes.
        content_type: Their type, `None` for none.
        status: The status.
        headers: More headers.
        promised: How many bytes more are announced than are sent.
        breaks: Whether the connection is reset at the end.
    """

    body: bytes = b""
    content_type: str | None = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int = 0
    breaks: bool = False


def answer(kind: str, reply: Reply) -> Sent:
    """The whole reply at once."""
    return Sent(json.dumps(_openai_answer(reply) if kind == "openai" else _anthropic_answer(reply)).encode())


def events(kind: str, reply: Reply) -> Sent:
    """The same in pieces."""
    return Sent(b"".join(_openai_events(reply) if kind == "openai" else _anthropic_events(reply)), EVENTS)


def event(data: object, name: str | None = None) -> bytes:
    """One event of a stream."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


# ---------------------------------------------------------------- OpenAI's words


def _openai_answer(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.text) or None}
    if reply.refusal:
        message["refusal"] = "".join(reply.refusal)
    if reply.reasoning:
        message["reasoning_content"] = "".join(reply.reasoning)
    if reply.tools:
        message["tool_calls"] = [
            {"id": call, "type": "function", "function": {"name": name, "arguments": "".join(arguments)}}
            for call, name, arguments in reply.tools
        ]
    if reply.openai:
        message = {"role": "assistant", **_merged(reply.openai)}
    return {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish["openai"]}],
        "usage": reply.usage["openai"],
    }


def _merged(deltas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    for delta in deltas:
        for name, value in delta.items():
            message[name] = message[name] + value if name in message else value
    return message


def _openai_events(reply: Reply) -> Iterator[bytes]:
    deltas: list[Mapping[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in reply.reasoning]
    deltas += [{"content": piece} for piece in reply.text]
    deltas += [{"refusal": piece} for piece in reply.refusal]
    for index, (call, name, arguments) in enumerate(reply.tools):
        deltas.append({"tool_calls": [{"index": index, "id": call, "type": "function", "function": {"name": name}}]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in arguments]
    for delta in [*deltas[:1], *reply.openai] if reply.openai else deltas:
        yield event(_chunk([{"index": 0, "delta": delta, "finish_reason": None}]))
    yield event(_chunk([{"index": 0, "delta": {}, "finish_reason": reply.finish["openai"]}]))
    if reply.usage["openai"] is not None:
        yield event({**_chunk([]), "usage": reply.usage["openai"]})
    yield event("[DONE]")


def _chunk(choices: list[Any]) -> dict[str, Any]:
    return {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}


# ---------------------------------------------------------------- Anthropic's words


def _blocks(reply: Reply) -> Iterator[tuple[dict[str, Any], str, str, Sequence[str]]]:
    """Each block: how it begins, what its deltas are called, and the pieces."""
    if reply.reasoning:
        yield {"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking", reply.reasoning
    if reply.text:
        yield {"type": "text", "text": ""}, "text_delta", "text", reply.text
    for call, name, arguments in reply.tools:
        yield {"type": "tool_use", "id": call, "name": name, "input": {}}, "input_json_delta", "partial_json", arguments


def _anthropic_answer(reply: Reply) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for block, _, name, pieces in _blocks(reply):
        whole = "".join(pieces)
        content.append({**block, "input": json.loads(whole)} if name == "partial_json" else {**block, name: whole})
    return {
        "id": "a",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        **_ending(reply),
        "usage": reply.usage["anthropic"],
    }


def _ending(reply: Reply) -> dict[str, Any]:
    details = {"type": "refusal", "category": None, "explanation": "".join(reply.refusal)} if reply.refusal else None
    return {"stop_reason": reply.finish["anthropic"], "stop_sequence": None, "stop_details": details}


def _anthropic_events(reply: Reply) -> Iterator[bytes]:
    usage = reply.usage["anthropic"]
    start = {**_anthropic_answer(reply), "content": [], "stop_reason": None, "stop_details": None}
    begun = None if usage is None else {name: count for name, count in usage.items() if name != "output_tokens"}
    yield event({"type": "message_start", "message": {**start, "usage": begun}}, "message_start")
    yield event({"type": "ping"}, "ping")
    for index, (block, kind, name, pieces) in enumerate(_blocks(reply)):
        where: dict[str, Any] = {"index": index}
        yield event({"type": "content_block_start", **where, "content_block": block}, "content_block_start")
        for piece in pieces:
            delta = {"type": kind, name: piece}
            yield event({"type": "content_block_delta", **where, "delta": delta}, "content_block_delta")
        yield event({"type": "content_block_stop", **where}, "content_block_stop")
    last = {"type": "message_delta", "delta": _ending(reply), "usage": usage}
    yield event(last, "message_delta")
    yield event({"type": "message_stop"}, "message_stop")


# ---------------------------------------------------------------- the server


class WireServer:
    """Answers every request with what `sends` says, the last of them over and over, and keeps what it was asked.

    Args:
        listener: Where it listens.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.sends: list[Sent | None] = []
        """`None` breaks the connection off before anything is sent."""
        self.asked: list[bytes] = []
        """What arrived, as it came: head and body of each request."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def script(self, *sends: Sent | None) -> None:
        """Say what comes next."""
        self.sends = list(sends)
        self.asked.clear()

    def bodies(self) -> list[Any]:
        """What was asked, without the heads."""
        return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in self.asked]

    def serve(self) -> None:
        """Until the listener is closed."""
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                connection.settimeout(30)
                with connection, suppress(OSError):
                    self._answer(connection)

    def _sent(self, head: bytes, body: bytes) -> Sent | None:
        """What answers a request."""
        return self.sends.pop(0) if len(self.sends) > 1 else self.sends[0]

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            if not (received := connection.recv(65536)):
                return
            request += received
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        while len(body) < length and (received := connection.recv(65536)):
            body += received
        self.asked.append(head + b"\r\n\r\n" + body)
        sent = self._sent(head, body)
        if sent is None:
            return
        headers = {"connection": "close", "request-id": "req-1", "x-request-id": "req-1", **sent.headers}
        if sent.content_type is not None:
            headers["content-type"] = sent.content_type
        headers["content-length"] = str(len(sent.body) + sent.promised)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"HTTP/1.1 {sent.status} Said\r\n{lines}\r\n".encode() + sent.body)
        if not sent.breaks:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


ServerT = TypeVar("ServerT", bound=WireServer)


@contextmanager
def running(server_class: Callable[[socket.socket], ServerT] = WireServer) -> Iterator[ServerT]:  # type: ignore[assignment]
    """A server in a thread of its own, until the block is left."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        server = server_class(listener)
        thread = threading.Thread(target=server.serve, name="wire server")
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
