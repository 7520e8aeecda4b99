"""The demo, which is the first thing that a newcomer runs: what it prints is there and true, and it leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from tests.forks import PIPE, Fork, Forks

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"

SECRET = "sk-the-users-own-key"


def inherited() -> dict[str, str]:
    """The environment of a newcomer, who may well have a key in it."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "LLMOCK_"))}
    return {**usual, "OPENAI_API_KEY": SECRET, "ANTHROPIC_API_KEY": SECRET}


def server_of(output: str) -> tuple[int, int]:
    """Port and process id of the mock server."""
    found = re.search(r"http://127\.0\.0\.1:(\d+) \(process (\d+)\)", output)
    assert found is not None, output
    return int(found[1]), int(found[2])


def assert_gone(port: int, pid: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


@contextmanager
def forked(forks: Forks, **environment: str) -> Iterator[tuple[Fork, IO[str]]]:
    """The demo, with its imports done, and the file that its errors go to."""
    with tempfile.TemporaryFile("w+") as errors:
        env = {**inherited(), **environment}
        with forks.start(str(DEMO), env=env, stdout=PIPE, stderr=errors, start_new_session=True) as process:
            yield process, errors


def test_it_shows_the_main_job_on_both_backends(forks: Forks) -> None:
    """Which models, how many opens and leases, the replies, and that all was closed; nobody's key is used or shown.

    The command as it is typed is run by ``nox -s demo``.
    """
    with forked(forks) as (process, file):
        output, _ = process.communicate(timeout=120)
        file.seek(0)
        errors = file.read()
    assert process.returncode == 0, output + errors
    assert errors == ""
    assert SECRET not in output
    for backend in ("asyncio", "trio"):
        (part,) = re.findall(rf"^{backend}: .*?(?=^\w)", output, re.MULTILINE | re.DOTALL)
        for model, provider in (
            ("gpt-4o", "OpenAIProvider"),
            ("gpt-4o-mini", "OpenAIProvider"),
            ("claude-sonnet-5-5", "AnthropicProvider"),
        ):
            replies = re.findall(rf"^  task \d  {model} +(\S.*)$", part, re.MULTILINE)
            assert len(replies) == 4
            assert all(model in reply.replace("|", "") for reply in replies), "a model says its name"
            assert re.search(rf"^  {model} +{provider} +1 +4 +1$", part, re.MULTILINE)
        assert part.count("[ok]") == 4
    assert len(re.findall(r"::test_answers\[(?:asyncio|trio)-\S+\] PASSED", output)) == 12
    assert "FAILED" not in output
    assert output.splitlines()[-1].startswith("All of it held")
    assert_gone(*server_of(output))


def test_ctrl_c_ends_it_and_its_server(forks: Forks) -> None:
    """As in a terminal, the signal goes to the whole process group."""
    with forked(forks) as (process, errors):
        assert process.stdout is not None
        output = ""
        while "task 1" not in output:
            line = process.stdout.readline()
            assert line, "the demo ended too early"
            output += line
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        errors.seek(0)
        assert errors.read() == "interrupted\n"
    assert process.returncode == 1
    assert_gone(*server_of(output))


def test_what_does_not_hold_is_a_failure(forks: Forks) -> None:
    """A server that answers every request with an error: the exit code says so, and the server is ended."""
    with forked(forks, LLMOCK_ERROR_RATE_400="1") as (process, file):
        output, _ = process.communicate(timeout=120)
        file.seek(0)
        errors = file.read()
    assert process.returncode == 1
    # Tasks ask all models at once; which one is answered first is not for us to say.
    assert re.search(r"ModelRequestError: The request to '\S+' failed: the server refused the request \(400", errors)
    assert SECRET not in output + errors
    assert_gone(*server_of(output))
