"""Our fixtures in the event loops of pytest-asyncio and pytest-trio, beside the fixtures that a suite has there."""

from __future__ import annotations

import pytest
from tests.plugin.runs import Runs, assert_clean, counts

# An application that belongs to the event loop in which it was made, with a fixture that builds on ours.
CONFTEST = """
import asyncio
import pytest
import pytest_asyncio

@pytest_asyncio.fixture(SCOPES)
async def app():
    loop = asyncio.get_running_loop()
    yield loop
    assert asyncio.get_running_loop() is loop

@FIXTURE
async def shouting(echo_client):
    yield (await echo_client.generate("hi")).upper()

@pytest.fixture
def echo_client(echo_client):
    return echo_client
"""
SUITE = """
import asyncio
import pytest

MARK

async def test_old(app):
    assert asyncio.get_running_loop() is app

@pytest.mark.parametrize("echo_client", ["a", "b"], indirect=True)
async def test_ours(app, echo_client, shouting, echo_provider, model_providers):
    assert asyncio.get_running_loop() is app
    assert await echo_client.generate("hi") == f"{echo_client.name} on asyncio: hi"
    assert shouting == f"{echo_client.name} on asyncio: hi".upper()
    assert model_providers["echo"] is echo_provider

class TestInAClass:
    async def test_model(self, app, model_client):
        assert asyncio.get_running_loop() is app
        assert await model_client.generate("hi") == "c on asyncio: hi"

async def test_old_again(app):
    assert asyncio.get_running_loop() is app
"""
ANYIO = """
import pytest

@pytest.mark.anyio
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_of_anyio(echo_client, anyio_backend):
    assert await echo_client.generate("hi") == f"a on {anyio_backend}: hi"
"""


BEFORE_US, AFTER_US = "{} anyio doteval", "doteval anyio {}"


@pytest.mark.parametrize(
    ("mode", "loop_scope", "provider_scope", "order"),
    [
        ("strict", "function", "", BEFORE_US),
        ("strict", "session", "", AFTER_US),
        ("strict", "session", "session", BEFORE_US),
        ("strict", "class", "", AFTER_US),
        ("auto", "function", "", AFTER_US),
        ("auto", "session", "session", AFTER_US),
        ("auto", "session", "", BEFORE_US),
        ("auto", "module", "function", BEFORE_US),
    ],
)
def test_tests_of_pytest_asyncio_get_models_in_their_own_loop(
    runs: Runs, mode: str, loop_scope: str, provider_scope: str, order: str
) -> None:
    """In each mode, for each loop: a test has its old fixtures, ours, and those that build on ours in one loop."""
    fixture = "pytest.fixture" if mode == "auto" else "pytest_asyncio.fixture"
    fixture += f"(loop_scope='{loop_scope}')" if mode == "strict" else ""
    scopes = f"loop_scope='{loop_scope}', scope='{loop_scope}'"
    mark = f"pytestmark = pytest.mark.asyncio(loop_scope='{loop_scope}')" if mode == "strict" else ""
    suite = SUITE.replace("MARK", mark)
    runs.write(
        conftest=CONFTEST.replace("SCOPES", scopes).replace("FIXTURE", fixture),
        test_one=suite,
        test_two=suite,
        test_anyio=ANYIO,
    )
    runs.pytester.makeini(
        f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = {loop_scope}\n"
        f"asyncio_default_test_loop_scope = {loop_scope}\ndoteval_model_provider_scope = {provider_scope}\n"
    )
    result = runs.run("--model=echo:c", plugins=order.format("asyncio"))
    assert_clean(result, passed=2 * 5 + 2)
    # Those of anyio's two event loops; and in the other loop once for each model, and for each module unless for all.
    assert counts(result)["echo"]["opens"] == 2 + 3 * (1 if provider_scope == "session" else 2)


TRIO = """
import pytest
import trio

pytestmark = pytest.mark.trio

@pytest.fixture
async def server(nursery):
    send, receive = trio.open_memory_channel(0)

    async def serve():
        async for reply_to in receive:
            await reply_to.send("served")

    nursery.start_soon(serve)
    return send

@pytest.fixture
async def shouting(echo_client, server):
    yield (await echo_client.generate("hi")).upper()

@pytest.mark.parametrize("echo_client", ["a", "b"], indirect=True)
async def test_ours(echo_client, shouting, server, nursery, autojump_clock, model_providers, echo_provider):
    await trio.sleep(36_000)
    nursery.start_soon(trio.sleep_forever)
    send, receive = trio.open_memory_channel(0)
    await server.send(send)
    assert await receive.receive() == "served"
    assert await echo_client.generate("hi") == f"{echo_client.name} on trio: hi"
    assert shouting == f"{echo_client.name} on trio: hi".upper()
    assert model_providers["echo"] is echo_provider

class TestInAClass:
    async def test_model(self, model_client, autojump_clock):
        await trio.sleep(36_000)
        assert await model_client.generate("hi") == "c on trio: hi"

async def test_old(server, autojump_clock):
    await trio.sleep(36_000)
"""


