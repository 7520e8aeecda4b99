"""A web app: its lifespan owns the providers, and every request leases the model that it asks for.

The same code runs on asyncio and on trio::

    uvicorn --app-dir examples fastapi_app:app
    PYTHONPATH=examples hypercorn --worker-class trio fastapi_app:app

    curl --json '{"text": "What is the capital of France?"}' http://127.0.0.1:8000/models/gpt-4o
    curl --json '{"text": "What is the capital of France?"}' -N http://127.0.0.1:8000/models/claude-sonnet-5-5/stream
    curl http://127.0.0.1:8000/providers

It needs ``pip install -e ".[all,trio]" "fastapi>=0.118" uvicorn hypercorn`` in a clone, and ``OPENAI_API_KEY`` and
``ANTHROPIC_API_KEY`` in the environment.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any, TypedDict

import anyio
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from doteval import ChatModel, Completion, CompletionStream, DotevalError, ModelProviders, SetupTimeoutError

MODELS = {"gpt-4o": "openai:gpt-4o", "claude-sonnet-5-5": "anthropic:claude-sonnet-5-5"}
"""What may be asked for. A caller's word is looked up here and never used as a spec: a spec can start a server."""

LIMITS = {"capacity": 16, "max_concurrency": 32, "setup_timeout": 30.0}
"""For each provider: models that are open, requests that one model takes at once, seconds to wait for a model."""

log = logging.getLogger("models")


class State(TypedDict):
    """What the lifespan hands to the requests."""

    providers: ModelProviders


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """Providers that live as long as the app: what one request has opened is there for the next ones."""
    async with ModelProviders(settings={"openai": LIMITS, "anthropic": LIMITS}) as providers:
        yield {"providers": providers}
    for name, counts in providers.statistics().items():
        print(f"{name}: {counts.opens} opens, {counts.leases} leases, {counts.closes} closes", flush=True)


app = FastAPI(lifespan=lifespan)


class Prompt(BaseModel):
    """What is asked."""

    text: str


class Reply(BaseModel):
    """What is answered."""

    model: str
    text: str
    output_tokens: int | None


async def leased(model: str, request: Request) -> AsyncIterator[ChatModel]:
    """Lease a model until the response is sent, or the client is gone."""
    if model not in MODELS:
        raise HTTPException(404, f"there is no such model here; there are: {', '.join(MODELS)}")
    providers: ModelProviders = request.state.providers
    async with providers.setup(MODELS[model]) as handle:
        yield handle.model


Leased = Annotated[ChatModel, Depends(leased)]


async def streaming(model: Leased, prompt: Prompt) -> AsyncIterator[CompletionStream]:
    """A stream that is closed with the response. What fails at its beginning can still be answered with an error."""
    async with model.stream(prompt.text) as stream:
        yield stream


@app.post("/models/{model}")
async def generate(model: Leased, prompt: Prompt, request: Request) -> Reply:
    """The whole reply."""
    reply = await while_connected(request, model, prompt.text)
    return Reply(model=model.name, text=reply, output_tokens=reply.usage.output_tokens if reply.usage else None)


@app.post("/models/{model}/stream")
async def stream(stream: Annotated[CompletionStream, Depends(streaming)]) -> StreamingResponse:
    """The reply as it is made; when the client goes away, so does the request to the model."""
    return StreamingResponse(stream, media_type="text/plain")


@app.get("/providers")
async def providers(request: Request) -> dict[str, Any]:
    """What is open and leased at the moment."""
    return {name: asdict(counts) for name, counts in request.state.providers.statistics().items()}


@app.exception_handler(DotevalError)
async def explain(_request: Request, error: DotevalError) -> Response:
    """Our errors say what to do to whoever runs the app, and much about its machine: that is for the log."""
    log.error("%s", error)
    status = 503 if isinstance(error, SetupTimeoutError) else 502
    return JSONResponse({"detail": "the model cannot be asked at the moment"}, status)


class ClientGoneError(Exception):
    """Nobody waits for the reply any more."""


@app.exception_handler(ClientGoneError)
async def say_nothing(_request: Request, _error: ClientGoneError) -> Response:
    """Nobody reads it."""
    return Response(status_code=499)


async def while_connected(request: Request, model: ChatModel, prompt: str) -> Completion:
    """Ask the model; cancel that when the client goes away. Servers only do this for streams, and replies cost money.

    Raises:
        ClientGoneError: The client went away.
        DotevalError: As `ChatModel.generate`.
    """
    outcome: Completion | DotevalError | None = None
    async with anyio.create_task_group() as task_group:

        async def cancel_when_gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            task_group.cancel_scope.cancel()

        task_group.start_soon(cancel_when_gone)
        try:
            outcome = await model.generate(prompt)
        except DotevalError as exc:  # raised below: the task group would wrap it
            outcome = exc
        task_group.cancel_scope.cancel()
    if outcome is None:
        raise ClientGoneError
    if isinstance(outcome, DotevalError):
        raise outcome
    return outcome
