"""What is asked in OpenAI's words, in those of Anthropic's API: so that one program asks both for the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

MAX_TOKENS = 4096
"""How long a reply may be where nobody says otherwise; the API insists on a number."""
_UNNAMED = ("temperature", "top_k", "top_p")
"""Parameters that the SDK names no more, as its newest models do not take them; others do, and so do evaluations."""


def request_of(messages: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """The request that a conversation becomes; the API takes system messages in a place of their own.

    What OpenAI's API calls ``stop``, ``response_format``, ``tools`` and ``tool_choice``, and messages that call tools
    and answer such calls, are told in Anthropic's words, so that one evaluation asks both for the same.

    Raises:
        TypeError: Something is said as neither API knows it.
        ValueError: The arguments of a call are no JSON.
    """
    system = [params["system"]] if params.get("system") else []
    system += [message["content"] for message in messages if message["role"] == "system"]
    request: dict[str, Any] = {
        "max_tokens": MAX_TOKENS,
        **params,
        "messages": _conversation([message for message in messages if message["role"] != "system"]),
    }
    if system:
        request["system"] = _joined(system)
    if (stop := request.pop("stop", None)) is not None:
        request.setdefault("stop_sequences", [stop] if isinstance(stop, str) else list(stop))
    if request.get("tools") is not None:
        request["tools"] = [_tool(tool) for tool in request["tools"]]
    one_by_one = request.pop("parallel_tool_calls", None) is False
    if (chosen := request.pop("tool_choice", None)) is not None or one_by_one:
        request["tool_choice"] = _tool_choice("auto" if chosen is None else chosen, one_by_one)
    if (wanted := request.pop("response_format", None)) is not None:
        request["output_config"] = {"format": _format(wanted), **(request.get("output_config") or {})}
    if unnamed := {name: request.pop(name) for name in _UNNAMED if name in request}:
        request["extra_body"] = {**unnamed, **(request.get("extra_body") or {})}
    return request


def _conversation(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With calls of tools, and what they gave, as blocks; the results of one turn are one message."""
    made: list[dict[str, Any]] = []
    results: list[dict[str, Any]] | None = None
    for message in messages:
        if message["role"] == "tool":
            if results is None:
                results = []
                made.append({"role": "user", "content": results})
            result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
            results.append(result | ({"content": message["content"]} if message["content"] else {}))
            continue
        results = None
        if calls := message.get("tool_calls"):
            said: Any = message.get("content") or []
            blocks: list[Any] = [{"type": "text", "text": said}] if isinstance(said, str) else [*said]
            made.append({"role": message["role"], "content": blocks + [_tool_use(call) for call in calls]})
        else:
            made.append(message)
    return made


def _tool_use(call: Any) -> dict[str, Any]:
    try:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
    except (KeyError, TypeError):
        raise TypeError(
            "a call of a tool is {'id': ..., 'type': 'function', 'function': {'name': ..., 'arguments': '{}'}}, "
            f"not {call!r}"
        ) from None
    try:
        given = json.loads(arguments or "{}")
    except ValueError as exc:
        raise ValueError(f"the arguments of the call of '{name}' are no JSON, so it cannot be sent: {exc}") from None
    return {"type": "tool_use", "id": call.get("id"), "name": name, "input": given}


def _tool(tool: Any) -> Any:
    """Those of Anthropic's own, and what is said in its words, are left as they are."""
    if _mapping(tool).get("type") != "function":
        return tool
    function = _mapping(tool.get("function"))
    if "name" not in function:
        raise TypeError(
            f"a tool is {{'type': 'function', 'function': {{'name': ..., 'parameters': ...}}}}, not {tool!r}"
        )
    given: dict[str, Any] = {name: function[name] for name in ("name", "description", "strict") if name in function}
    return {**given, "input_schema": function.get("parameters") or {"type": "object", "properties": {}}}


def _tool_choice(chosen: Any, one_by_one: bool) -> dict[str, Any]:
    if isinstance(chosen, str):
        words = {"auto": "auto", "required": "any", "none": "none"}
        if chosen not in words:
            raise TypeError(f"tool_choice is one of {', '.join(map(repr, words))}, or names a function, not {chosen!r}")
        made: dict[str, Any] = {"type": words[chosen]}
    elif _mapping(chosen).get("type") == "function":
        made = {"type": "tool", "name": chosen["function"]["name"]}
    else:
        made = {**_mapping(chosen)}
    return {**made, "disable_parallel_tool_use": True} if one_by_one and made.get("type") != "none" else made


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _format(wanted: Any) -> dict[str, Any]:
    try:
        return {"type": "json_schema", "schema": wanted["json_schema"]["schema"]}
    except (KeyError, TypeError):
        raise TypeError(
            "response_format has to be {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': ...}} or a class "
            "of pydantic: Anthropic's API knows no other"
        ) from None


def _joined(contents: list[Any]) -> str | list[Any]:
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    blocks: list[Any] = []
    for content in contents:
        blocks += [{"type": "text", "text": content}] if isinstance(content, str) else content
    return blocks
