"""Objects of packages that lead to code of the user's: servers with tools, and plugins; each made of a text."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import mcp
import pluggy
from mcp.server.mcpserver import MCPServer

SPECIFICATION, IMPLEMENTATION = pluggy.HookspecMarker("it"), pluggy.HookimplMarker("it")


def saying(value: str) -> Callable[[], str]:
    def tool() -> str:
        return value

    return tool


def documented(value: str) -> Callable[[], str]:
    def tool() -> str:
        return ""

    tool.__doc__ = value
    return tool


def server(tool: Callable[[], Any] | None = None, *, instructions: str = "", description: str = "") -> MCPServer:
    made = MCPServer("it", instructions=instructions)
    if tool is not None:
        made.add_tool(tool, description=description or None)
    return made


def decorated(value: str) -> MCPServer:
    made = server()
    made.tool()(saying(value))
    return made


def with_prompt(value: str) -> MCPServer:
    made = server()
    made.prompt()(saying(value))
    return made


def with_resource(value: str) -> MCPServer:
    made = server()
    made.resource("it://one")(saying(value))
    return made


def with_plugin(plugin: Any) -> pluggy.PluginManager:
    made = pluggy.PluginManager("it")
    made.register(plugin, "mine")
    return made


def plugin(value: str) -> Any:
    class Mine:
        @IMPLEMENTATION
        def score(self) -> str:
            return value

    return Mine()


def plugin_module(value: str) -> ModuleType:
    made = ModuleType("mine")
    vars(made).update(score=IMPLEMENTATION(saying(value)), __file__="/theirs/mine.py")
    return made


KINDS_OF_SERVERS: dict[str, Callable[[str], Any]] = {
    "tool of a server": lambda value: server(saying(value)),
    "decorated tool of a server": decorated,
    "docstring of a tool of a server": lambda value: server(documented(value)),
    "description of a tool of a server": lambda value: server(saying("a"), description=value),
    "instructions of a server": lambda value: server(instructions=value),
    "prompt of a server": with_prompt,
    "resource of a server": with_resource,
    "client of a server": lambda value: mcp.Client(server(saying(value))),
    "method of a server": lambda value: server(saying(value)).call_tool,
    "plugin": lambda value: with_plugin(plugin(value)),
    "hooks of plugins": lambda value: [with_plugin(plugin(value))],
}
