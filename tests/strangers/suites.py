"""Suites of strangers: as they were before, and moved as the page "Move to doteval" says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """One of them.

    Args:
        ini: What stands under ``[pytest]``.
        before: Its files, with the SDK's client in fixtures of its own.
        after: What is different when it has moved.
        options: What its authors type.
    """

    before: dict[str, str]
    after: dict[str, str]
    ini: str = ""
    options: tuple[str, ...] = ()


MODEL = '@pytest.mark.parametrize("openai_client", ["gpt-4o"], indirect=True)'
ASK = """
    answer = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content
"""
NEW_ASK = """
    assert await openai_client.generate("Hi")
"""


def asyncio_suite(*, auto: bool, scope: str) -> Suite:
    """pytest-asyncio, in one of its modes, with a client that lives as long as the event loop."""
    fixture = "pytest.fixture" if auto else "pytest_asyncio.fixture"
    mark = "" if auto and scope == "function" else f'pytestmark = pytest.mark.asyncio(loop_scope="{scope}")\n'
    service = f"""
@{fixture}(scope="{scope}"{"" if auto else f', loop_scope="{scope}"'})
async def service():
    yield asyncio.get_running_loop()
"""
    head = f"import asyncio\nimport openai\nimport pytest\nimport pytest_asyncio\n{mark}{service}"
    client = service.replace("service", "client").replace(
        "    yield asyncio.get_running_loop()", "    async with openai.AsyncOpenAI() as client:\n        yield client"
    )
    old = f"""
async def test_in_one_loop(service):
    assert asyncio.get_running_loop() is service

@pytest.mark.parametrize("number", range(3))
async def test_asks(service, client, number):
    assert asyncio.get_running_loop() is service
{ASK}
"""
    new = f"""
async def test_in_one_loop(service):
    assert asyncio.get_running_loop() is service

@pytest.mark.parametrize("number", range(3))
{MODEL}
async def test_asks(service, openai_client, number):
    assert asyncio.get_running_loop() is service
{NEW_ASK}
"""
    return Suite(
        {"test_service.py": head + client + old},
        {"test_service.py": head + new},
        f"asyncio_mode = {'auto' if auto else 'strict'}\nasyncio_default_fixture_loop_scope = {scope}",
    )


OWN_FIXTURE = """
import pytest, pytest_asyncio
import openai

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def models():
    async with openai.AsyncOpenAI() as client:
        yield client

@pytest_asyncio.fixture(loop_scope="session")
async def client(models):
    yield models
"""
MOVED_FIXTURE = """
import pytest, pytest_asyncio
from doteval import OpenAIProvider

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def models():
    async with OpenAIProvider() as provider:
        yield provider

@pytest_asyncio.fixture(loop_scope="session")
async def client(models):
    async with models.setup("gpt-4o") as handle:
        yield handle.model.client
"""

UNITTEST = f"""
import unittest, openai

