"""What the documentation says is true: its examples run as they are printed, and no name of ours is missing in it.

A page is read, and run, from top to bottom, in a directory of its own:

- A ``python`` block runs as it is, once on asyncio and once on trio. It may use what earlier blocks have defined, and
  ``await`` outside of a function, as in a notebook.
- A block whose caption is the name of a file is written to that file. Those called ``test_*.py`` are run by pytest, at
  the end of the page unless a command of the page does it before. Any other ``*.py`` runs as a program where it calls
  `anyio.run`, and else waits to be imported.
- Of an ``sh`` block, each command of pytest, Python and doteval is run and has to succeed. Nothing is installed.
- A block with the caption "Prints" is what the example before it prints, "Raises" what its exception says; ``...``
  stands for what differs from run to run.
- A block whose caption begins with "Not run:" is not run; the caption says why.

The SDKs talk to llmock on loopback, with keys that open nothing else. The commands of model servers, its own too, lead
to the one that runs; nothing of a server may be left at the end of a page.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import inspect
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path
from types import CodeType
from typing import Any, get_args

import anyio
import pytest
from llmock.testing import LLMockServer
from tests.forks import Forks
from tests.servers import relay
from tests.servers.conftest import forked_supervisors as forked_supervisors  # noqa: PLC0414 - a fixture
from tests.servers.leftovers import kill_all, leftovers
from tests.test_layers import LAYERS, MODULES

import doteval
import doteval.blocking
import doteval.cli
from doteval._pool.events import EventKind
from doteval._pool.records import Phase
from doteval.pytest_plugin._options import add_options

pytestmark = pytest.mark.usefixtures("forked_supervisors")

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts}
TEXT = {name: path.read_text("utf-8") for name, path in PAGES.items()}

FENCE = re.compile(
    r"^(?P<fence>`{3,})(?:\{code-block\} )?(?P<language>\w+)\n(?P<body>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
CAPTION = re.compile(r"\A:caption: \"?(?P<caption>.*?)\"?\n+")
LIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NOT_RUN = ("curl", "export", "hypercorn", "llmock", "pip", "uvicorn")
"""Commands that install, or serve until they are stopped. The tests of examples/ run the servers."""
OPTIONS = {
    # pytest-asyncio wants to know its scope, or warns.
    "how-to/move-to-doteval.md": ["-p", "asyncio", "-p", "trio", "-o", "asyncio_default_fixture_loop_scope=function"]
}
"""With what else a page's runs of pytest are started."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        language: What it is in.
        caption: What stands above it, or nothing.
        text: What is in it.
        line: Where its text begins, counted from 1.
    """

    language: str
    caption: str
    text: str
    line: int

    @property
    def is_file(self) -> bool:
        return re.fullmatch(r"[\w/.-]+\.\w+", self.caption) is not None

    @property
    def is_suite(self) -> bool:
        return self.is_file and re.fullmatch(r"test_\w+\.py", self.caption) is not None

    @property
    def is_program(self) -> bool:
        runs = not self.caption or (self.is_file and not self.is_suite and "anyio.run(" in self.text)
        return self.language == "python" and runs

    @property
    def tells(self) -> bool:
        return self.caption in ("Prints", "Raises")


def blocks_of(name: str) -> list[Block]:
    found: list[Block] = []
    for match in FENCE.finditer(TEXT[name]):
        body, start = match["body"], match.start("body")
        caption = CAPTION.match(body)
        if caption is not None:
            start += caption.end()
            body = body[caption.end() :]
        line = TEXT[name].count("\n", 0, start) + 1
        found.append(Block(match["language"], "" if caption is None else caption["caption"], body, line))
    return found


def pages_with(wanted: Callable[[Block], bool]) -> list[str]:
    return [name for name in PAGES if any(wanted(block) for block in blocks_of(name))]


def assert_like(told: str, seen: str, where: str) -> None:
    """The page may leave out what differs from run to run, and where a line is broken."""
    checker = doctest.OutputChecker()
    if not checker.check_output(told.strip() + "\n", seen.strip() + "\n", LIKE):
        difference = checker.output_difference(doctest.Example("", told.strip() + "\n"), seen.strip() + "\n", LIKE)
        pytest.fail(f"{where}:\n{difference}", pytrace=False)


@pytest.fixture(scope="module")
def server() -> Iterator[LLMockServer]:
    with LLMockServer() as server:
        yield server


STAND_IN = """#!{python} -IS
import sys
sys.path.insert(0, "{directory}")
import relay
relay.main(int(sys.argv[sys.argv.index("--port") + 1]), {port})
"""


@pytest.fixture
def commands(tmp_path_factory: pytest.TempPathFactory, server: LLMockServer) -> Path:
    """A directory with stand-ins for model servers: all of them are the one that runs already."""
    directory = tmp_path_factory.mktemp("bin")
    for name in ("llama-server", "llmock", "vllm"):
        path = directory / name
        found = {"python": sys.executable, "directory": Path(relay.__file__).parent, "port": server.port}
        path.write_text(STAND_IN.format(**found), "utf-8")
        path.chmod(0o755)
    return directory


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for servers to find each other in; what pages keep alive is stopped, and nothing is left."""
    directory = Path(tempfile.mkdtemp(prefix="dd-", dir="/tmp"))  # sockets need a short path
    monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", str(directory))
    yield directory
    assert doteval.cli.main(["stop", "--all"]) == 0
    left = leftovers(directory)
    if left:
        kill_all(directory)
    shutil.rmtree(directory, ignore_errors=True)
    assert not left, f"servers left behind: {left}"


