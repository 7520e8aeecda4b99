"""Quart: two functions, before and after serving, and a provider in a global."""

from __future__ import annotations

from quart import Quart, request

from doteval import ModelProviders

app = Quart(__name__)
models = ModelProviders()


@app.before_serving
async def start() -> None:
    await models.start()


@app.after_serving
async def stop() -> None:
    await models.aclose()
    print("closed", models.statistics()["openai"].opens, flush=True)


@app.get("/ask")
async def ask() -> str:
    async with models.setup("openai:gpt-4o") as handle:
        return await handle.model.generate(request.args["text"])


@app.get("/stream")
async def stream():
    text = request.args["text"]

    async def parts():
        async with models.setup("openai:gpt-4o") as handle, handle.model.stream(text) as chunks:
            async for chunk in chunks:
                yield chunk

    return parts()


@app.get("/statistics")
async def statistics() -> dict[str, int]:
    counts = models.statistics()["openai"]
    return {"opens": counts.opens, "active_leases": counts.active_leases}
