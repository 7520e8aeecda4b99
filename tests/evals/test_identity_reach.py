"""What an evaluation reaches counts, wherever it lies, however it is asked for, and whatever it raises when it is."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from doteval.evals import EvaluationChangedError, run
from doteval.evals._identity.library import (
    is_library,
    is_library_class,
    is_library_file,
    is_library_module,
    users_module,
)
from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about what code reads."""
    return "asyncio"


HEAD = "import importlib.util, inspect, json, pathlib, string, sys\nfrom doteval import Result, foreach\n"
ASKED = "\n@foreach('q', [('a',)])\nasync def eval_it(q):\n    return Result(repr(ask(q)))\n"
BY_PATH = """
spec = importlib.util.spec_from_file_location('{0}', pathlib.Path(__file__).with_name('prompts_by_path.py'))
M = importlib.util.module_from_spec(spec)
spec.loader.exec_module(M)
def ask(q): return {1}
"""
PROMPTS = """
SYSTEM = '@@'
def build(q): return '@@' + q
class K:
    text = '@@'
    def go(self): return self.text
X = K()
"""

PROGRAMS = {
    "a module in a package": "def ask(q):\n    from pack import prompts\n    return prompts.SYSTEM",
    "a function of a module in a package": "def ask(q):\n    from pack import prompts\n    return prompts.build(q)",
    "a package in a package": "def ask(q):\n    from pack import inner\n    return inner.prompts.SYSTEM",
    "by its whole name": "def ask(q):\n    import pack.prompts\n    return pack.prompts.build(q)",
    "named like one of Python's": "def ask(q):\n    import chunk\n    return chunk.X.go()",
    "loaded by its path": BY_PATH.format("told", "M.SYSTEM"),
    "loaded by its path, a class": BY_PATH.format("told", "M.K.text"),
    "loaded by its path, an object": BY_PATH.format("told", "M.X.go()"),
    "loaded by its path as another one": BY_PATH.format("json", "M.build(q)"),
    "what handles are made of": "def tool(q):\n    # @@\n    return q\ndef ask(q): return inspect.getsource(tool)",
    "many of these": "def tool(q):\n    # @@\n    return q\nTOOLS = [tool]\n"
    "def ask(q): return [inspect.getsource(each) for each in TOOLS]",
    "the lines of a class": "class Tool:\n    # @@\n    pass\ndef ask(q): return inspect.getsourcelines(Tool)[0]",
    "the text of a module": "from pack import prompts\ndef ask(q): return inspect.getsource(prompts)",
    "classes made of one of a library": """
class K(string.Formatter):
    text = '@@'
def ask(q): return {each.__module__: each for each in string.Formatter.__subclasses__()}[__name__].text
""",
    "a proxy": """
class Proxy:
    def __init__(self, of): self.of = of
    __class__ = property(lambda self: type(self.of))
    def __call__(self, q): return '@@' + self.of(q)
def told(q): return q
TOOL = Proxy(told)
def ask(q): return TOOL(q)
""",
    "a proxy of nothing yet": """
class Proxy:
    text = '@@'
    @property
    def __class__(self): raise RuntimeError('working outside of it')
    def __getattr__(self, name): raise RuntimeError('working outside of it')
TOLD = Proxy()
def ask(q): return TOLD.text
""",
    "a proxy of nothing yet that is held": """
class Proxy:
    __class__ = property(lambda self: 1 / 0)
    def __getitem__(self, key): return '@@'
    def __setitem__(self, key, value): pass
    def go(self): return '@@'
class Holder:
    held, also = Proxy(), [Proxy()]
    go = Proxy()
HELD = Proxy()
def told(*each): return len(each)
def ask(q):
    HELD[q] = Holder.also[0][q] = 1
    return HELD[q], Holder.held[q], told(HELD.go), told(Holder.go, Holder.held.go), Holder().go.go()
""",
    "a module that skips": """
def ask(q):
    try:
        import pack.skips
    except BaseException:
        return '@@'
""",
    "a function that wraps itself": """
def told(q): return '@@'
told.__wrapped__ = told
def ask(q): return told(q)
ask.__wrapped__ = ask
""",
    "a module with a strange file": """
import types
M = types.ModuleType('strange')
M.__file__, M.__name__, M.TEXT = 3, None, '@@'
def ask(q): return M.TEXT
""",
    "a class of a strange module": """
class K:
    text = '@@'
K.__module__ = 3
def ask(q): return K.text
""",
}


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = {*sys.modules}
    yield
    forget(before)


