"""What goes wrong in a model stays with the tests that use it."""

from __future__ import annotations

import pytest
from tests.plugin.runs import Runs, assert_clean, counts


def test_a_failing_teardown_is_an_error_and_nothing_more(runs: Runs) -> None:
    """The last test of the module and backend has the error; the tests of later modules do not notice."""
    runs.write(
        test_a="""
        import pytest

        @pytest.mark.parametrize("echo_client", ["unclosable", "fine"], indirect=True)
        async def test_it(echo_client):
            assert await echo_client.generate("hi")
        """,
        test_b="""
        import pytest

        @pytest.mark.parametrize("echo_client", ["fine"], indirect=True)
        async def test_it(echo_client):
            assert await echo_client.generate("hi")
        """,
    )
    result = runs.run("-v")
    assert_clean(result, passed=6, errors=2)
    result.stdout.fnmatch_lines_random(
        [
            "*ERROR at teardown of test_it?asyncio-fine?*",
            "*ERROR at teardown of test_it?trio-fine?*",
            "*closing the model providers failed*",
            "*OSError: the door is stuck*",
        ]
    )
    assert counts(result)["echo"] == {"opens": 6, "leases": 6, "reuses": 0, "failures": 2}


def test_a_model_that_cannot_be_opened_fails_its_own_tests(runs: Runs) -> None:
    """Each has the error with the cause; the others, in the same event loop, pass."""
    runs.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("echo_client", ["unopenable", "fine", "unopenable too", "also fine"], indirect=True)
        async def test_it(echo_client):
            assert await echo_client.generate("hi")
        """
    )
    result = runs.run()
    assert_clean(result, passed=4, errors=4)
    result.stdout.fnmatch_lines(["*Failed to setup resource 'unopenable': OSError: nobody there*"])


def test_a_model_that_breaks_down_does_not_break_later_tests(runs: Runs) -> None:
    """Its lease says why it ended, the next test gets a new one, and the runner of anyio stays alive."""
    runs.write(
        test_it="""
        import anyio.lowlevel
        import pytest
        from doteval import HandleInactiveError

        pytestmark = pytest.mark.anyio

        async def test_breaks(echo_provider):
            async with await echo_provider.setup("a") as handle:
                handle.model.break_down()
                with anyio.fail_after(60):
                    while handle.is_active or echo_provider.statistics().closing:
                        await anyio.lowlevel.checkpoint()
                with pytest.raises(HandleInactiveError, match="the model broke down"):
                    handle.model

        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_after(echo_client):
            assert await echo_client.generate("hi")
        """
    )
    result = runs.run()
    assert_clean(result, passed=4)
    assert counts(result)["echo"]["opens"] == 4


CRASHING = """
import anyio
from doteval import ModelHandle, ModelProvider


class CrashingProvider(ModelProvider):
    async def __aenter__(self):
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        return self

    async def __aexit__(self, *exc_info):
        self.group.cancel_scope.cancel()
        return await self.group.__aexit__(*exc_info)

    async def setup(self, spec):
        async def crash():
            raise ConnectionError("the provider crashed")

        if spec == "bad":
            self.group.start_soon(crash)
        return ModelHandle(spec, spec, self)

    async def teardown(self, resource_id): ...
"""


def test_a_provider_that_crashes_in_the_background_does_not_break_later_tests(runs: Runs) -> None:
    """A task group that a provider holds open is not in anyio's runner; what broke it is told when the loop ends."""
    runs.install("crashpkg", {"crash": "crashpkg:CrashingProvider"}, crashpkg=CRASHING)
    runs.write(
        test_it="""
        import anyio.lowlevel
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.mark.parametrize("crash_client", ["bad", "good", "better"], indirect=True)
        async def test_it(crash_client, echo_provider):
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            async with await echo_provider.setup("a") as handle:
                assert await handle.model.generate("hi")
        """
    )
    result = runs.run()
    assert_clean(result, passed=6, errors=2)
    result.stdout.fnmatch_lines(["*ConnectionError: the provider crashed*"])
    assert counts(result)["echo"] == {"opens": 2, "leases": 6, "reuses": 4, "failures": 0}


