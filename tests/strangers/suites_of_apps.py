"""Apps with the suites that their frameworks tell people to write: before they use doteval, and moved."""

from __future__ import annotations

from tests.strangers.suites import Suite

SDK_ASK = """    messages = [{{"role": "user", "content": text}}]
    answer = await {client}.chat.completions.create(model="gpt-4o", messages=messages)
    return {answer}
"""
TOLD = "Hello! You said: one"


def sdk_ask(client: str, answer: str) -> str:
    return SDK_ASK.format(client=client, answer=answer.format("answer.choices[0].message.content"))


def our_ask(models: str, answer: str) -> str:
    model = answer.format("await handle.model.generate(text)")
    return f'    async with {models}.setup("gpt-4o") as handle:\n        return {model}\n'


STARLETTE = """
from contextlib import asynccontextmanager
import openai
from doteval import OpenAIProvider
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

@asynccontextmanager
async def lifespan(_app):
    async with OPEN as opened:
        yield {"opened": opened}

async def ask(request):
    text = request.query_params["text"]
ASK

app = Starlette(routes=[Route("/ask", ask)], lifespan=lifespan)
"""
TEST_STARLETTE = f"""
import anyio, httpx, pytest
from app import app
from starlette.testclient import TestClient

@pytest.fixture
def client():
    with TestClient(app) as client:
        yield client

@pytest.mark.parametrize("number", range(2))
def test_ask(client, number):
    assert client.get("/ask", params={{"text": "one"}}).text == "{TOLD}"

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.mark.anyio
async def test_without_a_thread(anyio_backend):
    async with app.router.lifespan_context(app) as state:
        async def with_state(scope, receive, send):
            await app({{**scope, "state": state}}, receive, send)
        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            assert (await client.get("/ask", params={{"text": "one"}})).text == "{TOLD}"
"""

LITESTAR = """
import openai
from doteval import OpenAIProvider
from litestar import Litestar, get
from litestar.datastructures import State

async def start(app: Litestar) -> None:
    app.state.opened = START

async def stop(app: Litestar) -> None:
    await app.state.opened.STOP()

@get("/ask", media_type="text/plain")
async def ask(state: State, text: str) -> str:
ASK

app = Litestar([ask], on_startup=[start], on_shutdown=[stop])
"""
TEST_LITESTAR = f"""
import pytest
from app import app
from litestar.testing import AsyncTestClient, TestClient

@pytest.fixture(scope="module")
def client():
    with TestClient(app) as client:
        yield client

@pytest.mark.parametrize("number", range(2))
def test_ask(client, number):
    assert client.get("/ask", params={{"text": "one"}}).text == "{TOLD}"

@pytest.mark.asyncio
async def test_async():
    async with AsyncTestClient(app) as client:
        assert (await client.get("/ask", params={{"text": "one"}})).text == "{TOLD}"
"""

QUART = """
import openai
from doteval import OpenAIProvider
from quart import Quart, request

app = Quart(__name__)

@app.before_serving
async def start():
    app.opened = START

@app.after_serving
async def stop():
    await app.opened.STOP()

@app.get("/ask")
async def ask():
    text = request.args["text"]
ASK
"""
TEST_QUART = f"""
import pytest
from app import app

@pytest.fixture(scope="module")
async def client():
    async with app.test_app() as serving:
        yield serving.test_client()

@pytest.mark.parametrize("number", range(2))
async def test_ask(client, number):
    response = await client.get("/ask", query_string={{"text": "one"}})
    assert await response.get_data(as_text=True) == "{TOLD}"
"""

DJANGO = """
import django, openai
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from doteval import OpenAIProvider

settings.configure(SECRET_KEY="not-one", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"])
django.setup()

async def ask(request):
    text = request.GET["text"]
    async with OPEN as opened:
ASK

urlpatterns = [path("ask", ask)]
"""
TEST_DJANGO = f"""
import app
from django.test import SimpleTestCase

class TestAsk(SimpleTestCase):
    async def test_async(self):
        response = await self.async_client.get("/ask", {{"text": "one"}})
        assert response.content.decode() == "{TOLD}"

    async def test_async_again(self):
        response = await self.async_client.get("/ask", {{"text": "one"}})
        assert response.content.decode() == "{TOLD}"

    def test_sync(self):
        assert self.client.get("/ask", {{"text": "one"}}).content.decode() == "{TOLD}"
"""