@pytest.mark.parametrize(
    ("mode", "scope", "order"),
    [
        (False, "module", BEFORE_US),
        (False, "session", AFTER_US),
        (True, "function", BEFORE_US),
        (True, "module", AFTER_US),
        (True, "session", BEFORE_US),
    ],
)
def test_tests_of_pytest_trio_get_models_in_their_own_loop(runs: Runs, order: str, scope: str, mode: bool) -> None:
    """With a nursery, in virtual time, and beside tests that anyio runs on trio, before them and after them."""
    suite = TRIO.replace("pytestmark = pytest.mark.trio\n", "") if mode else TRIO
    runs.write(test_both=suite + ANYIO.replace("import pytest", ""), test_anyio=ANYIO, test_trio=suite)
    runs.pytester.makeini(f"[pytest]\ntrio_mode = {mode}\ndoteval_model_provider_scope = {scope}\n")
    result = runs.run("--model=echo:c", plugins=order.format("trio"))
    assert_clean(result, passed=2 * 4 + 2 * 2)


@pytest.mark.parametrize(
    ("plugin", "source", "fixture", "mark"),
    [
        ("asyncio", "@pytest_asyncio.fixture(scope='session', loop_scope='session')", "app", ""),
        ("asyncio", "@pytest_asyncio.fixture", "app", "@pytest.mark.anyio"),
        ("trio", "@pytest.fixture", "nursery", "@pytest.mark.anyio"),
        ("trio", "@pytest.fixture", "autojump_clock", ""),
    ],
)
def test_what_lives_in_another_loop_is_refused(runs: Runs, plugin: str, source: str, fixture: str, mark: str) -> None:
    """A test that anyio runs, as nobody else is asked to, cannot have it; the message says what to do."""
    runs.write(
        test_it=f"""
        import pytest
        import pytest_asyncio

        {source}
        async def app(): ...

        {mark}
        @pytest.mark.parametrize("anyio_backend", ["trio" if {plugin == "trio"} else "asyncio"])
        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_it(echo_client, {fixture}): ...
        """
    )
    runs.pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n" if plugin == "asyncio" else "")
    result = runs.run(plugins=f"{plugin} anyio doteval")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"The test runs in anyio's event loop, and the fixture '{fixture}' *pytest.mark.{plugin}*"]
    )


MADE = """
import pytest

@pytest.fixture(scope="module")
async def app():
    yield

async def test_old(app): ...

@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_asyncio(app, echo_client): ...

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_anyio(app, echo_client): ...
"""


@pytest.mark.parametrize(
    ("tests", "here", "there", "order"),
    [
        (["test_old", "test_anyio", "test_asyncio"], "anyio's", "pytest-asyncio's", BEFORE_US),
        (["test_old", "test_anyio", "test_asyncio"], "anyio's", "pytest-asyncio's", AFTER_US),
        (["test_anyio", "test_asyncio"], "pytest-asyncio's", "anyio's", AFTER_US),
    ],
)
def test_what_was_made_in_another_loop_is_refused(
    runs: Runs, tests: list[str], here: str, there: str, order: str
) -> None:
    """In auto mode every async fixture of a module lives in the loop of the test that was the first to use it."""
    runs.write(test_it=MADE)
    runs.pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = module\n")
    result = runs.run(*(f"test_it.py::{name}" for name in tests), plugins=order.format("asyncio"))
    result.assert_outcomes(passed=len(tests) - 1, errors=1)
    result.stdout.fnmatch_lines([f"The test runs in {here} event loop, and the fixture 'app' was made in {there}, *"])


PLAIN = """
import asyncio
import pytest
import pytest_asyncio

@pytest_asyncio.fixture(scope="session")
async def old_service():
    yield asyncio.get_running_loop()

@pytest_asyncio.fixture
async def client(echo_client, old_service):
    assert asyncio.get_running_loop() is old_service
    yield echo_client

async def test_old(old_service): ...

def test_old_plain(old_service): ...

@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
def test_plain(client):
    assert client.name == "a"

@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_async(client):
    assert await client.generate("hi")
"""


@pytest.mark.parametrize("order", [BEFORE_US, AFTER_US])
def test_a_plain_test_is_run_as_its_neighbours_are_in_auto_mode(runs: Runs, order: str) -> None:
    """Once, with the fixtures of session scope that it has shared with them all along; wherever it stands."""
    runs.write(test_it=PLAIN)
    scopes = "".join(f"asyncio_default_{what}_loop_scope = session\n" for what in ("fixture", "test"))
    runs.pytester.makeini(f"[pytest]\nasyncio_mode = auto\n{scopes}")
    assert_clean(runs.run(plugins=order.format("asyncio")), passed=4)
    assert_clean(runs.run("-k", "plain", plugins=order.format("asyncio")), passed=2)


def test_a_plain_test_is_told_to_be_async_in_strict_mode(runs: Runs) -> None:
    """A mark alone would not do: pytest-asyncio runs no plain ``def``."""
    runs.write(test_it=PLAIN)
    runs.pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = session\n")
    result = runs.run("-k", "test_plain", plugins=BEFORE_US.format("asyncio"))
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*Make the test an 'async def', and mark it with @pytest.mark.asyncio, and not*"])