@pytest.fixture
def page_directory(
    server: LLMockServer,
    tmp_path: Path,
    commands: Path,
    runtime: Path,  # first made, so last closed
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """An empty directory to run a page in; what is imported from it is forgotten afterwards."""
    for variable, value in {
        "ANTHROPIC_API_KEY": "not-a-key",
        "ANTHROPIC_BASE_URL": server.base_url("anthropic"),
        "OPENAI_API_KEY": "not-a-key",
        "OPENAI_BASE_URL": server.base_url("openai"),
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    server.state.scenarios.clear()
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


# ------------------------------------------------------------------ programs


@dataclass
class Session:
    """Runs the programs of one page, one after the other.

    Args:
        page: The page's name.
        backend: The event loop.
    """

    page: str
    backend: str
    printed: str = ""
    raised: str = ""
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "docs"})

    def run(self, block: Block, *, may_raise: bool) -> None:
        code = self._compile(block)
        names = dict(self.names) if block.is_file else self.names
        output = io.StringIO()
        self.raised = ""
        try:
            with contextlib.redirect_stdout(output):
                if code.co_flags & inspect.CO_COROUTINE:
                    anyio.run(self._awaited, code, names)
                else:
                    exec(code, names)
        except Exception as exc:
            if not may_raise:
                raise
            self.raised = f"{type(exc).__module__}.{type(exc).__name__}: {exc}".removeprefix("builtins.")
        self.printed = output.getvalue()

    def _compile(self, block: Block) -> CodeType:
        source = "\n" * (block.line - 1) + block.text  # so that a traceback shows the line of the page
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        return compile(source, str(PAGES[self.page]), "exec", flags=flags, dont_inherit=True)

    @staticmethod
    async def _awaited(code: CodeType, names: dict[str, Any]) -> None:
        result = eval(code, names)  # a coroutine, as there is an await in it
        await result


def on_backend(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an example does not choose an event loop, it runs on this one."""
    run, entered = anyio.run, doteval.blocking.entered

    def run_there(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs if "backend" in kwargs else {**kwargs, "backend": backend})

    def entered_there(*args: Any, **kwargs: Any) -> Any:
        return entered(*args, **kwargs if "backend" in kwargs else {**kwargs, "backend": backend})

    monkeypatch.setattr(anyio, "run", run_there)
    monkeypatch.setattr(doteval.blocking, "entered", entered_there)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", pages_with(lambda block: block.is_program))
def test_every_program_runs_and_prints_what_it_says(
    name: str, backend: str, page_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of a page, one after the other, on asyncio and on trio."""
    on_backend(backend, monkeypatch)
    session = Session(name, backend)
    last: Block | None = None
    blocks = blocks_of(name)
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.is_file:
            write(page_directory, block)
        if block.is_program:
            session.run(block, may_raise=after is not None and after.caption == "Raises")
        elif block.tells and last is not None and last.is_program:
            seen = session.printed if block.caption == "Prints" else session.raised
            assert_like(block.text, seen, f"{name}:{block.line}")
        last = block if not block.tells else last


# ------------------------------------------------------------------ suites and commands


def write(directory: Path, block: Block) -> None:
    path = directory / block.caption
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, "utf-8")


