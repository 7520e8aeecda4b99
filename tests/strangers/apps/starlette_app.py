"""Starlette: a lifespan, as most write it, and a provider that is imported from a module of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from doteval import OpenAIProvider

models = OpenAIProvider()


@asynccontextmanager
async def lifespan(_app):
    async with models:
        yield
    print("closed", models.statistics().opens, flush=True)


async def ask(request: Request) -> PlainTextResponse:
    async with models.setup("gpt-4o") as handle:
        return PlainTextResponse(await handle.model.generate(request.query_params["text"]))


async def stream(request: Request) -> StreamingResponse:
    async def parts():
        async with models.setup("gpt-4o") as handle, handle.model.stream(request.query_params["text"]) as chunks:
            async for chunk in chunks:
                yield chunk

    return StreamingResponse(parts())


async def statistics(_request: Request) -> JSONResponse:
    counts = models.statistics()
    return JSONResponse({"opens": counts.opens, "active_leases": counts.active_leases})


app = Starlette(
    routes=[Route("/ask", ask), Route("/stream", stream), Route("/statistics", statistics)],
    lifespan=lifespan,
)