DJANGO_IN_STARLETTE = """
from contextlib import asynccontextmanager
import django, openai
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
from doteval import OpenAIProvider
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

settings.configure(SECRET_KEY="not-one", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
django.setup()
opened = OPEN

@asynccontextmanager
async def lifespan(_app):
    CLOSING

async def django_ask(request):
    text = request.GET["text"]
ASK_DJANGO

async def ask(request):
    text = request.query_params["text"]
ASK_STARLETTE

urlpatterns = [path("ask", django_ask)]
app = Starlette(routes=[Route("/ask", ask), Mount("/django", get_asgi_application())], lifespan=lifespan)
"""
TEST_DJANGO_IN_STARLETTE = f"""
import pytest
from app import app
from starlette.testclient import TestClient

@pytest.fixture(scope="session")
def client():
    with TestClient(app) as client:
        yield client

@pytest.mark.parametrize("address", ["/ask", "/django/ask"])
def test_ask(client, address):
    response = client.get(address, params={{"text": "one"}})
    assert response.text == "{TOLD}", response
"""
DJANGO_ANSWER, STARLETTE_ANSWER = "HttpResponse({})", "PlainTextResponse({})"


def replaced(text: str, **words: str) -> str:
    for word, by in sorted(words.items(), key=lambda item: -len(item[0])):
        text = text.replace(word, by)
    return text


def moving(app: str, test: str, *, old: dict[str, str], new: dict[str, str], ini: str = "") -> Suite:
    """An app in `app.py`, and the same suite before and after."""
    # An app that has not moved does not know of us.
    before = replaced(app.replace("from doteval import OpenAIProvider\n", ""), **old)
    after = replaced(app.replace("import openai\n", "").replace(", openai\n", "\n"), **new)
    return Suite({"app.py": before, "test_app.py": test}, {"app.py": after}, ini)


def indented(text: str) -> str:
    return "".join(f"    {line}" for line in text.splitlines(keepends=True))


APPS = {
    "starlette": moving(
        STARLETTE,
        TEST_STARLETTE,
        old={"OPEN": "openai.AsyncOpenAI()", "ASK": sdk_ask("request.state.opened", STARLETTE_ANSWER)},
        new={"OPEN": "OpenAIProvider()", "ASK": our_ask("request.state.opened", STARLETTE_ANSWER)},
    ),
    "litestar": moving(
        LITESTAR,
        TEST_LITESTAR,
        old={"START": "openai.AsyncOpenAI()", "STOP": "close", "ASK": sdk_ask("state.opened", "{}")},
        new={"START": "await OpenAIProvider().start()", "STOP": "aclose", "ASK": our_ask("state.opened", "{}")},
        ini="asyncio_default_fixture_loop_scope = function",
    ),
    "quart": moving(
        QUART,
        TEST_QUART,
        old={"START": "openai.AsyncOpenAI()", "STOP": "close", "ASK": sdk_ask("app.opened", "{}")},
        new={"START": "await OpenAIProvider().start()", "STOP": "aclose", "ASK": our_ask("app.opened", "{}")},
        ini="asyncio_mode=auto\nasyncio_default_fixture_loop_scope=module\nasyncio_default_test_loop_scope=module",
    ),
    "django": moving(
        DJANGO,
        TEST_DJANGO,
        old={"OPEN": "openai.AsyncOpenAI()", "ASK": indented(sdk_ask("opened", DJANGO_ANSWER))},
        new={"OPEN": "OpenAIProvider()", "ASK": indented(our_ask("opened", DJANGO_ANSWER))},
    ),
    "django in starlette": moving(
        DJANGO_IN_STARLETTE,
        TEST_DJANGO_IN_STARLETTE,
        old={
            "OPEN": "openai.AsyncOpenAI()",
            "CLOSING": "yield\n    await opened.close()",
            "ASK_DJANGO": sdk_ask("opened", DJANGO_ANSWER),
            "ASK_STARLETTE": sdk_ask("opened", STARLETTE_ANSWER),
        },
        new={
            "OPEN": "OpenAIProvider()",
            "CLOSING": "async with opened:\n        yield",
            "ASK_DJANGO": our_ask("opened", DJANGO_ANSWER),
            "ASK_STARLETTE": our_ask("opened", STARLETTE_ANSWER),
        },
    ),
}
