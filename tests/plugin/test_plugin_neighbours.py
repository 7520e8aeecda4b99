"""The plugin beside the other plugins that run tests, in any order of loading."""

from __future__ import annotations

import pytest
from tests.plugin.runs import Runs, assert_clean, counts

OURS = """
import pytest

@pytest.mark.anyio
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_marked(echo_client, backend, anyio_backend_name):
    assert await echo_client.generate("hi") == f"a on {anyio_backend_name}: hi"
    assert backend == anyio_backend_name

@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_unmarked(echo_client, backend):
    assert await echo_client.generate("hi") == f"a on {backend}: hi"

class TestInAClass:
    @pytest.mark.parametrize("model_client", ["echo:a"], indirect=True)
    async def test_method(self, model_client, backend):
        assert await model_client.generate("hi") == f"a on {backend}: hi"
"""
CONFTEST = """
import pytest
from anyio.lowlevel import checkpoint, current_token

@pytest.fixture
async def backend():
    await checkpoint()
    yield "trio" if "Trio" in current_token().backend_class.__name__ else "asyncio"
    await checkpoint()
"""
ASYNCIO = """
import asyncio
import pytest
import pytest_asyncio

@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def loop():
    yield asyncio.get_running_loop()

@pytest.mark.asyncio(loop_scope="module")
async def test_of_pytest_asyncio(loop):
    assert asyncio.get_running_loop() is loop
"""
TRIO = """
import pytest
import trio

@pytest.mark.trio
async def test_of_pytest_trio(autojump_clock, nursery):
    await trio.sleep(3600)
    nursery.start_soon(trio.sleep, 1)
"""
ORDERS = ["{} anyio doteval", "anyio {} doteval", "doteval anyio {}", "doteval {} anyio"]
BOTH_WAYS = [ORDERS[0], ORDERS[2]]
# pytest-asyncio wants to know this, or warns.
LOOP_SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")


@pytest.mark.parametrize("order", BOTH_WAYS)
def test_beside_pytest_asyncio(runs: Runs, order: str) -> None:
    """In its strict mode everybody runs the tests that are marked for them."""
    runs.write(conftest=CONFTEST, test_ours=OURS, test_asyncio=ASYNCIO)
    result = runs.run(*LOOP_SCOPE, "-o", "asyncio_mode=strict", plugins=order.format("asyncio"))
    assert_clean(result, passed=7)
    assert counts(result)["echo"]["opens"] == 2


@pytest.mark.parametrize("order", ORDERS)
def test_beside_pytest_asyncio_in_auto_mode(runs: Runs, order: str) -> None:
    """Tests that are marked for anyio stay with it, on both backends; others are run by pytest-asyncio."""
    unmarked = """
async def test_of_pytest_asyncio_too(backend):
    assert backend == "asyncio"
    assert asyncio.get_running_loop()
"""
    runs.write(conftest=CONFTEST, test_ours=OURS, test_asyncio=ASYNCIO + unmarked)
    result = runs.run(*LOOP_SCOPE, "-o", "asyncio_mode=auto", "-v", plugins=order.format("asyncio"))
    assert_clean(result, passed=2 + 1 + 1 + 2)
    result.stdout.fnmatch_lines_random(["*test_marked*trio*PASSED*", "*test_unmarked?a? PASSED*"])
    assert counts(result)["echo"]["opens"] == 2 + 2


def test_a_test_that_is_marked_for_pytest_asyncio(runs: Runs) -> None:
    """Where it uses our fixtures, it runs on asyncio only, in one loop with the fixtures."""
    runs.write(
        test_it="""
        import asyncio
        import pytest

        @pytest.mark.asyncio
        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_marked(echo_client):
            assert asyncio.get_running_loop()
            assert await echo_client.generate("hi")
        """
    )
    for order in BOTH_WAYS:
        assert_clean(runs.run(*LOOP_SCOPE, plugins=order.format("asyncio")), passed=1)


