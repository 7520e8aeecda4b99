"""A small MCP server over standard input and output, for tests/providers/test_context.py."""

from __future__ import annotations

import os
import sys

from mcp.server import MCPServer

server = MCPServer(sys.argv[1])


@server.tool()
def whoami() -> str:
    """The name the server was started with, and its process."""
    return f"{sys.argv[1]} {os.getpid()}"


@server.tool()
def crash() -> str:
    """End without an answer."""
    os._exit(1)


server.run("stdio")