class TestService(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = openai.AsyncOpenAI()

    async def asyncTearDown(self):
        await self.client.close()

    async def test_first(self):
        client = self.client
    {ASK.replace(chr(10), chr(10) + "    ")}

    async def test_second(self):
        client = self.client
    {ASK.replace(chr(10), chr(10) + "    ")}
"""
MOVED_UNITTEST = """
import unittest
from doteval import OpenAIProvider

class TestService(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.models = await OpenAIProvider().start()

    async def asyncTearDown(self):
        await self.models.aclose()
        assert self.models.statistics().opens == self.models.statistics().closes == 1

    async def test_first(self):
        async with self.models.setup("gpt-4o") as handle:
            assert await handle.model.generate("Hi")

    async def test_second(self):
        async with self.models.setup("gpt-4o") as handle:
            assert await handle.model.generate("Hi")
"""

TRIO = f"""
import openai, pytest, trio

@pytest.fixture
async def client(nursery):
    nursery.start_soon(trio.sleep_forever)
    async with openai.AsyncOpenAI() as client:
        yield client

@pytest.mark.trio
async def test_asks(client):
{ASK}

@pytest.mark.trio
async def test_time_flies(autojump_clock):
    start = trio.current_time()
    await trio.sleep(1000)
    assert trio.current_time() - start >= 1000

def test_sync(): ...
"""
MOVED_TRIO = TRIO.replace("import openai, pytest", "import pytest").replace(
    TRIO[TRIO.index("@pytest.fixture") : TRIO.index("@pytest.mark.trio\nasync def test_time")],
    f"""
@pytest.fixture
async def background(nursery):
    nursery.start_soon(trio.sleep_forever)

{MODEL}
@pytest.mark.trio
async def test_asks(background, openai_client):
{NEW_ASK}
""",
)

ANYIO = f"""
import anyio, openai, pytest
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.fixture(scope="module")
async def client(anyio_backend):
    async with openai.AsyncOpenAI() as client:
        yield client

async def test_asks(client):
{ASK}

async def test_asks_again(client):
{ASK}

class TestInAClass:
    @pytest.mark.parametrize("number", [1, 2])
    async def test_number(self, client, number):
    {ASK.replace(chr(10), chr(10) + "    ")}
"""
MOVED_ANYIO = (
    ANYIO.replace(
        ANYIO[ANYIO.index('@pytest.fixture(scope="module")\n') : ANYIO.index("async def test_asks(client)")], ""
    )
    .replace("client.chat.completions", "openai_client.client.chat.completions")
    .replace("(client)", "(openai_client)")
    .replace("self, client", "self, openai_client")
    .replace("pytestmark = pytest.mark.anyio", f"pytestmark = [pytest.mark.anyio, {MODEL[1:]}]")
)

OWN_NAMES = {
    "conftest.py": """
import pytest

def pytest_addoption(parser):
    parser.addoption("--model", default="theirs")
    parser.addoption("--eval-limit", type=int, default=2)
    parser.addini("model_provider_scope", "theirs", default="nothing")

@pytest.fixture
def model(request):
    return request.config.getoption("--model")

@pytest.fixture
def model_client(model):
    return f"a client of {model}"

@pytest.fixture
def openai_client():
    return "theirs, too"

def pytest_generate_tests(metafunc):
    if "row" in metafunc.fixturenames:
        metafunc.parametrize("row", range(metafunc.config.getoption("--eval-limit")))
""",
    "test_names.py": """
def test_model(model, model_client, openai_client, row):
    assert (model, model_client, openai_client) == ("mine", "a client of mine", "theirs, too")
""",
    "eval_model.py": "import argparse\nargparse.ArgumentParser().parse_args(['--nothing-like-that'])\n",
}

SUITES = {
    **{
        f"pytest-asyncio-{'auto' if auto else 'strict'}-{scope}": asyncio_suite(auto=auto, scope=scope)
        for auto in (False, True)
        for scope in ("function", "module", "session")
    },
    "a fixture of pytest-asyncio": Suite(
        {
            "conftest.py": OWN_FIXTURE,
            "test_it.py": f"""
import pytest
pytestmark = pytest.mark.asyncio(loop_scope="session")

async def test_one(client):
{ASK}

async def test_two(client):
{ASK}
""",
        },
        {"conftest.py": MOVED_FIXTURE},
        "asyncio_default_fixture_loop_scope = session",
    ),
    "unittest": Suite({"test_service.py": UNITTEST}, {"test_service.py": MOVED_UNITTEST}),
    "pytest-trio": Suite({"test_service.py": TRIO}, {"test_service.py": MOVED_TRIO}),
    "anyio": Suite({"test_service.py": ANYIO}, {"test_service.py": MOVED_ANYIO}),
    "their own names": Suite(OWN_NAMES, {}, options=("--model", "mine", "--eval-limit", "3")),
}