@pytest.mark.parametrize("order", BOTH_WAYS)
def test_beside_pytest_trio(runs: Runs, order: str) -> None:
    """Everybody runs the tests that are marked for them; one marked for trio that uses our fixtures runs on trio."""
    marked = """
@pytest.mark.trio
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_with_model(echo_client):
    assert await echo_client.generate("hi") == "a on trio: hi"
"""
    runs.write(conftest=CONFTEST, test_ours=OURS, test_trio=TRIO + marked)
    assert_clean(runs.run(plugins=order.format("trio")), passed=6 + 2)


@pytest.mark.parametrize("order", ORDERS)
def test_beside_pytest_trio_in_trio_mode(runs: Runs, order: str) -> None:
    """Tests that are marked for anyio stay with it, on both backends; others are run by pytest-trio."""
    runs.write(conftest=CONFTEST, test_ours=OURS, test_trio=TRIO)
    result = runs.run("-o", "trio_mode=true", "-v", plugins=order.format("trio"))
    assert_clean(result, passed=2 + 1 + 1 + 1)
    result.stdout.fnmatch_lines_random(["*test_marked*asyncio*PASSED*", "*test_unmarked?a? PASSED*"])


@pytest.mark.parametrize(("order", "scope"), [("xdist anyio doteval", "module"), ("doteval anyio xdist", "session")])
def test_beside_xdist(runs: Runs, order: str, scope: str) -> None:
    """Every worker has its own providers, and the summary adds up all of them."""
    runs.write(conftest=CONFTEST, test_one=OURS, test_two=OURS)
    result = runs.run("-n2", "--dist=loadfile", "--model-provider-scope", scope, plugins=order)
    assert_clean(result, passed=12)
    assert counts(result)["echo"] == {"opens": 4, "leases": 12, "reuses": 8, "failures": 0}


DOTEVALS = """
from dotevals import foreach
from dotevals.evaluators import exact_match
from dotevals.results import Result

@foreach("question,answer", [("a", "a"), ("b", "b")])
def eval_of_dotevals(question, answer):
    return Result(exact_match(question, answer))

@foreach("question,answer", [("a", "a"), ("b", "b")])
async def eval_of_dotevals_async(question, answer):
    return Result(exact_match(question, answer))
"""


@pytest.mark.parametrize("order", BOTH_WAYS)
def test_beside_dotevals(runs: Runs, order: str) -> None:
    """Its evaluations and our tests run in one session, and its options are its own."""
    runs.write(conftest=CONFTEST, test_ours=OURS, eval_dotevals=DOTEVALS)
    result = runs.run(
        "--experiment=one",
        "--samples=2",
        "--concurrent",
        "--model=echo:x",
        plugins=order.format("dotevals"),
        strict=False,
    )
    assert_clean(result, passed=8)
    assert counts(result)["echo"]["leases"] == 6


@pytest.mark.parametrize("order", ["llmock anyio doteval", "doteval anyio llmock"])
def test_beside_llmock(runs: Runs, order: str) -> None:
    """The server that its fixture starts answers through our OpenAI and Anthropic providers, over real HTTP."""
    runs.write(
        test_it="""
        import pytest

        @pytest.mark.anyio
        @pytest.mark.parametrize("model_client", ["gpt-4o", "anthropic:claude-test"], indirect=True)
        async def test_real_http(llmock, model_client):
            llmock.reply("Paris")
            assert "Paris" in await model_client.generate("What is the capital of France?")
        """
    )
    result = runs.run(plugins=order)
    assert_clean(result, passed=4)
    assert counts(result)["openai"]["opens"] == counts(result)["anthropic"]["opens"] == 2


def test_all_of_them_together(runs: Runs) -> None:
    """As they load themselves where they are all installed."""
    runs.write(conftest=CONFTEST, test_ours=OURS, test_asyncio=ASYNCIO, test_trio=TRIO, eval_dotevals=DOTEVALS)
    plugins = "asyncio trio dotevals xdist doteval llmock anyio"
    result = runs.run(*LOOP_SCOPE, "-n2", plugins=plugins, strict=False)
    result.assert_outcomes(passed=6 + 1 + 1 + 2)
