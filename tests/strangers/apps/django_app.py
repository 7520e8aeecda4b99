"""Django under ASGI, in one file. It has neither hooks nor a lifespan, so a wrapper of its application has one."""

from __future__ import annotations

from contextlib import asynccontextmanager

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from doteval import OpenAIProvider

settings.configure(DEBUG=False, SECRET_KEY="not-one", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])
django.setup()
models = OpenAIProvider()


async def ask(request):
    async with models.setup("gpt-4o") as handle:
        return HttpResponse(await handle.model.generate(request.GET["text"]), content_type="text/plain")


async def stream(request):
    async def parts():
        async with models.setup("gpt-4o") as handle, handle.model.stream(request.GET["text"]) as chunks:
            async for chunk in chunks:
                yield chunk

    return StreamingHttpResponse(parts(), content_type="text/plain")


async def statistics(_request):
    counts = models.statistics()
    return JsonResponse({"opens": counts.opens, "active_leases": counts.active_leases})


urlpatterns = [path("ask", ask), path("stream", stream), path("statistics", statistics)]
application = get_asgi_application()


@asynccontextmanager
async def lifespan():
    async with models:
        yield
    print("closed", models.statistics().opens, flush=True)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        async with lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await application(scope, receive, send)