def forget(before: set[str]) -> None:
    for each in sys.modules.keys() - before:
        if each.partition(".")[0] in ("chunk", "eval_reach", "pack"):
            del sys.modules[each]


def written(directory: Path, source: str, text: str) -> None:
    """The program, as another checkout has it."""
    prompts = PROMPTS.replace("@@", text)
    files = {
        "eval_reach.py": (HEAD + source + ASKED).replace("@@", text),
        "prompts_by_path.py": prompts,
        "chunk.py": prompts,
        "pack/__init__.py": "",
        "pack/prompts.py": prompts,
        "pack/inner/__init__.py": "from . import prompts",
        "pack/inner/prompts.py": prompts,
        "pack/skips.py": "import pytest\npytest.skip('needs more', allow_module_level=True)",
    }
    for name, content in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")


@pytest.mark.anyio
@pytest.mark.parametrize("program", PROGRAMS)
async def test_what_is_reached_counts(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also again in the same process, when all that a run imports is there."""
    before, outputs = {*sys.modules}, list[object]()
    for text, times in (("one", 2), ("one", 1), ("another", 1)):
        forget(before)
        directory = tmp_path / text
        written(directory, PROGRAMS[program], text)
        with monkeypatch.context() as path:
            path.setattr(sys, "path", [str(directory), *sys.path])
            importlib.invalidate_caches()
            evaluation = importlib.import_module("eval_reach").eval_it
            for time in range(times):
                if text == "another":
                    with pytest.raises(EvaluationChangedError):
                        await run(evaluation, store=tmp_path / "results.db")
                else:
                    outcome = await run(evaluation, store=tmp_path / "results.db")
                    assert outcome.answered == (time > 0 or bool(outputs))
                outputs += [each.output for each in (await run(evaluation)).records]
    assert len({*map(repr, outputs)}) == 2


def parts_of(source: str) -> Mapping[str, str]:
    module = sys.modules["eval_reach"] = ModuleType("eval_reach")
    exec(compile(HEAD + source, "<reach>", "exec"), vars(module))
    walk = Walk()
    walk.add_function("its code", vars(module)["ask"])
    return walk.parts


NAMES = "A_one_z, A_two_z, B_one_z, A_one_y = 'A1z', 'A2z', 'B1z', 'A1y'\n"


@pytest.mark.parametrize(
    ("read", "counting"),
    [
        ("globals()[f'A_{q}']", {"A1z", "A2z", "A1y"}),
        ("globals()[f'A_{q}_z']", {"A1z", "A2z"}),
        ("globals()[f'{q}_z']", {"A1z", "A2z", "B1z"}),
        ("globals().get(f'''A_{q}_y''')", {"A1y"}),
        ("getattr(sys.modules[__name__], f'B{q}')", {"B1z"}),
        ("vars(sys.modules[__name__])[f'A_{q}_z']", {"A1z", "A2z"}),
        ("globals()[f\"{'ABC'[0]}_{q}_z\"]", {"A1z", "A2z", "B1z"}),
        ("globals()[f\"{'one'.upper()}\"]", {"A1z", "A2z", "B1z", "A1y"}),
        ("globals()[q]", {"A1z", "A2z", "B1z", "A1y"}),
        ("globals()['A_one_z']", {"A1z"}),
    ],
)
def test_names_that_are_put_together_are_known_by_how_they_begin_and_end(read: str, counting: set[str]) -> None:
    """So that nothing counts that cannot be meant."""
    source = f"{NAMES}def ask(q): return {read}"
    whole = parts_of(source)
    assert {text for text in ("A1z", "A2z", "B1z", "A1y") if parts_of(source.replace(text, "x")) != whole} == counting


FRAME = """
LEVEL, OTHER, TEXT, local = "one", "two", "k == @OTHER", "three"
class Frame:
    q = "four"
frame = Frame()
"""


@pytest.mark.parametrize(
    ("asked", "counting"),
    [
        ("frame.query('level == @LEVEL')", {"one"}),
        ("frame.head(3).eval('k + @ LEVEL * 2')", {"one"}),
        ("frame['a'].query('k in\\n@LEVEL and @q.real')", {"one"}),
        ("[each.query('k == @LEVEL or k == @local') for each in q]", {"one", "three"}),
        ("frame.query(TEXT)", {"two"}),
        ("frame.query(f'{q} == @LEVEL')", {"one"}),
        ("frame.ask('@LEVEL')", set()),
        ("frame.query('level == 1')", set()),
    ],
)
def test_what_a_query_of_a_table_names_counts(asked: str, counting: set[str]) -> None:
    """Where its text stands in the code, or under a name; what is local there is another one."""
    source = f"{FRAME}def ask(q): return {asked}"
    whole = parts_of(source)
    there = ("one", "two", "three")
    assert {text for text in there if parts_of(source.replace(f'"{text}"', '"x"')) != whole} == counting
    assert not any("not defined" in part for part in whole)


@pytest.mark.parametrize(
    ("asked", "counting"),
    [
        ("TEMPLATE.format(**globals(), q=q)", {"one", "two", "gone"}),
        ("fill(**globals())", {"one", "two", "gone"}),
        ("'{ONE}'.format(**globals())", {"one", "two", "gone"}),
        ("fill(globals())", {"one", "two", "gone", "new"}),
        ("[v for k, v in globals().items()]", {"one", "two", "gone", "new"}),
        ("fill({**globals()})", {"one", "two", "gone", "new"}),
        ("TEMPLATE.format(**globals()) + str([*globals().values()])", {"one", "two", "gone", "new"}),
    ],
)
def test_a_name_that_comes_is_no_change_where_templates_are_filled_from_globals(asked: str, counting: set[str]) -> None:
    """As cells of a notebook define more and more; what is there counts, and whoever goes through all sees new ones."""
    head = "TEMPLATE, ONE, TWO, GONE = '{ONE}', 'one', 'two', 'gone'\ndef fill(**given): return given\n"
    source = f"{head}def ask(q): return {asked}"
    whole = parts_of(source)
    edited = {text: source.replace(f"'{text}'", "'x'") for text in ("one", "two", "gone")}
    edited["new"] = f"{source}\nlater, _, _i1 = 'new', 'new', 'new'"
    assert {text for text, each in edited.items() if changes(whole, parts_of(each))} == counting
    assert changes(parts_of(edited["new"]), whole) == () or "new" in counting


def test_what_an_installer_has_listed_is_an_installed_package(tmp_path: Path) -> None:
    """Wherever it was put, as by ``pip install --target``; what its developers work at is theirs."""
    for file in ("one/__init__.py", "one/inner/a.py", "one/mine.py", "two.py", "mine.py", "src/three/a.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for name, text in {
        "one-1.0.dist-info/RECORD": 'one/__init__.py,sha256=x,1\r\n"one/inner/a.py",,\r\n../bin/one,,\r\n',
        "two-1.0.dist-info/RECORD": "two.py\n\ntwo-1.0.dist-info/RECORD,,\n",
        "four-1.0.dist-info/RECORD": 'four.py,"\0\n',
        "src/three-1.0.dist-info/RECORD": "__editable___three_finder.py,,\nthree-1.0.dist-info/METADATA,,\n",
        "src/three.egg-info/SOURCES.txt": "three/a.py\n",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "five-1.0.dist-info").mkdir()
    (tmp_path / "five-1.0.dist-info" / "RECORD").write_bytes(b"\xff\xfe")
    installed = {"one/__init__.py", "one/inner/a.py", "one", "two.py", "four.py"}
    others = {"one/mine.py", "mine.py", "src/three/a.py", "src/three", "nowhere/a.py", "\0/a.py"}
    assert {each for each in installed | others if is_library_file(str(tmp_path / each))} == installed


def test_whose_a_module_is_is_said_by_its_file() -> None:
    """A directory whose name only begins like one of Python's is another one."""
    assert is_library_file(str(Path(sysconfig.get_paths()["purelib"]) / "a.py"))
    assert is_library_file(str(Path(sys.modules["doteval"].__file__ or "").with_name("a.py")))
    stdlib = sysconfig.get_paths()["stdlib"]
    assert is_library_file(f"{stdlib}/a.py")
    assert not is_library_file(f"{stdlib}_mine/a.py")
    mine = ModuleType("json")
    mine.__file__ = "/mine/json.py"
    assert not is_library(mine)
    assert is_library(json_of_python())
    assert all(map(is_library_module, ["json", "sys", "builtins", "xml.etree", "doteval.evals", "pytest", None]))
    assert is_library_module("nowhere_to_be_found")
    for name in ("nowhere_to_be_found", "<run_path>", 3):
        assert not is_library_class(type("K", (), {"__module__": name}))
    assert is_library_class(type(sys.implementation))
    assert users_module("json", "") is None


def json_of_python() -> ModuleType:
    return importlib.import_module("json")
