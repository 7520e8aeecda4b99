"""An agent with tools: it looks up prices until it knows the answer. It has to be right, and to have looked."""

from __future__ import annotations

from doteval import Result, foreach
from doteval.evals import numeric_close

PRICES = {"apple": 0.5, "bread": 3.2, "cheese": 7.9}
TOOL = {
    "type": "function",
    "function": {
        "name": "price",
        "description": "What one piece of something costs.",
        "parameters": {
            "type": "object",
            "properties": {"item": {"type": "string", "enum": [*PRICES]}},
            "required": ["item"],
            "additionalProperties": False,
        },
    },
}
ORDERS = [
    ({"apple": 4}, 2.0),
    ({"bread": 1, "cheese": 1}, 11.1),
    ({"apple": 2, "bread": 1, "cheese": 2}, 20.0),
]


def price(item):
    return PRICES.get(item, f"there is no {item}; there are {', '.join(PRICES)}")


@foreach("order,total", ORDERS, passes={"correct": 0.6, "has_looked": 1.0})
async def eval_agent(order, total, model_client):
    wanted = ", ".join(f"{count} x {item}" for item, count in order.items())
    messages = [{"role": "user", "content": f"Look up what this costs, and tell only the total: {wanted}"}]
    asked = []
    for _ in range(6):
        reply = await model_client.generate(messages, tools=[TOOL], max_tokens=500)
        messages.append(reply.message)
        if not reply.tool_calls:
            break
        for call in reply.tool_calls:
            item = call.parsed().get("item")
            asked.append(item)
            messages.append(call.result(price(item)))
    return Result(
        reply,
        prompt=messages,
        scores={"correct": numeric_close(reply, total), "has_looked": set(asked) >= set(order)},
        metadata={"asked": asked},
    )
