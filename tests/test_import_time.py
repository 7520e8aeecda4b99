"""What an import brings in: modules are counted here, and benchmarks/import_time.py measures the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import doteval

SLOW = {
    "anthropic",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "jinja2",
    "mcp",
    "openai",
    "pydantic",
    "pytest",
    "ray",
    "rich",
    "trio",
    "uvloop",
}
# Parts of the standard library that take longer to import than all of doteval's core.
SLOW_STANDARD = {"asyncio", "email", "http", "importlib.metadata", "multiprocessing", "ssl", "unittest"}

NEW_MODULES = """
import json, sys
import {before}
before = set(sys.modules)
import {after}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def new_modules(before: str, after: str) -> set[str]:
    """The modules that importing `after` adds where `before` is imported already."""
    code = NEW_MODULES.format(before=before, after=after)
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(result.stdout))


@pytest.mark.process
def test_importing_doteval_adds_only_its_own_modules_and_the_standard_library() -> None:
    """Besides what anyio brings along, `import doteval` needs typing_extensions and nothing else from elsewhere."""
    packages = {name.partition(".")[0] for name in new_modules("anyio.abc, anyio.lowlevel", "doteval")}
    assert packages - sys.stdlib_module_names <= {"anyio", "doteval", "typing_extensions"}


@pytest.mark.process
def test_importing_doteval_adds_no_sdk() -> None:
    """`import doteval` brings in no SDK, no HTTP client, no pytest and no event loop, not even by way of anyio."""
    assert {name.partition(".")[0] for name in new_modules("sys", "doteval")} & SLOW == set()


@pytest.mark.process
def test_importing_doteval_adds_no_slow_part_of_the_standard_library() -> None:
    """`import doteval` leaves alone what takes longer to import than itself."""
    assert new_modules("anyio", "doteval") & SLOW_STANDARD == set()


@pytest.mark.process
def test_a_run_of_pytest_that_uses_no_model_imports_no_sdk(tmp_path: Path) -> None:
    """The plugin costs nobody an SDK who asks for no model."""
    slow = sorted(SLOW - {"pytest", "trio"})
    test = tmp_path / "test_without_models.py"
    test.write_text(f"import sys\n\ndef test_nothing():\n    assert {{*{slow!r}}} & sys.modules.keys() == set()\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "anyio", "-p", "doteval.pytest_plugin", test]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.process
def test_a_run_of_pytest_that_uses_no_model_calls_nothing_of_the_plugin_for_each_test(tmp_path: Path) -> None:
    """Each hook costs every test a few microseconds; thousands of tests notice."""
    (tmp_path / "test_without_models.py").write_text(
        "HOOKS = [\n"
        "    'runtest_protocol', 'runtest_logstart', 'runtest_setup', 'runtest_call', 'runtest_teardown',\n"
        "    'runtest_makereport', 'runtest_logreport', 'runtest_logfinish', 'report_teststatus', 'pyfunc_call',\n"
        "    'fixture_setup', 'fixture_post_finalizer',\n"
        "]\n"
        "def test_nothing(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('doteval-scopes')\n"
        "    for name in HOOKS:\n"
        "        for implementation in getattr(pytestconfig.hook, f'pytest_{name}').get_hookimpls():\n"
        "            assert not implementation.function.__module__.startswith('doteval'), implementation\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "anyio", "-p", "doteval.pytest_plugin"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_a_provider_whose_sdk_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `from doteval import OpenAIProvider` prints where the extra is missing."""
    monkeypatch.setitem(sys.modules, "doteval.providers.openai", None)
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "doteval.providers.openai")
    monkeypatch.delitem(vars(doteval), "OpenAIProvider", raising=False)
    with pytest.raises(ImportError, match=r"OpenAIProvider needs the package openai: pip install 'openai>=3'"):
        _ = doteval.OpenAIProvider


ALL = """
import importlib, inspect, io, pydoc, sys
missing = sys.argv[1:]
sys.modules |= dict.fromkeys(missing)
import doteval
names = {name for name in doteval._HOME}
there = set(doteval.__all__)
assert there == names & set(dir(doteval)) == {name for name, _ in inspect.getmembers(doteval)} & names
from doteval import *
assert there <= globals().keys()
pydoc.plain(pydoc.render_doc(doteval))
for name in names - there:
    try:
        getattr(doteval, name)
    except ImportError as exc:
        assert exc.name in missing
    else:
        raise AssertionError(name)
print(sorted(names - there))
"""


@pytest.mark.process
@pytest.mark.parametrize("missing", [("anthropic",), ("openai", "anthropic")])
def test_whatever_is_not_installed_all_of_doteval_can_be_looked_at(missing: tuple[str, ...]) -> None:
    """By ``import *``, `help` and `inspect`; what needs an SDK is among the names where that is there."""
    done = subprocess.run([sys.executable, "-c", ALL, *missing], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("AnthropicProvider" in done.stdout) is ("anthropic" in missing)
    assert ("OpenAIProvider" in done.stdout) is ("VLLMProvider" in done.stdout) is ("openai" in missing)


def test_what_to_install_for_a_provider_is_what_its_extra_has() -> None:
    """So the advice works, whatever this distribution is called, and wherever it can be had."""
    pyproject = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))
    extras = pyproject["project"]["optional-dependencies"]
    assert {name: [requirement] for name, requirement in doteval._SDKS.items()} == {
        name: extras[name] for name in doteval._SDKS
    }