def run(forks: Forks, name: str, directory: Path, command: list[str]) -> str:
    """Run a command as a reader would, in a process of its own; what it prints."""
    words = list(command)
    if words[0] == "pytest":
        options = ["-p", "no:cacheprovider", "-p", "anyio", "-p", "doteval", "-p", "llmock", *OPTIONS.get(name, [])]
        # The second one is pytest's way to say that one plugin was imported by another before it was its turn.
        warnings = ["-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        words = ["python", "-m", "pytest", *options, *warnings, *words[1:]]
    arguments = ["-m", *words] if words[0] == "doteval" else words[1:]
    result = forks.run(*arguments, cwd=directory)
    printed = result.stdout + result.stderr
    assert result.returncode == 0, f"{shlex.join(command)}:\n{printed}"
    return printed


def commands_of(block: Block) -> list[list[str]]:
    """What an ``sh`` block has to run here."""
    found: list[list[str]] = []
    if block.caption.startswith("Not run:"):
        return found
    for line in block.text.replace("\\\n", " ").splitlines():
        words = [*dropwhile(lambda word: "=" in word, shlex.split(line, comments=True))]
        if words and words[0] not in NOT_RUN:
            assert words[0] in ("pytest", "python", "doteval"), f"do not know how to run: {line}"
            found.append(words)
    return found


def is_run_outside(block: Block) -> bool:
    return block.is_suite or (block.language == "sh" and bool(commands_of(block)))


@pytest.mark.parametrize("name", pages_with(is_run_outside))
def test_every_suite_passes_and_every_command_works(name: str, page_directory: Path, forks: Forks) -> None:
    """Tests are run by pytest, commands as they are printed, with the files that the page has shown before."""
    printed = ""
    last: Block | None = None
    suites = [block.caption for block in blocks_of(name) if block.is_suite]
    for block in blocks_of(name):
        if block.is_file:
            write(page_directory, block)
        if block.language == "sh":
            for command in commands_of(block):
                printed = run(forks, name, page_directory, command)
                suites = [suite for suite in suites if suite not in command]
        elif block.caption == "Prints" and last is not None and last.language == "sh":
            assert_like(block.text, printed, f"{name}:{block.line}")
        last = block if not block.tells else last
    if suites:
        run(forks, name, page_directory, ["pytest", *suites])


def test_every_python_block_is_run_or_says_why_not() -> None:
    """A block is a program, a file, or has a caption that gives the reason."""
    unknown = [
        f"{name}:{block.line}"
        for name in PAGES
        for block in blocks_of(name)
        if block.language in ("python", "sh", "py", "pycon", "console")
        and block.caption
        and not block.is_file
        and not block.caption.startswith("Not run: ")
    ]
    other = [
        f"{name}:{TEXT[name].count(chr(10), 0, match.start()) + 1}"
        for name in PAGES
        for match in re.finditer(
            r"^```+\{?(py|pycon|console|bash|shell|doctest|ipython)\b(?!thon)", TEXT[name], re.MULTILINE
        )
    ]
    assert unknown + other == []


# ------------------------------------------------------------------ names


def documented(role: str) -> set[str]:
    """What the directives of a role, such as ``autoclass``, name in all pages."""
    return {name for text in TEXT.values() for name in re.findall(rf"^\.\. {role}:: ([\w.]+)", text, re.MULTILINE)}


@pytest.mark.parametrize(
    "module", ["doteval", "doteval.evals", "doteval.servers", "doteval.testing", "doteval.blocking"]
)
def test_every_public_name_is_documented(module: str) -> None:
    """The reference has an entry for each name that users may import."""
    elsewhere = set() if module == "doteval" else {*doteval.__all__}  # what is lent to the face is documented there
    names = {f"{module}.{name}" for name in {*importlib.import_module(module).__all__} - elsewhere}
    entries = documented("(?:auto(?:class|exception|function)|py:data)")
    assert sorted(names - entries) == []
    assert sorted(entry for entry in entries if entry.rpartition(".")[0] == module and entry not in names) == []


def test_every_error_says_when_it_is_raised_and_what_to_do() -> None:
    """Each exception class has a row in the table and a section with both."""
    page = TEXT["reference/errors.md"]
    errors = {
        name
        for name in doteval.__all__
        if isinstance(value := getattr(doteval, name), type) and issubclass(value, BaseException)
    }
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    told = {text.split()[0] for text in sections if "**When.**" in text and "**What to do.**" in text}
    assert told == errors - {"DotevalError"}
    assert set(re.findall(r"^\| \[(\w+)\]", page, re.MULTILINE)) == told


def test_every_event_is_explained() -> None:
    """The page on events has a row for each kind."""
    rows = re.findall(r"^\| `(\w+)` \|", TEXT["reference/events.md"], re.MULTILINE)
    assert rows == ["kind", *get_args(EventKind)]


def test_every_option_of_the_plugin_is_explained() -> None:
    """The page on pytest has each option and each ini value."""

    class Parser:
        def __init__(self) -> None:
            self.names: set[str] = set()

        def getgroup(self, *args: str) -> Parser:
            return self

        def addoption(self, name: str, **kwargs: object) -> None:
            self.names.add(name)

        def addini(self, name: str, *args: object, **kwargs: object) -> None:
            self.names.add(name)

    parser = Parser()
    add_options(parser)  # type: ignore[arg-type]
    words = set(re.findall(r"`(--[\w-]+|\w+)", TEXT["reference/pytest.md"]))
    assert sorted(parser.names - words) == []


def test_the_layers_are_as_the_documentation_says() -> None:
    """The table of layers is that of tests/test_layers.py, as far as it is built."""
    rows = re.findall(r"^\| (\d) \| (.*?) \|", TEXT["explanation/internals.md"], re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(len(LAYERS)))
    table = [set(re.findall(r"`([\w.]+)`", names)) for _, names in rows]
    assert table == [{name for name in layer if name in MODULES} for layer in LAYERS]


def test_the_states_of_a_resource_are_drawn_and_explained() -> None:
    """The diagram has each phase of the books, and the table moves between what the diagram shows."""
    page = TEXT["explanation/internals.md"].partition("## The states of a resource")[2].partition("\n## ")[0]
    diagram, _, rest = page.partition("```{svgbob}\n")[2].partition("```")
    shown = set(re.findall(r"[a-z]+", diagram))
    assert {phase.value for phase in Phase} <= shown
    steps = re.findall(r"^\| ([a-z, ]*?) ?\| (\w+) \|", rest, re.MULTILINE)[1:]
    states = {"opening", "leased", "idle", "checking", "closing", "lost", "gone"}
    assert {name for before, after in steps for name in [*before.split(", "), after]} == {*states, ""}
    assert states <= shown


def test_every_row_of_a_table_has_all_its_cells() -> None:
    """A bar that stands for itself, also one in code, has a backslash in front; else what follows it is not shown."""
    wrong = [
        f"{name}: {row}"
        for name, text in TEXT.items()
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
        for row in table.splitlines()
        if len(re.findall(r"(?<!\\)\|", row)) != len(re.findall(r"(?<!\\)\|", table.splitlines()[0]))
    ]
    assert wrong == []


def test_every_page_can_be_reached() -> None:
    """Each page stands in one table of contents, and each link between pages leads to a file."""
    entries: list[str] = []
    for name, text in TEXT.items():
        for toctree in re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            here = PAGES[name].parent
            lines = [line for line in toctree.splitlines() if line and not line.startswith(":")]
            entries += [os.path.relpath(here / f"{line}.md", DOCS) for line in lines]
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
            assert (PAGES[name].parent / target).exists(), f"{name} links to {target}"
    assert sorted(entries) == sorted(name for name in PAGES if name != "index.md")
