"""The command line and the ini file: ``--model``, base URLs, concurrency, missing credentials, the summary."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.plugin.runs import Runs, assert_clean, counts

from doteval.pytest_plugin._setting import refuse_empty_values

ONE_BACKEND = """
    import pytest

    pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""


def test_model_parametrises_what_asks_for_model_client(runs: Runs) -> None:
    """Every test that chooses no model runs once for each model of the command line; the same one twice counts once."""
    runs.write(
        conftest="""
        import pytest

        @pytest.fixture
        def shouting_client(model_client):
            return model_client.name.upper()
        """,
        test_it=ONE_BACKEND
        + """
    async def test_direct(model_client):
        assert await model_client.generate("hi")

    def test_through_a_fixture(shouting_client):
        assert shouting_client in ("ONE", "ECHO-2")

    def test_without(anyio_backend): ...
    """,
    )
    result = runs.run("-v", "--model", "echo:one", "--model=echo-2", "--model", "echo:one")
    assert_clean(result, passed=5)
    result.stdout.fnmatch_lines_random(
        ["*test_direct?asyncio-echo:one? PASSED*", "*test_direct?asyncio-echo-2? PASSED*"]
    )


def test_model_leaves_alone_who_has_chosen(runs: Runs) -> None:
    """A marker, a fixture with parameters, a fixture of one's own, or another plugin's hook comes first."""
    runs.write(
        conftest="""
        def pytest_generate_tests(metafunc):
            if metafunc.function.__name__ == "test_hook":
                metafunc.parametrize("model_client", ["echo:hook"], indirect=True)
        """,
        test_it=ONE_BACKEND
        + """
    @pytest.mark.parametrize("model_client", ["echo:marker"], indirect=True)
    async def test_marker(model_client):
        assert model_client.name == "marker"

    async def test_hook(model_client):
        assert model_client.name == "hook"

    @pytest.mark.parametrize("model_client", ["a value"])
    async def test_value(model_client, anyio_backend):
        assert model_client == "a value"

    class TestFixtureWithParameters:
        @pytest.fixture(params=["a", "b"])
        def model_client(self, request):
            return request.param

        async def test_it(self, model_client, anyio_backend):
            assert model_client in ("a", "b")

    class TestFixtureOfItsOwn:
        @pytest.fixture
        def model_client(self):
            return "mine"

        async def test_it(self, model_client, anyio_backend):
            assert model_client == "mine"

    class TestFixtureThatBuildsOnOurs:
        @pytest.fixture
        def model_client(self, model_client):
            return model_client.name + "!"

        async def test_it(self, model_client, anyio_backend):
            assert model_client == "option!"
    """,
    )
    assert_clean(runs.run("--model=echo:option"), passed=7)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--model=echo:"],
            "*--doteval-model: 'echo:' is not a model spec: it names the provider 'echo' but no model*",
        ),
        (["--model-setting=echo=3"], "*--doteval-model-setting: 'echo=3' is not of the form NAME.KEY=VALUE*"),
        (["--model-setting=echo.max_concurrency"], "*--doteval-model-setting: *is not of the form NAME.KEY=VALUE*"),
        (["--model-setting=ehco.x=1"], "*--doteval-model-setting: no provider is registered as 'ehco'; *: *echo*"),
        (["--model-base-url=echo"], "*--doteval-model-base-url: 'echo' is not of the form NAME=URL*"),
        (
            ["--model-base-url=ehco=http://x"],
            "*--doteval-model-base-url: no provider is registered as 'ehco'; *: *echo*",
        ),
        (
            ["--model-concurrency=0"],
            "*--doteval-model-concurrency (ini: doteval_model_concurrency) is a number, 1 or more, not '0'*",
        ),
        (["--model-concurrency=two"], "*--doteval-model-concurrency*not 'two'*"),
        (
            ["--model-provider-scope=class"],
            "*--doteval-model-provider-scope (ini: doteval_model_provider_scope) is one of session, *",
        ),
        (
            ["--missing-credentials=ignore"],
            "*--doteval-missing-credentials (ini: doteval_missing_credentials) is one of error, skip*",
        ),
        (["-o", "doteval_model_provider_scope=package"], "*is one of session, module, function, not 'package'*"),
        (
            ["-o", "doteval_model_base_url=nonsense"],
            "*doteval_model_base_url in the ini file: 'nonsense' is not of the form*",
        ),
    ],
)
def test_a_wrong_value_is_a_usage_error(runs: Runs, arguments: list[str], complaint: str) -> None:
    """Pytest ends at once, and one line says what is wrong and what would be right."""
    result = runs.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([complaint])


