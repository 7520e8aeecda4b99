"""The directory of the supervisor as a program: what it imports, from where, and when."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

import pytest
from tests.servers.callers import Supervisors

from doteval.servers import _supervisor
from doteval.servers._local import supervisors as starting

DIRECTORY = Path(_supervisor.__file__).parent
FILES = {path.stem: ast.parse(path.read_text("utf-8"), path) for path in DIRECTORY.glob("*.py")}


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the directory, which is what is started."""
    copy = tmp_path / "servers" / "_supervisor"
    shutil.copytree(DIRECTORY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(starting, "_SUPERVISOR", copy / "__main__.py")
    return copy


@pytest.mark.parametrize("name", FILES)
def test_each_file_imports_the_standard_library_and_its_neighbours(name: str) -> None:
    """Nothing else can be found with `-I -S`, and only relative imports mean the same in the program and in doteval."""
    foreign: list[str] = []
    for node in ast.walk(FILES[name]):
        if isinstance(node, ast.Import):
            foreign += [each.name for each in node.names if each.name.split(".")[0] not in sys.stdlib_module_names]
        elif isinstance(node, ast.ImportFrom):
            known = FILES if node.level == 1 else sys.stdlib_module_names if node.level == 0 else ()
            foreign += [] if (node.module or "").split(".")[0] in known else [ast.unparse(node)]
    assert foreign == []


@pytest.mark.parametrize("name", FILES)
def test_each_file_imports_all_that_it_needs_at_once(name: str) -> None:
    """An import inside of a function could find another version of doteval, or none, long after the start."""
    functions = [node for node in ast.walk(FILES[name]) if isinstance(node, (ast.FunctionDef, ast.Lambda))]
    inside = [each for function in functions for each in ast.walk(function)]
    assert [ast.unparse(node) for node in inside if isinstance(node, (ast.Import, ast.ImportFrom))] == []


def test_only_the_loop_knows_the_others() -> None:
    """Each of the others can be read, and tested, by itself, with what all know; the policy with the lifetime, and the
    place of a server with the parts of it."""
    relative = {
        (name, node.module)
        for name, tree in FILES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    }
    common = ("files", "messages", "processes", "protocol")
    others = {(name, module) for name, module in relative if module not in common and name != "loop"}
    assert others == {("policy", "lifetime"), ("place", "parts")}


def test_no_file_is_called_like_one_of_the_standard_library() -> None:
    """Where the directory is on `sys.path`, as for who runs a file of it without ``-I``, none hides one of those."""
    assert FILES.keys() & sys.stdlib_module_names == set()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc")
def test_what_lies_beside_the_directory_is_not_imported(supervisors: Supervisors, copy: Path) -> None:
    """A module of `doteval.servers` may be called what it likes."""
    for name in ("selectors", "subprocess", "log", "__init__"):
        copy.with_name(f"{name}.py").write_text("raise RuntimeError\n")
    caller = supervisors.start()
    caller.expect("started")
    caller.ask("stop", reason="the test is over")
    caller.expect_end()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc")
def test_doteval_may_be_removed_while_a_supervisor_runs(supervisors: Supervisors, copy: Path) -> None:
    """From the start of the server on, nothing of the program is read any more."""
    caller = supervisors.start("ignores_term", grace=0.1, secrets=["up"])
    caller.expect("started")
    shutil.rmtree(copy.parent)
    caller.expect_text("\n***\n")
    caller.ask("ready")
    other = supervisors.call()
    assert other.ask("lease", keep_alive=1)["granted"]
    assert other.ask("status")["status"]["memory"] > 0
    other.ask("leave")
    caller.ask("stop", reason="the test is over")
    assert caller.expect("exited")["code"] == -9
    caller.expect_end()
