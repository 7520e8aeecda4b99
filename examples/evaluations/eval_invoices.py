"""Facts from texts, as JSON of a shape that is given. The shape is a score of its own, and says what is wrong."""

from __future__ import annotations

import datetime as dt

import pydantic

from doteval import Result, foreach
from doteval.evals import exact_match, jsonl, matches_schema


class Invoice(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    seller: str
    date: dt.date
    total: float


@foreach("text,invoice", jsonl("invoices.jsonl"), passes={"shape": 1.0, "seller": 0.6, "date": 0.6, "total": 0.6})
async def eval_invoices(text, invoice, model_client):
    prompt = f"What are the seller, the date and the total of this invoice?\n\n{text}"
    reply = await model_client.generate(prompt, response_format=Invoice, max_tokens=500)
    scores = {"shape": matches_schema(reply, Invoice)}
    if scores["shape"]:
        found, wanted = Invoice.model_validate_json(reply), Invoice.model_validate(invoice)
        scores |= {
            "seller": exact_match(found.seller, wanted.seller, ignore_case=True),
            "date": found.date == wanted.date,
            "total": found.total == wanted.total,
        }
    return Result(reply, prompt=prompt, scores=scores)
