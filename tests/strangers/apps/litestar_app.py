"""Litestar: hooks at start and stop, and a dependency that leases."""

from __future__ import annotations

from litestar import Litestar, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.response import Stream

from doteval import OpenAIProvider


async def start(app: Litestar) -> None:
    app.state.models = await OpenAIProvider().start()


async def stop(app: Litestar) -> None:
    await app.state.models.aclose()
    print("closed", app.state.models.statistics().opens, flush=True)


async def leased(state: State):
    async with state.models.setup("gpt-4o") as handle:
        yield handle.model


@get("/ask", dependencies={"model": Provide(leased)}, media_type="text/plain")
async def ask(model: object, text: str) -> str:
    return await model.generate(text)


@get("/stream")
async def stream(state: State, text: str) -> Stream:
    async def parts():
        async with state.models.setup("gpt-4o") as handle, handle.model.stream(text) as chunks:
            async for chunk in chunks:
                yield chunk

    return Stream(parts())


@get("/statistics")
async def statistics(state: State) -> dict[str, int]:
    counts = state.models.statistics()
    return {"opens": counts.opens, "active_leases": counts.active_leases}


app = Litestar([ask, stream, statistics], on_startup=[start], on_shutdown=[stop])
