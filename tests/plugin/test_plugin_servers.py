"""Model servers in pytest: one start for all modules, event loops, workers and runs, and nothing left."""

from __future__ import annotations

import contextlib
import re

import pytest
from tests.forks import PIPE, STDOUT, Forks
from tests.plugin.light_servers import LightRuns, light
from tests.plugin.runs import assert_clean, counts

__all__ = ["light"]

STANDARD = """
    import pytest

    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("number", range({tests}))
    @pytest.mark.parametrize("light_client", {models!r}, indirect=True)
    async def test_answers(light_client, number):
        assert f"{{light_client.name}} of " in await light_client.generate("who are you?")
"""


def modules(light: LightRuns, count: int = 3, tests: int = 2, models: tuple[str, ...] = ("one",)) -> None:
    """Write test modules that all ask the same models."""
    light.write(**{f"test_{number}": STANDARD.format(tests=tests, models=list(models)) for number in range(count)})


def test_a_server_is_started_once_for_all_modules_and_event_loops(light: LightRuns) -> None:
    """Three modules on two backends have six providers, one after the other, and one server."""
    modules(light)
    result = light.run()
    assert_clean(result, passed=12)
    assert light.starts() == ["one"]
    assert counts(result)["light"]["opens"] == 6
    result.stdout.re_match_lines([r"1 server started:", r"  one \[server\]: ready after [\d.]+ s; it was not running"])
    assert light.left() == []


@pytest.mark.parametrize(("share", "starts"), [("user", 1), ("run", 1), ("off", 2)])
def test_workers_share_a_server_unless_they_are_told_not_to(light: LightRuns, share: str, starts: int) -> None:
    """`off` gives each process its own; with one slot they come one after the other."""
    modules(light, tests=8)
    result = light.run(f"--model-server-share={share}", "-n", "2", plugins="anyio doteval xdist")
    assert_clean(result, passed=48)
    if share == "off":
        assert len(light.starts()) >= starts
    else:
        assert light.starts() == ["one"] * starts
    assert light.left() == []


def test_the_next_run_finds_a_server_that_was_kept_alive(light: LightRuns, forks: Forks) -> None:
    """It says that nothing was started; when the time is over the server is gone."""
    modules(light, count=1)
    for _ in range(2):
        assert_clean(light.run("--model-server-keep-alive=30"), passed=4)
    assert light.starts() == ["one"]
    assert light.left() != []
    assert forks.run("-m", "doteval", "stop", "--all").returncode == 0
    assert light.left() == []


def test_two_runs_at_the_same_time_share_a_server(light: LightRuns, forks: Forks) -> None:
    """The one that ends last ends it."""
    modules(light, tests=20)
    command = ["-m", "pytest", "-p", "anyio", "-p", "doteval", "-q", "-p", "no:cacheprovider"]
    with contextlib.ExitStack() as both:
        runs = [
            both.enter_context(forks.start(*command, cwd=light.pytester.path, stdout=PIPE, stderr=STDOUT))
            for _ in range(2)
        ]
        for run in runs:
            output, _ = run.communicate()
            assert run.returncode == 0, output
    assert light.starts() == ["one"]
    assert light.left() == []


def test_tests_on_the_same_model_are_run_together(light: LightRuns) -> None:
    """Two models and one slot: two starts, though the tests are written and collected one by one."""
    modules(light, count=2, tests=5, models=("one", "two"))
    result = light.run()
    assert_clean(result, passed=40)
    assert light.starts() == ["one", "two"]
    assert light.left() == []


def test_with_loadgroup_a_model_stays_with_one_worker(light: LightRuns) -> None:
    """Three models, one slot, three workers: three starts."""
    modules(light, count=2, tests=3, models=("one", "two", "three"))
    result = light.run("-n", "3", "--dist", "loadgroup", "-rA", plugins="anyio doteval xdist")
    assert_clean(result, passed=36)
    assert sorted(light.starts()) == ["one", "three", "two"]
    assert light.left() == []
    shown = [line for line in result.outlines if line.startswith("PASSED")]
    assert len(shown) == 36
    if pytest.version_tuple[:2] >= (9, 2):  # before, pytest-xdist puts the groups into what is shown
        assert not [line for line in shown if not re.fullmatch(r"PASSED test_\d\.py::test_answers\[[\w-]+\]", line)]


def test_interleaved_workers_take_turns(light: LightRuns) -> None:
    """Three models, one slot, three workers, in whatever order: all get their turn, and the reasons are told."""
    modules(light, count=2, tests=3, models=("one", "two", "three"))
    result = light.run("-n", "3", plugins="anyio doteval xdist")
    assert_clean(result, passed=36)
    result.stdout.re_match_lines([rf"{len(light.starts())} servers started:"])
    assert light.left() == []


def test_a_server_that_dies_is_started_again_and_the_test_passes(light: LightRuns) -> None:
    """Once for a test, by default; the summary tells why there were two starts."""
    light.write(
        test_it="""
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        @pytest.mark.parametrize("light_client", ["one"], indirect=True)
        async def test_dies(light_client):
            assert "die" in await light_client.generate("die")
        """
    )
    result = light.run()
    assert_clean(result, passed=1)
    assert light.starts() == ["one", "one"]
    result.stdout.re_match_lines([r"  one \[server\]: ready after .*; the one before was killed by SIGKILL"])
    assert light.left() == []


