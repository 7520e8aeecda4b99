"""The command ``doteval``, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.distributions import install
from tests.forks import Forks

import doteval
from doteval.cli import main

GROUP = "doteval.model_providers"


def providers(forks: Forks, path: Path) -> subprocess.CompletedProcess[str]:
    """Run ``doteval providers`` in a new process, which finds what is installed in `path`."""
    return forks.run("-m", "doteval", "providers", env={**os.environ, "PYTHONPATH": str(path)})


def line_of(name: str, output: str) -> str:
    """The line about one provider, with single spaces."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"{name} ")]
    return " ".join(line.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is that of the package."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"doteval {doteval.__version__}\n"


@pytest.mark.parametrize(
    "command", [[str(Path(sys.executable).with_name("doteval"))], [sys.executable, "-m", "doteval"]]
)
def test_the_command_is_installed(command: list[str]) -> None:
    """By its name, and as a module."""
    result = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, f"doteval {doteval.__version__}\n"), result.stderr


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_what_is_not_understood_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 2, and standard error says how to use it."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: doteval" in capsys.readouterr().err


def test_a_command_that_is_interrupted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the exit code that shells give for Ctrl-C."""

    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("doteval.cli._providers.run", interrupted)
    assert main(["providers"]) == 130


def test_providers_lists_what_is_registered(tmp_path: Path, forks: Forks) -> None:
    """Name, distribution, version, entry point and state; all is well, so the exit code is 0."""
    install(
        tmp_path,
        "finepkg",
        "2.3",
        entry_points={
            GROUP: {"fine": "finepkg:Provider", "mine": "finepkg:my_provider"},
            "pytest11": {"finepkg": "finepkg_plugin"},
        },
        finepkg="class Provider: ...",
        finepkg_plugin="""
        import pytest

        @pytest.fixture(scope="session")
        def my_provider(): ...
        """,
    )
    result = providers(forks, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert line_of("fine", result.stdout) == "fine finepkg 2.3 finepkg:Provider ok"
    assert line_of("mine", result.stdout) == "mine finepkg 2.3 finepkg:my_provider ok (a fixture, for pytest only)"
    version = f"doteval-providers {doteval.__version__}"
    assert line_of("openai", result.stdout) == f"openai {version} doteval.providers.openai:OpenAIProvider ok"


def test_providers_tells_what_is_broken(tmp_path: Path, forks: Forks) -> None:
    """The error and its distribution are shown, the others are listed all the same, and the exit code is 1."""
    install(
        tmp_path,
        "brokenpkg",
        "0.9",
        entry_points={GROUP: {"broken": "brokenpkg:Provider", "number": "numberpkg:seven", "worse": "no such value"}},
        brokenpkg="raise RuntimeError('out of order')",
        numberpkg="seven = 7",
    )
    result = providers(forks, tmp_path)
    assert result.returncode == 1
    assert line_of("broken", result.stdout) == "broken brokenpkg 0.9 brokenpkg:Provider broken"
    assert "    RuntimeError: out of order. Repair or uninstall brokenpkg 0.9." in result.stdout.splitlines()
    assert line_of("number", result.stdout).endswith("broken")
    assert line_of("worse", result.stdout).endswith("broken")
    assert line_of("openai", result.stdout).endswith("ok")
    assert result.stderr == ""


def test_an_sdk_that_nobody_has_installed_is_no_defect(tmp_path: Path, forks: Forks) -> None:
    """A provider whose extra is not installed says how to install it, and the exit code stays 0."""
    install(
        tmp_path,
        "extrapkg",
        entry_points={GROUP: {"extra": "extrapkg:Provider"}},
        requires=('no-such-sdk>=1; extra == "sdk"',),
        extrapkg="import no_such_sdk",
    )
    result = providers(forks, tmp_path)
    assert result.returncode == 0
    assert line_of("extra", result.stdout).endswith("not installed")
    assert "pip install 'no-such-sdk>=1'" in result.stdout


def test_providers_says_what_fixtures_are_called_where_the_name_does_not(tmp_path: Path, forks: Forks) -> None:
    """A name that no argument can have, and two names that would be one fixture."""
    for name, called in [("digitpkg", "4ai"), ("onepkg", "my-models"), ("twopkg", "my_models")]:
        install(tmp_path, name, entry_points={GROUP: {called: f"{name}:Provider"}}, **{name: "class Provider: ..."})
    lines = providers(forks, tmp_path).stdout.splitlines()
    told = [line.strip() for line in lines if line.startswith(" ")]
    shared = "No fixtures in pytest: my_models_provider and my_models_client could be of"
    assert told == [
        "Its fixtures in pytest are _4ai_provider and _4ai_client.",
        f"{shared} 'my_models' of twopkg 1.0 as well.",
        f"{shared} 'my-models' of onepkg 1.0 as well.",
    ]
    result = forks.run("-m", "doteval", "providers", "--json", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    fixtures = {each["name"]: each["fixtures"] for each in json.loads(result.stdout)}
    assert fixtures["4ai"] == ["_4ai_provider", "_4ai_client"]
    assert fixtures["openai"] == ["openai_provider", "openai_client"]
    assert fixtures["my-models"] == fixtures["my_models"] == []


def test_a_module_may_print_and_raise_what_it_likes_at_its_import(tmp_path: Path, forks: Forks) -> None:
    """What is printed for programs is JSON all the same, and the others are listed."""
    skip = "print('loud'); import pytest; pytest.skip('no SDK', allow_module_level=True)"
    install(tmp_path, "oddpkg", entry_points={GROUP: {"odd": "oddpkg:P"}}, oddpkg=skip)
    install(tmp_path, "loudpkg", entry_points={GROUP: {"loud": "loudpkg:print"}}, loudpkg="print('[1, 2')")
    result = forks.run("-m", "doteval", "providers", "--json", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    found = {each["name"]: (each["state"], each["problem"]) for each in json.loads(result.stdout)}
    assert found["loud"] == (
        "broken",
        "AttributeError: module 'loudpkg' has no attribute 'print'. Repair or uninstall loudpkg 1.0.",
    )
    assert found["odd"] == ("broken", "Skipped: no SDK. Repair or uninstall oddpkg 1.0.")
    assert found["openai"] == ("ok", None)
    assert "loud" in result.stderr
    assert "[1, 2" in result.stderr


def test_providers_quarrel_about_a_name(tmp_path: Path, forks: Forks) -> None:
    """Both distributions are named."""
    for name in ("onepkg", "twopkg"):
        install(tmp_path, name, entry_points={GROUP: {"both": f"{name}:Provider"}}, **{name: "class Provider: ..."})
    result = providers(forks, tmp_path)
    assert result.returncode == 1
    assert "onepkg 1.0" in line_of("both", result.stdout)
    assert "twopkg 1.0" in line_of("both", result.stdout)
