"""A checkout that lies elsewhere: what is within the project is known by where in it that is, and nothing else is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from doteval.evals import Evaluation
from doteval.evals._identity.library import project_of
from doteval.evals._running.depends import identity_of

EVALUATION = """
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from doteval import Result, foreach

@dataclass
class Config:
    prompts: Path

class Loader:
    def __init__(self, directory):
        self.directory = directory

WHERE = {where}

@foreach("q", [("a",)])
async def eval_it(q):
    return Result(str(WHERE))
"""
WITHIN = {
    "directory": "Path(__file__).parent",
    "file": "Path(__file__).resolve()",
    "beside": "Path(__file__).parent / 'prompts' / 'one.txt'",
    "above": "Path(__file__).parents[1]",
    "of another package": "Path(__file__).parents[1] / 'data'",
    "text": "os.path.dirname(__file__)",
    "text of a file": "os.path.join(os.path.dirname(__file__), 'a.txt')",
    "in a mapping": "dict(prompts=os.path.dirname(__file__))",
    "in a list": "[Path(__file__).parent, Path(__file__)]",
    "in a data class": "Config(Path(__file__).parent)",
    "in an object": "Loader(Path(__file__).parent)",
    "in the address of a database": "'sqlite:///' + os.path.dirname(__file__) + '/app.db'",
    "as an address": "Path(__file__).as_uri()",
    "in an argument": "'--data=' + os.path.dirname(__file__)",
    "in a command": "'cat \\'' + __file__ + '\\' | wc > ' + os.path.dirname(__file__) + '/out'",
    "several": "os.pathsep.join([os.path.dirname(__file__), '/elsewhere', __file__])",
    "as bytes": "os.fsencode(__file__)",
    "in bytes": "b'file:' + os.fsencode(os.path.dirname(__file__)) + b'/app.db'",
    "as a key": "{__file__: 1, 'file:' + __file__: 2}",
    "in a set": "{__file__, 'file:' + __file__}",
    "as a text of one's own": "type('Text', (str,), {})(__file__)",
    "in the arguments of a partial": "functools.partial(print, 'file:' + __file__)",
}
OUTSIDE = {
    "absolute": ("Path('/data/one')", "Path('/data/two')"),
    "relative": ("Path('one')", "Path('two')"),
    "another within": ("Path(__file__).parent / 'one'", "Path(__file__).parent / 'two'"),
    "itself or within": ("Path(__file__).parent", "Path(__file__).parent / 'two'"),
    "a sibling of the project": ("str(Path(__file__).parents[2]) + '/one'", "str(Path(__file__).parents[2]) + '/two'"),
    "another within, in an address": ("f'file:{__file__}'", "f'file:{__file__}.bak'"),
    "another project, in an address": (
        "f'file://{Path(__file__).parents[1]}-one/a'",
        "f'file://{Path(__file__).parents[1]}-two/a'",
    ),
    "below another directory": ("f'/data{Path(__file__).parents[1]}/a'", "'/data/home/project/a'"),
    "around it": ("f'sqlite:///{__file__}?mode=ro'", "f'sqlite:///{__file__}?mode=rw'"),
    "before it": ("f'--in={__file__}'", "f'--out={__file__}'"),
    "text and bytes": ("__file__", "os.fsencode(__file__)"),
    "in bytes, another": ("os.fsencode(__file__) + b'.a'", "os.fsencode(__file__) + b'.b'"),
    "begins like the project": ("str(Path(__file__).parents[1]) + '-one'", "str(Path(__file__).parents[1]) + '-two'"),
    "another place in the project and outside": ("Path(__file__).parent", "'/evals'"),
    "a text and a path": ("Path(__file__).parent", "os.path.dirname(__file__)"),
}


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    """The module is known as long as a test runs."""
    yield
    sys.modules.pop("eval_it", None)


def evaluation_in(project: Path, where: str, mark: str = "pyproject.toml") -> Evaluation:
    """The evaluation of a module in a package of a project."""
    package = project / "evals"
    package.mkdir(parents=True, exist_ok=True)
    (project / mark).touch()
    file = package / "eval_it.py"
    module = ModuleType("eval_it")
    module.__file__ = str(file)
    sys.modules["eval_it"] = module
    exec(compile(EVALUATION.format(where=where), file, "exec"), vars(module))
    found: Evaluation = module.eval_it
    return found


def identity_in(project: Path, where: str, mark: str = "pyproject.toml") -> Mapping[str, str]:
    return identity_of(evaluation_in(project, where, mark), models={})


@pytest.mark.parametrize("where", WITHIN)
def test_a_project_may_lie_anywhere(tmp_path: Path, where: str) -> None:
    one = identity_in(tmp_path / "here" / "project", WITHIN[where])
    assert one == identity_in(tmp_path / "somewhere" / "else" / "a checkout é %20", WITHIN[where])
    assert one != identity_in(tmp_path / "here" / "third", WITHIN[where].replace("__file__", "'/elsewhere/evals/x.py'"))


@pytest.mark.parametrize("where", OUTSIDE)
def test_other_paths_are_what_they_are(tmp_path: Path, where: str) -> None:
    one, another = OUTSIDE[where]
    project = tmp_path / "here" / "project"
    assert identity_in(project, one) != identity_in(project, another)


@pytest.mark.parametrize("mark", ["setup.py", "setup.cfg", "pytest.ini", "tox.ini", ".git"])
def test_a_project_begins_where_it_says_so(tmp_path: Path, mark: str) -> None:
    evaluation = evaluation_in(tmp_path / "project", "None", mark)
    assert project_of(evaluation.function) == str(tmp_path / "project")


def test_what_is_in_no_file_is_of_no_project() -> None:
    scope: dict[str, object] = {}
    exec("def function(): pass", scope)
    assert project_of(scope["function"]) is None
    assert project_of(3) is None