def test_a_server_that_is_killed_between_two_tests_is_started_once_more(light: LightRuns) -> None:
    """Two models, one slot, twenty tests each: three starts in all, every test passes, and the summary says why."""
    light.write(
        test_it="""
        import os
        import signal

        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.mark.parametrize("number", range(10))
        @pytest.mark.parametrize("light_client", ["one", "two"], indirect=True)
        async def test_answers(light_client, number, anyio_backend):
            if (light_client.name, number, anyio_backend) == ("one", 5, "trio"):
                os.kill(light_client.server.pid, signal.SIGKILL)
            assert light_client.name in await light_client.generate("who are you?")
        """
    )
    result = light.run()
    assert_clean(result, passed=40)
    assert light.starts() == ["one", "one", "two"]
    result.stdout.re_match_lines(
        [
            "3 servers started:",
            r"  one \[server\]: ready after .* s; it was not running",
            r"  one \[server\]: ready after .* s; the one before was killed by SIGKILL .*",
            r"  two \[server\]: ready after .* s; it was not running",
        ]
    )
    assert light.left() == []


def test_without_restarts_the_test_fails_and_shows_what_the_server_printed(light: LightRuns) -> None:
    """The next test has a new server; the report of the failure has the output of the old one."""
    light.write(
        test_it="""
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.mark.parametrize("anyio_backend", ["trio"])
        @pytest.mark.parametrize("light_client", ["one"], indirect=True)
        @pytest.mark.parametrize("prompt", ["hello", "die", "again"])
        async def test_asks(light_client, prompt):
            await light_client.generate(prompt)
        """
    )
    result = light.run("--model-server-restarts=0")
    assert_clean(result, passed=2, failed=1)
    result.stdout.re_match_lines(
        [r"-* Output of the model server .*", "it was told to die"]
    )  # what was asked before may be there
    result.stdout.no_fnmatch_line("asked: again")
    assert light.starts() == ["one", "one"]


def test_a_server_that_cannot_start_fails_its_tests_with_one_try(light: LightRuns) -> None:
    """On both event loops; each failure has the same account: the exit code and the last lines."""
    modules(light, count=1, tests=3, models=("broken",))
    result = light.run()
    result.assert_outcomes(errors=6)
    result.stdout.re_match_lines([r".*The server of 'broken' exited with code 3 after .*, before it was ready\."])
    assert result.stdout.str().count("the weights of broken are not there") >= 6
    result.stdout.re_match_lines([r"1 server started:", r"  broken \[server\]: failed after .*"])


def test_where_a_run_is_interrupted_its_servers_end_before_its_fixtures_do(light: LightRuns) -> None:
    """These may hang; also where a second interrupt strikes before the first one was told to anybody."""
    light.write(
        conftest="""
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_keyboard_interrupt():
            raise KeyboardInterrupt
        """,
        test_it="""
        import os
        import pathlib
        import select

        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def hangs(light_client):
            watch = os.pidfd_open(light_client.server.pid)
            yield
            ended, _, _ = select.select([watch], [], [], 30)
            os.close(watch)
            pathlib.Path("seen.txt").write_text(f"the server has ended: {bool(ended)}")

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        @pytest.mark.parametrize("light_client", ["one"], indirect=True)
        async def test_it(light_client, hangs):
            raise KeyboardInterrupt
        """,
    )
    light.run(process=True)
    assert (light.pytester.path / "seen.txt").read_text() == "the server has ended: True"
    assert light.left() == []


def test_a_fixture_of_ones_own_uses_the_servers_of_the_run(light: LightRuns) -> None:
    """`model_servers` is the launcher, which outlives the event loops."""
    light.write(
        test_it="""
        import sys

        import pytest

        from doteval import ServerProvider

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        async def own(anyio_backend, model_servers):
            command = [sys.executable, "-m", "lightserver", "{spec}", "{port}"]
            async with ServerProvider(command, launcher=model_servers) as provider:
                yield provider

        @pytest.mark.parametrize("number", range(3))
        async def test_it(own, number):
            async with await own.setup("one") as handle:
                assert "one" in await handle.model.generate("hello")
        """
    )
    assert_clean(light.run(), passed=6)
    assert light.starts() == ["one"]
    assert light.left() == []


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (
            "--model-server-share=all",
            "--doteval-model-server-share (ini: doteval_model_server_share) is one of user, run, off, not 'all'",
        ),
        ("--model-server-keep-alive=soon", "is a number of seconds, 0 or more, not 'soon'"),
        ("--model-server-keep-alive=nan", "is a number of seconds, 0 or more, not 'nan'"),
        ("--model-server-restarts=-1", "is a number, 0 or more, not '-1'"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_an_error(light: LightRuns, option: str, says: str) -> None:
    """Before any test is run."""
    modules(light)
    result = light.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert says in result.stderr.str()