def test_an_option_that_is_given_nothing_is_a_usage_error(pytestconfig: pytest.Config) -> None:
    """Each of ours that takes a value, once or often, and blanks: a variable of CI that is not set costs nothing."""
    taking = {name: given for name, given in vars(pytestconfig.option).items() if name.startswith("doteval_")}
    taking = {name: given for name, given in taking.items() if not isinstance(given, bool)}
    assert len(taking) > 25
    for name in taking:
        option = f"--{name.replace('_', '-')} is given nothing, as where a variable"
        for given in ("", " \t", [""], ["x", " "]):
            config: Any = SimpleNamespace(option=SimpleNamespace(**{name: given, "other": ""}))
            with pytest.raises(pytest.UsageError, match=re.escape(option)):
                refuse_empty_values(config)
    refuse_empty_values(pytestconfig)


@pytest.mark.parametrize("option", ["--model", "--eval-baseline"])
def test_pytest_ends_where_an_option_is_given_nothing(runs: Runs, option: str) -> None:
    """Also of one that has a short name."""
    result = runs.run(f"{option}=")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--doteval-{option[2:]} is given nothing*"])


def test_pytest_ends_before_anything_where_no_experiment_may_have_the_name(runs: Runs) -> None:
    """It would be taken for a part of another one."""
    result = runs.run("--eval-experiment", "nightly@gpt-4o")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--doteval-eval-experiment: an experiment has no @ in its name*"])


SETTINGS = (
    ONE_BACKEND
    + """
    @pytest.mark.parametrize("echo_client", ["x"], indirect=True)
    async def test_settings(echo_client, model_providers):
        assert echo_client.provider.base_url == "http://127.0.0.1:1/v1"
        assert echo_client.provider.max_concurrency == 3
        assert model_providers["other"].setup  # takes neither
    """
)
OTHER = """
from echopkg import EchoProvider

class OtherProvider(EchoProvider):
    def __init__(self):
        super().__init__()
"""


@pytest.mark.parametrize("by_ini", [False, True])
def test_base_url_and_concurrency_reach_the_provider(runs: Runs, by_ini: bool) -> None:
    """The URL goes to the provider it is for, the concurrency to all that take one; from both places."""
    runs.install("otherpkg", {"other": "otherpkg:OtherProvider"}, otherpkg=OTHER)
    runs.write(test_it=SETTINGS)
    if by_ini:
        runs.pytester.makeini(
            """
            [pytest]
            doteval_model_base_url =
                openai = http://127.0.0.1:2/v1
                echo = http://127.0.0.1:1/v1
            doteval_model_concurrency = 3
            """
        )
        assert_clean(runs.run(), passed=1)
    else:
        assert_clean(runs.run("--model-base-url=echo=http://127.0.0.1:1/v1", "--model-concurrency=3"), passed=1)


@pytest.mark.parametrize(
    "line", ["doteval_model_concurrency = 3", 'doteval_model_concurrency = "3"', "doteval_eval_patience = 0"]
)
@pytest.mark.parametrize("table", ["tool.pytest", "tool.pytest.ini_options"])
@pytest.mark.skipif(pytest.version_tuple < (9, 2), reason="pytest before 9.2 takes texts only in [tool.pytest]")
def test_a_number_in_a_toml_file_is_a_number(runs: Runs, line: str, table: str) -> None:
    """With quotes and without, in the table with types and in that of texts; 0 is one, too."""
    runs.write(
        test_it="""
        def test_it(pytestconfig):
            ini = pytestconfig.getini
            assert (str(ini("doteval_model_concurrency")), str(ini("doteval_eval_patience"))) in (("3", ""), ("", "0"))
        """
    )
    runs.pytester.makepyprojecttoml(f"[{table}]\n{line}\n")
    assert_clean(runs.run(), passed=1)


