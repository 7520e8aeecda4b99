"""A server of which no two answers are the same, so that a test sees which one it has got."""

from __future__ import annotations

import json

from tests.providers.wire import Reply, Sent, WireServer, answer, events

TOOL = ("call", "look", ('{"at": ', '"it"}'))


class NumberingServer(WireServer):
    """No two answers are the same.

    A prompt with ``fail`` in it is refused, the answer to ``break off`` has no end, that to ``tools`` asks for a tool.
    """

    def start_over(self) -> None:
        """As if just started."""
        self.asked.clear()
        self._served = 0

    def _sent(self, head: bytes, body: bytes) -> Sent:
        kind = "anthropic" if b"/messages" in head.partition(b"\r\n")[0] else "openai"
        asked, text = json.loads(body), body.decode()
        self._served += 1
        if "break off" in text:
            return events(kind, Reply(("some",), finish={"openai": None, "anthropic": None}))
        if "fail" in text:
            return Sent(b'{"error": {"message": "no"}}', status=400)
        reply = Reply(("reply", f" {self._served}"), reasoning=("I think",), tools=[TOOL] if "tools" in text else ())
        return events(kind, reply) if asked.get("stream") else answer(kind, reply)