def test_fixtures_that_are_finalised_in_another_order(runs: Runs) -> None:
    """A wide fixture that is set up late outlives a narrow one that was set up early; neither minds."""
    runs.write(
        conftest="""
        import anyio
        import pytest

        @pytest.fixture
        async def early(anyio_backend):
            async with anyio.create_task_group() as group:
                yield group
                group.cancel_scope.cancel()

        @pytest.fixture
        async def early_lease(model_providers):
            handle = await model_providers.setup("echo:early")
            yield handle.model
            await handle.teardown()

        @pytest.fixture
        def late(early, request):
            return request.getfixturevalue("echo_provider")
        """,
        test_it="""
        import pytest

        pytestmark = pytest.mark.anyio

        async def test_one(late, early):
            async with await late.setup("a") as handle:
                assert await handle.model.generate("hi")

        async def test_two(early_lease, late):
            async with await late.setup("a") as handle:
                assert await handle.model.generate("hi")
            assert await early_lease.generate("hi")
        """,
    )
    result = runs.run()
    assert_clean(result, passed=4)
    assert counts(result)["echo"]["opens"] == 4


def test_a_failing_test_releases_its_model(runs: Runs) -> None:
    """The lease ends with the test, whatever the test's end was."""
    runs.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_fails(echo_client):
            assert False

        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_skips(echo_client):
            pytest.skip("enough")

        @pytest.mark.anyio
        async def test_after(echo_provider):
            assert echo_provider.statistics().active_leases == 0
        """
    )
    assert_clean(runs.run(), failed=2, skipped=2, passed=2)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_interrupt_closes_what_is_open(runs: Runs, backend: str) -> None:
    """After Ctrl-C in the middle of a test everything is closed, and pytest ends as it always does then."""
    runs.write(
        test_it=f"""
        import os
        import signal
        import anyio
        import pytest

        pytestmark = pytest.mark.parametrize("anyio_backend", ["{backend}"])

        @pytest.fixture(scope="session", autouse=True)
        def last_look():
            yield
            import echopkg
            print("still open:", len(echopkg.live))

        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_interrupted(echo_client):
            await anyio.to_thread.run_sync(os.kill, os.getpid(), signal.SIGINT)
            await anyio.sleep(20)

        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_never_reached(echo_client):
            print("reached")
        """
    )
    result = runs.run("-s", process=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    output, errors = result.stdout.str(), result.stderr.str()
    assert "still open: 0" in output
    assert "reached" not in output
    assert "echo: 1 opens, 1 leases" in output
    assert "Traceback" not in errors


SHOWN = """
import pytest
from doteval import PooledProvider
from contextlib import asynccontextmanager

class Mine(PooledProvider):
    @asynccontextmanager
    async def open(self, spec):
        local = "a value of mine"
        raise ConnectionError("nobody is there")
        yield

async def lease():
    async with Mine() as provider:
        await provider.setup("a-model")

@pytest.mark.anyio
async def test_alone():
    await lease()

@pytest.mark.anyio
async def test_that():
    try:
        raise ValueError("something else")
    except ValueError:
        await Mine().setup("a-model")

@pytest.mark.xfail(strict=True, raises=ZeroDivisionError)
@pytest.mark.anyio
async def test_other():
    await lease()