def test_the_command_line_wins_over_the_ini_file(runs: Runs) -> None:
    """What is typed last counts."""
    runs.write(test_it=SETTINGS.replace("other", "echo"))
    runs.pytester.makeini(
        "[pytest]\ndoteval_model_base_url = echo=http://wrong\ndoteval_model_concurrency = 7\n"
        "doteval_model_provider_scope = session\n"
    )
    result = runs.run(
        "--model-base-url=echo=http://127.0.0.1:1/v1", "--model-concurrency=3", "--model-provider-scope=function"
    )
    assert_clean(result, passed=1)


CREDENTIALS = (
    ONE_BACKEND
    + """
    @pytest.mark.parametrize("openai_client", ["gpt-4o"], indirect=True)
    async def test_openai(openai_client): ...

    @pytest.mark.parametrize("model_client", ["claude-sonnet-4-5"], indirect=True)
    async def test_anthropic(model_client): ...

    @pytest.mark.parametrize("model_client", ["echo:unopenable"], indirect=True)
    async def test_another_failure(model_client): ...
    """
)


def test_missing_credentials_are_errors(runs: Runs) -> None:
    """Unless it is said otherwise, a model without an API key is an error that names the variable."""
    runs.write(test_it=CREDENTIALS)
    result = runs.run()
    assert_clean(result, errors=3)
    result.stdout.fnmatch_lines_random(["*OPENAI_API_KEY*", "*ANTHROPIC_API_KEY*", "*nobody there*"])


@pytest.mark.parametrize("arguments", [["--missing-credentials=skip"], ["-o", "doteval_missing_credentials=skip"]])
def test_missing_credentials_can_be_skipped(runs: Runs, arguments: list[str]) -> None:
    """The test is skipped with the message; other failures stay failures."""
    runs.write(test_it=CREDENTIALS)
    result = runs.run("-rs", *arguments)
    assert_clean(result, skipped=2, errors=1)
    result.stdout.fnmatch_lines_random(["SKIPPED*OpenAIProvider has no API key*", "SKIPPED*AnthropicProvider has no*"])


