"""What README.md says is true: its commands, its programs and its links."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from llmock.testing import LLMockServer
from tests.forks import Forks

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROGRAMS = [text for language, text in BLOCKS if language == "python"]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Environment variables that point the SDKs at a model server on loopback, with keys that open nothing else."""
    # Sockets need a short path.
    with LLMockServer() as server, tempfile.TemporaryDirectory(prefix="dr-", dir="/tmp") as runtime:
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))},
            "ANTHROPIC_API_KEY": "not-a-key",
            "ANTHROPIC_BASE_URL": server.base_url("anthropic"),
            "DOTEVAL_RUNTIME_DIR": runtime,
            "OPENAI_API_KEY": "not-a-key",
            "OPENAI_BASE_URL": server.base_url("openai"),
            "PYTHONWARNINGS": "error,ignore::DeprecationWarning:typer",  # what the server imports is its own business
            "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        }


def test_the_first_shell_block_holds_the_two_commands() -> None:
    """Two lines, each complete in itself: one runs the demo, one the tests; each makes the environment it needs."""
    commands = next(text for language, text in BLOCKS if language == "sh").splitlines()
    install = 'python3 -m venv .venv && .venv/bin/python -m pip install -q -e ".[{extra}]" && .venv/bin/python {rest}'
    assert commands == [
        install.format(extra="demo", rest="examples/demo.py"),
        install.format(extra="test", rest="-m pytest -n auto"),
    ]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda text: re.findall(r"(?:class|def|with) (\w+)", text)[0])
def test_every_program_runs(program: str, forks: Forks, environment: dict[str, str], tmp_path: Path) -> None:
    """Each Python block of README.md runs as it is printed: tests with pytest, the others as scripts."""
    path = tmp_path / "test_readme_block.py"
    path.write_text(program, "utf-8")
    # The last one is pytest's way to say that one plugin was imported by another before it was its turn.
    pytest = ["-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:trio", "-p", "no:dotevals"]
    pytest += ["-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    arguments = [*pytest, str(path)] if "\nimport pytest\n" in f"\n{program}" else [str(path)]
    result = forks.run(*arguments, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    """A reader who follows a relative link finds a file."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