@pytest.mark.parametrize("openai_client", ["gpt-4o"], indirect=True)
async def test_fixture(openai_client): ...
"""
OURS = ("_pool", "_runtime.py", "contextlib.py", "anyio/")


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (
            [],
            [
                ">       raise ConnectionError(*",
                "*direct cause*",
                ">   * await lease()",
                "test_it.py:14: ModelSetupError",
            ],
        ),
        (["--tb=long"], [">       raise ConnectionError(*", "*direct cause*", "test_it.py:14: ModelSetupError"]),
        (
            ["--tb=short"],
            ["test_it.py:9: in open", "test_it.py:18: in test_alone", "test_it.py:14: in lease", "E   *"],
        ),
        (["--tb=short", "--showlocals"], ["*local * = 'a value of mine'"]),
        (["--tb=line"], ["*test_it.py:14: ConnectionError: nobody is there"]),
        (["--tb=no"], []),
    ],
)
def test_an_error_of_ours_is_shown_without_our_frames(runs: Runs, options: list[str], lines: list[str]) -> None:
    """In each style: the frames of the user, those of what caused it included, and the cause in the last line."""
    runs.write(test_it=SHOWN)
    result = runs.run("-k", "alone and asyncio", *options)
    result.assert_outcomes(failed=1, deselected=7)
    result.stdout.fnmatch_lines([*lines, "FAILED test_it.py::test_alone?asyncio? - ConnectionError: nobody is there*"])
    assert not any(words in result.stdout.str() for words in OURS)


@pytest.mark.parametrize("option", ["--full-trace", "--tb=native"])
def test_who_asks_for_everything_gets_it(runs: Runs, option: str) -> None:
    """The way through doteval, too."""
    runs.write(test_it=SHOWN)
    result = runs.run("-k", "alone and asyncio", option)
    assert all(words in result.stdout.str() for words in OURS[:2])
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_alone?asyncio? - ConnectionError: nobody is there*"])


def test_what_else_pytest_knows_of_an_error_stays(runs: Runs) -> None:
    """What it was raised beside, what was expected of it, reports of other kinds; a fixture has the message only."""
    runs.write(test_it=SHOWN)
    result = runs.run("-k", "asyncio", "--junit-xml", "report.xml")
    result.assert_outcomes(failed=3, errors=1, deselected=4)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_fixture*",
            "Failed to setup resource 'gpt-4o': OpenAIProvider has no API key",
            "Set the environment variable OPENAI_API_KEY, *",
            "*_ test_that?asyncio? _*",
            "E *ValueError: something else",
            "During handling of the above exception, another exception occurred:",
            "ERROR test_it.py::test_fixture?asyncio-gpt-4o? - OpenAIProvider has no API key*",
        ]
    )
    report = (runs.pytester.path / "report.xml").read_text()
    assert "OpenAIProvider has no API key" in report
    assert "_pool" not in report


def test_other_plugins_are_not_in_the_way(runs: Runs) -> None:
    """Those that look at every fixture and every test are in between, too."""
    runs.write(test_it=SHOWN)
    result = runs.run(
        "-k", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function",
        plugins="anyio asyncio trio doteval", strict=False,
    )  # fmt: skip
    result.assert_outcomes(failed=3, errors=1, deselected=4)
    assert "plugin.py" not in result.stdout.str()
    result.stdout.fnmatch_lines(
        ["*ERROR at setup of test_fixture*", "Failed to setup resource 'gpt-4o': *"], consecutive=True
    )


CAUSES = {
    "nothing": "raise error",
    "never raised": "raise error from OSError('line cut')",
    "raised": "try: open('/nope')\n    except OSError as exc: raise error from exc",
    "meanwhile": "try: open('/nope')\n    except OSError: raise error",
    "in a ring": "other = OSError('a'); other.__cause__ = error; raise error from other",
    "a group, never raised": "raise error from ExceptionGroup('two', [OSError('a'), ValueError('b')])",
    "no words": "class Odd(Exception):\n        def __str__(self): return ''\n    raise error from Odd()",
    "a fake's script": "model = FakeModel('m', replies=[OSError('line cut')]); await model.generate('a')",
}


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native", "no"])
def test_whatever_led_to_an_error_of_ours_ends_no_run(runs: Runs, style: str) -> None:
    """Each is one test that fails, in each style, whoever runs it; those after it run."""
    runs.write(
        test_it="""
        import pytest
        import unittest
        from doteval import ModelRequestError
        from doteval.testing import FakeModel
        """
        + "".join(
            f"""
