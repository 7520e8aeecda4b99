"""Word problems, with two examples in the prompt. The last number of a reply counts, however it is written."""

from __future__ import annotations

from doteval import Result, foreach
from doteval.evals import jsonl, numeric_close

EXAMPLES = [
    ("A box holds 6 eggs. How many eggs are in 4 boxes?", "4 boxes of 6 eggs are 4 * 6 = 24 eggs. The answer is 24."),
    ("Tom has 15 coins and gives 7 away. How many are left?", "He keeps 15 - 7 = 8 coins. The answer is 8."),
]


@foreach("question,answer", jsonl("arithmetic.jsonl"), passes={"correct": 0.75})
async def eval_arithmetic(question, answer, model_client):
    messages = [{"role": "system", "content": "Solve the problem in a few words. End with: The answer is N."}]
    for example, solution in EXAMPLES:
        messages += [{"role": "user", "content": example}, {"role": "assistant", "content": solution}]
    messages.append({"role": "user", "content": question})
    reply = await model_client.generate(messages, max_tokens=500)
    return Result(reply, prompt=question, scores={"correct": numeric_close(reply, answer)})