def test_the_summary_adds_up_modules_backends_and_failures(runs: Runs) -> None:
    """One line a provider; without the option there is none."""
    runs.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("echo_client", ["a", "unopenable"], indirect=True)
        async def test_echo(echo_client): ...
        """,
        test_other="""
        import pytest

        @pytest.mark.parametrize("echo_client", ["a", "a again"], indirect=True)
        async def test_echo(echo_client): ...
        """,
    )
    result = runs.run()
    assert_clean(result, passed=6, errors=2)
    assert counts(result) == {"echo": {"opens": 6, "leases": 6, "reuses": 0, "failures": 2}}
    without = runs.run(strict=False, summary=False)
    assert "model providers" not in without.stdout.str()


def test_the_summary_says_how_long_was_opened_and_waited(runs: Runs) -> None:
    """To the second, as time is virtual: openings, a queue, a wait that times out, and one that is cancelled."""
    runs.install(
        "slowpkg",
        {"slow": "slowpkg:SlowProvider"},
        slowpkg="""
        from contextlib import asynccontextmanager

        from anyio import sleep
        from doteval import PooledProvider

        class SlowProvider(PooledProvider[str]):
            def __init__(self):
                super().__init__(capacity=1, setup_timeout=60)

            @asynccontextmanager
            async def open(self, spec):
                await sleep(float(spec))
                yield spec
        """,
    )
    runs.write(
        test_it="""
        import pytest
        from anyio import create_task_group, move_on_after, sleep
        from tests.virtual_time import virtual_time

        from doteval import SetupTimeoutError

        pytestmark = [pytest.mark.anyio, virtual_time]

        async def lease(providers, spec, seconds):
            async with providers.setup(f"slow:{spec}"):
                await sleep(seconds)

        async def test_it(model_providers):
            async with create_task_group() as tasks:
                tasks.start_soon(lease, model_providers, 2, 10)  # waits for its opening: 2 s
                await sleep(1)
                tasks.start_soon(lease, model_providers, 3, 0)  # in the queue until 12, opened until 15: 14 s
            async with model_providers.setup("slow:3"):  # open: no wait
                with move_on_after(5):
                    async with create_task_group() as tasks:
                        tasks.start_soon(lease, model_providers, 4, 0)  # cancelled after 5 s
        async def test_timeout(model_providers):
            with pytest.raises(SetupTimeoutError):
                await model_providers.setup("slow:70")  # 60 s; an opening that was called off is none
        """,
    )
    result = runs.run()
    assert_clean(result, passed=4)
    # On each of two loops: 2 + 3 s of opening, 2 + 14 + 5 + 60 s of waiting.
    result.stdout.fnmatch_lines(["slow: 4 opens, 6 leases, 2 reuses, 10.00 s set-up, 162.00 s waited, 0 failures"])


def test_the_summary_of_a_run_without_models(runs: Runs) -> None:
    """It says that none was used."""
    runs.write(test_it="def test_nothing(): ...")
    runs.run().stdout.fnmatch_lines(["*model providers*", "none was used"])


def test_settings_of_a_provider_come_from_the_command_line_and_the_ini_file(runs: Runs) -> None:
    """A value is JSON, or else a text; the command line wins over the ini file, and several go together."""
    runs.write(
        test_it=ONE_BACKEND
        + """
    @pytest.mark.parametrize("echo_client", ["one"], indirect=True)
    async def test_it(echo_client):
        assert echo_client.provider.max_concurrency == 4
        assert echo_client.provider.base_url == "echo on line"
    """,
    )
    runs.pytester.makeini(
        "[pytest]\ndoteval_model_setting =\n    echo.max_concurrency=3\n    echo.base_url = echo on line"
    )
    assert_clean(runs.run("--model-setting=echo.max_concurrency=4"), passed=1)


def test_a_setting_that_a_provider_does_not_have_is_told_by_the_provider(runs: Runs) -> None:
    """The test that asks for it fails; the error names the provider and the argument."""
    runs.write(
        test_it=ONE_BACKEND
        + """
    @pytest.mark.parametrize("echo_client", ["one"], indirect=True)
    async def test_it(echo_client): ...
    """,
    )
    result = runs.run("--model-setting=echo.colour=red")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["The provider 'echo' cannot be loaded: *colour*", "Correct what it was given: colour.*of echopkg*"]
    )


@pytest.mark.parametrize("how", ["off", "warn", "error"])
def test_a_test_that_leaves_a_lease_behind_is_told(runs: Runs, how: str) -> None:
    """It, and neither the next one nor one whose fixtures hold something; with the line of its `setup()`."""
    runs.write(
        test_it=ONE_BACKEND
        + """
    KEPT = []

    @pytest.fixture(scope="module")
    async def held(anyio_backend, model_providers):
        async with model_providers.setup("echo:held") as handle:
            yield handle

    async def test_keeps(model_providers):
        KEPT.append(await model_providers.setup("echo:kept"))

    async def test_is_careful(held, model_client, model_providers):
        async with model_providers.setup("echo:careful") as handle:
            assert handle.is_active

    async def test_drops(model_providers):
        await model_providers.setup("echo:dropped")

    async def test_has_a_provider_of_its_own(anyio_backend):
        from doteval.testing import FakeProvider
        async with FakeProvider() as provider:
            kept = await provider.setup("a")

    async def test_last(model_providers):
        KEPT.append(await model_providers.setup("echo:last"))
    """
    )
    result = runs.run("--model", "echo:one", f"--model-leaks={how}", "-rE", "-W", "default", strict=False)
    printed = result.stdout.str()
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes.get("errors", 0)) == (5, 3 if how == "error" else 0)
    told = dict(re.findall(r"'(\w+)': task .* set it up in .*test_it.py:(\d+)", printed))
    lines = Path("test_it.py").read_text("utf-8").splitlines()
    expected = {} if how == "off" else {name: where(lines, f"echo:{name}") for name in ("kept", "dropped", "last")}
    assert told == expected
    assert ("ModelLeakWarning" in printed) is (how == "warn")


def where(lines: list[str], text: str) -> str:
    return str(next(number for number, line in enumerate(lines, 1) if text in line))