async def test_{number}():
    error = ModelRequestError("m", "it broke", "Do this.")
    {code}

class Test{number}(unittest.IsolatedAsyncioTestCase):
    async def test_it(self):
        await test_{number}()
""".replace("\n", "\n        ")
            for number, code in enumerate(CAUSES.values())
        )
        + """
        def test_last():
            pass
        """
    )
    result = runs.run(f"--tb={style}", "-p", "no:cacheprovider", "-q")
    assert "INTERNALERROR" not in str(result.outlines)
    found = result.parseoutcomes()
    assert found["passed"] == 1
    assert found["failed"] in (2 * len(CAUSES), 3 * len(CAUSES))  # on each backend, or on one


IN_A_GROUP = """
from contextlib import asynccontextmanager

import anyio
import pytest
from doteval import PooledProvider

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

class Provider(PooledProvider):
    @asynccontextmanager
    async def open(self, spec):
        if spec == "unopenable":
            raise OSError("nobody there")
        yield spec
        raise OSError("the door is stuck")

async def ask(provider):
    await provider.setup("unopenable")

async def test_in_a_task_group(model_providers):
    async with Provider() as provider, anyio.create_task_group() as outer, anyio.create_task_group() as inner:
        inner.start_soon(ask, provider)

async def test_closing(model_providers):
    async with Provider() as provider:
        async with provider.setup("unclosable"):
            pass

async def test_a_group_of_somebody_elses(model_providers):
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, "long")
"""


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "no", "native"])
def test_a_group_shows_the_frames_of_the_user_also_in_its_members(runs: Runs, style: str) -> None:
    """Where it has come out of doteval, or an error of doteval's is in it; all of them in native style."""
    runs.write(test_it=IN_A_GROUP)
    output = runs.run(f"--tb={style}").stdout.str()
    ours, others = output.split("test_a_group_of_somebody_elses", 1) if style in ("auto", "long", "short") else ("", "")
    if ours:
        assert ours.count("in ask") == 1  # of what is in a group that is in a group
        assert "| OSError: the door is stuck" in ours
        assert "site-packages" not in ours
        assert "/doteval/" not in ours
        assert "site-packages" in others  # none of our business
    if style == "native":
        assert "/doteval/_pooled.py" in output
    assert output.count("test_it.py::test_in_a_task_group[asyncio] - OSError: nobody there") == 1


WRAPPED = """
import anyio
import pytest
from doteval import ModelRequestError
from doteval.evals import run
from doteval import Result, foreach

class AgentError(Exception):
    pass

async def refused():
    raise ModelRequestError("m", "the account has no quota left", "Look.", status=401)

@foreach("how", ["from", "without", "group"])
async def row(how):
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(refused)
    except ExceptionGroup as exc:
        if how == "from":
            raise AgentError("the agent gave up") from exc.exceptions[0]
        if how == "without":
            raise AgentError("the agent gave up")
        raise

@pytest.mark.parametrize("how", ["from", "without", "group"])
def test_it(how):
    anyio.run(lambda: run(row, row=["from", "without", "group"].index(how)))
"""


def test_an_error_that_was_made_of_ours_is_shown_with_its_cause_and_without_our_frames(runs: Runs) -> None:
    """With ``from`` or without, or of a group; the user's own lines are there, and the last line has the cause."""
    runs.write(test_it=WRAPPED)
    output = runs.run().stdout.str()
    assert output.count("- the account has no quota left") == 3
    assert output.count("It has ended the evaluation") == 3
    assert output.count('raise AgentError("the agent gave up") from') >= 1
    assert "site-packages" not in output.partition("short test summary")[0]
    assert "_running" not in output
