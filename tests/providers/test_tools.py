"""An agent with tools is one program for every provider: what is sent and what comes back, on both protocols."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.conftest import CHATS, KEY
from tests.providers.wire import Reply, WireServer, answer, events

from doteval import ChatModel, Completion, ToolCall

pytestmark = pytest.mark.anyio

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Of a city", "parameters": PARAMETERS}}
SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "Paris, Rome?"}
CALLS = (ToolCall("c1", "weather", '{"city": "Paris"}'), ToolCall("c2", "weather", '{"city": "Rome"}'))
CALLED = Reply(
    text=("Let me see",),
    tools=[(call.id, call.name, (call.arguments[:5], call.arguments[5:])) for call in CALLS],
    finish={"openai": "tool_calls", "anthropic": "tool_use"},
)


def provider_of(kind: str, wire: WireServer) -> Any:
    return CHATS[kind][0](base_url=f"{wire.url}/v1" if kind == "openai" else wire.url, api_key=KEY, max_retries=0)


async def reply_of(model: ChatModel, messages: Any, is_streamed: bool, **params: Any) -> Completion:
    if not is_streamed:
        return await model.generate(messages, **params)
    async with model.stream(messages, **params) as stream:
        async for _ in stream:
            pass
    return stream.completion


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_an_agent_is_one_program(wire: WireServer, kind: str, is_streamed: bool) -> None:
    """It asks, is told to call two tools, and tells what they gave; each server reads that in its own words."""
    makes = events if is_streamed else answer
    wire.script(makes(kind, CALLED), makes(kind, Reply(text=("Sunny",))))
    async with provider_of(kind, wire) as provider, provider.setup(CHATS[kind][2]) as handle:
        messages: list[Any] = [SYSTEM, QUESTION]
        reply = await reply_of(handle.model, messages, is_streamed, tools=[TOOL], tool_choice="required")
        assert [(call.id, call.name, call.parsed()) for call in reply.tool_calls] == [
            (call.id, call.name, call.parsed()) for call in CALLS
        ]
        messages += [reply.message, *(call.result({"sun": True}) for call in reply.tool_calls)]
        assert await reply_of(handle.model, messages, is_streamed, tools=[TOOL]) == "Sunny"
    asked, told = wire.bodies()
    if kind == "openai":
        assert (asked["tools"], asked["tool_choice"]) == ([TOOL], "required")
        assert told["messages"][2:] == [
            {
                "role": "assistant",
                "content": "Let me see",
                "tool_calls": [
                    {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                    for call in CALLS
                ],
            },
            *({"role": "tool", "tool_call_id": call.id, "content": '{"sun": true}'} for call in CALLS),
        ]
    else:
        assert asked["tools"] == [{"name": "weather", "description": "Of a city", "input_schema": PARAMETERS}]
        assert asked["tool_choice"] == {"type": "any"}
        assert asked["system"] == "Be brief."
        uses = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed()} for call in CALLS]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": '{"sun": true}'} for call in CALLS]
        assert told["messages"] == [
            QUESTION,
            {"role": "assistant", "content": [{"type": "text", "text": "Let me see"}, *uses]},
            {"role": "user", "content": results},
        ]


OWN = {"type": "web_search_20250305", "name": "web_search"}
NATIVE = {"name": "weather", "input_schema": PARAMETERS}


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        ({"tools": [OWN, NATIVE]}, {"tools": [OWN, NATIVE]}),
        (
            {"tools": [{"type": "function", "function": {"name": "now"}}]},
            {"tools": [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]},
        ),
        ({"tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}),
        ({"tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
        ({"tool_choice": {"type": "any"}}, {"tool_choice": {"type": "any"}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "now"}}},
            {"tool_choice": {"type": "tool", "name": "now"}},
        ),
        ({"parallel_tool_calls": True}, {}),
        ({"parallel_tool_calls": False}, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
    ],
)
async def test_how_anthropic_is_told_of_tools(wire: WireServer, params: Any, sent: Any) -> None:
    """What is in its words already stays as it is."""
    wire.script(answer("anthropic", Reply(text=("Well",))))
    async with provider_of("anthropic", wire) as provider, provider.setup("claude-sonnet-5-5") as handle:
        await handle.model.generate("Hello", **params)
    (body,) = wire.bodies()
    assert {name: body[name] for name in ("tools", "tool_choice", "parallel_tool_calls") if name in body} == sent


async def test_results_of_each_turn_are_one_message(wire: WireServer) -> None:
    """Those of the next turn are another; one without a content is one, too."""
    call = {"id": "c", "type": "function", "function": {"name": "now", "arguments": ""}}
    turn = [{"role": "assistant", "content": None, "tool_calls": [call]}, ToolCall("c", "now", "").result("")]
    wire.script(answer("anthropic", Reply(text=("Well",))))
    async with provider_of("anthropic", wire) as provider, provider.setup("claude-sonnet-5-5") as handle:
        await handle.model.generate([QUESTION, *turn, *turn, QUESTION])
    said = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "now", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
    ]
    assert wire.bodies()[0]["messages"] == [QUESTION, *said, *said, QUESTION]


@pytest.mark.parametrize(
    ("message", "params", "error", "what"),
    [
        ({}, {"tools": [{"type": "function", "name": "now"}]}, TypeError, "a tool is"),
        ({}, {"tool_choice": "always"}, TypeError, "tool_choice is one of 'auto', 'required', 'none'"),
        ({"tool_calls": [{"id": "c"}]}, {}, TypeError, "a call of a tool is"),
        ({"tool_calls": [{"id": "c", "function": {"name": "now", "arguments": "{"}}]}, {}, ValueError,
         "the arguments of the call of 'now' are no JSON"),
    ],
)  # fmt: skip
async def test_what_nobody_can_mean_is_said(
    wire: WireServer, message: Any, params: Any, error: type[Exception], what: str
) -> None:
    """Before anything is sent."""
    wire.script(answer("anthropic", Reply(text=("Well",))))
    async with provider_of("anthropic", wire) as provider, provider.setup("claude-sonnet-5-5") as handle:
        with pytest.raises(error, match=what):
            await handle.model.generate([QUESTION, {"role": "assistant", "content": "", **message}], **params)
    assert wire.asked == []


async def test_signed_thoughts_go_back_to_the_server(wire: WireServer) -> None:
    """A reply that came whole is sent back as it was; the server insists on that."""
    wire.script(answer("anthropic", Reply(reasoning=("Hm",), tools=[("c", "now", ("{}",))])))
    async with provider_of("anthropic", wire) as provider, provider.setup("claude-sonnet-5-5") as handle:
        reply = await handle.model.generate("Hello")
        await handle.model.generate([QUESTION, reply.message, reply.tool_calls[0].result(12)])
    assert wire.bodies()[1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": ""},
                {"type": "tool_use", "id": "c", "name": "now", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "12"}]},
    ]
