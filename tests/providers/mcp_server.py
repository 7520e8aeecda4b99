"""A small MCP server over standard input and output, for tests/providers/test_context.py: ``mcp_server.py NAME``.

The protocol in the standard library: it starts in 30 ms instead of 1.5 s. The client is the real one.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def whoami() -> str:
    """The name the server was started with, and its process."""
    return f"{sys.argv[1]} {os.getpid()}"


def crash() -> str:
    """End without an answer."""
    os._exit(1)


TOOLS = {"whoami": whoami, "crash": crash}


def answer(method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """What the three requests of the tests are answered."""
    if method == "initialize":
        return {
            "protocolVersion": parameters["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": sys.argv[1], "version": "1"},
        }
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
    return {"content": [{"type": "text", "text": TOOLS[parameters["name"]]()}], "isError": False}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:  # else it is a notification
        result = answer(message["method"], message.get("params", {}))
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
