"""The command ``doteval`` where something is not as it should be: a message and an exit code, never a traceback."""

from __future__ import annotations

import io
import json
import os
import shlex
import sqlite3
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.distributions import install
from tests.forks import Forks

from doteval import Result, foreach
from doteval.cli import _parser, main
from doteval.evals import Store, run

COMMANDS: dict[str, list[str]] = {
    "providers": [],
    "servers": [],
    "stop": ["--all"],
    "list": [],
    "show": ["mine"],
    "compare": ["mine", "yours"],
    "export": ["mine"],
    "report": ["mine", "-o", "page.html"],
    "view": ["mine"],
    "cache": [],
    "delete": ["mine", "--dry-run"],
    "rename": ["mine", "theirs", "--dry-run"],
    "copy": ["mine", "theirs", "--dry-run"],
    "rescore": ["mine", "scorers.py:score", "--overwrite"],
    "serve": ["nothing:here"],
}
"""Every command, with arguments that are fine; but for ``serve``, which would not end."""
OF_RESULTS = ("list", "show", "compare", "export", "report", "view", "rescore", "delete", "rename", "copy")
WITH_JSON = ("providers", "servers", "stop", "cache", "list", "show", "compare", "rescore", "delete", "rename", "copy")
WITH_OUTPUT = ("export", "report")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two experiments."""
    path = tmp_path_factory.mktemp("made") / "results.db"

    @foreach("value", range(4))
    async def eval_it(value: int) -> Result:
        if value == 3:
            raise ValueError("no")
        return Result(value, scores={"good": value > 1, "much": value / 2})

    async def make() -> None:
        async with Store(path) as store:
            for experiment in ("mine", "yours"):
                await run(eval_it, store=store, experiment=experiment)

    anyio.run(make)
    return path


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Where no server is; sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="dm-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def directory(made: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the commands are run; nothing but the store is in it."""
    monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", str(root))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scorers.py").write_text("def score(output):\n    return output > 1\n")
    (tmp_path / ".doteval").mkdir()
    (tmp_path / ".doteval" / "results.db").write_bytes(made.read_bytes())
    (tmp_path / ".doteval" / "replies.db").touch()


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and what is on standard error; anything but these is a failure of the test."""
    code: Any = 0
    try:
        code = main(arguments)
    except SystemExit as exc:
        code = exc.code
    return code, capsys.readouterr().err


def no_pipe() -> io.TextIOWrapper:
    """Standard output that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", encoding="utf-8")


def full() -> io.TextIOWrapper:
    return Path("/dev/full").open("w", encoding="utf-8")


def test_all_commands_are_here() -> None:
    """A new one has to be put into the table above."""
    (commands,) = [action.choices for action in _parser()._actions if action.dest == "command"]
    assert set(COMMANDS) == set(commands or ())


@pytest.mark.parametrize("command", [*COMMANDS, "--help", "--version"])
@pytest.mark.parametrize("is_buffered", [True, False])
@pytest.mark.parametrize(
    "stream",
    [no_pipe, pytest.param(full, marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it"))],
)
def test_what_is_printed_is_read_by_nobody(
    command: str,
    is_buffered: bool,
    stream: Callable[[], io.TextIOWrapper],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Like other tools in ``| head``: quiet, with the exit code of that signal. A full disk is told in a line.

    So it is with the help of each command.
    """
    lines = [[command, "--help"]] if command in COMMANDS else [[command]]
    if command in COMMANDS and command != "serve" and is_buffered:
        arguments = [command, *COMMANDS[command]]
        lines += [arguments, [*arguments, "--json"]] if command in WITH_JSON else [arguments]
    for line in lines:
        with monkeypatch.context() as patch, stream() as output:
            output.reconfigure(write_through=not is_buffered)
            patch.setattr(sys, "stdout", output)
            code, error = told(line, capsys)
        if stream is no_pipe:
            assert (code, error) == (141, "")
        else:
            assert (code, error) == (1, "doteval: No space left on device\n")


@pytest.mark.process
def test_a_pipe_that_nobody_reads_leaves_nothing_at_the_end_of_python(tmp_path: Path) -> None:
    """Python itself writes again when it ends, and would complain."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "doteval", "list"]
    result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    os.close(writing)
    assert (result.returncode, result.stderr) == (141, "")


def directory_as_store(path: Path) -> None:
    path.mkdir()


def text_as_store(path: Path) -> None:
    path.write_text("something else entirely\n" * 100)


def foreign_store(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE guests (name)")
    connection.close()


def store_of_the_future(path: Path) -> None:
    foreign_store(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA application_id = {0x64746576}")
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def damaged_store(path: Path) -> None:
    data = bytearray(Path(".doteval/results.db").read_bytes())
    data[1024:] = bytes(len(data) - 1024)
    path.write_bytes(data)


def below_a_file(path: Path) -> None:
    path.parent.joinpath("file").touch()
    path.symlink_to(path.parent / "file" / "results.db")


@pytest.mark.parametrize("command", OF_RESULTS)
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (directory_as_store, "is a directory. Name a file"),
        (text_as_store, "is no store of results"),
        (foreign_store, "is no store of results, but another program's database"),
        (store_of_the_future, "is a store of another version of doteval"),
        (damaged_store, ""),
        (below_a_file, "results.db, which is not there"),
    ],
)
def test_a_store_that_is_none(
    command: str, make: Callable[[Path], None], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In one line that says what it is and what to do."""
    store = tmp_path / "other.db"
    make(store)
    code, error = told([command, *COMMANDS[command], "--store", str(store)], capsys)
    assert code == 1
    assert says in error
    assert error.startswith("doteval: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("command", WITH_OUTPUT)
@pytest.mark.parametrize(
    "output", ["nowhere/x", ".", "x" * 300, ".doteval/results.db/x", "/proc/x"], ids=lambda name: name[:9]
)
def test_a_file_that_cannot_be_written(command: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, with the reason; nothing is left."""
    before = sorted(Path().rglob("*"))
    code, error = told([command, "mine", "-o", output], capsys)
    assert code == 2
    assert f"{output} cannot be written: " in error
    assert error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("text", ["-1", "0", "x", "1.5", "99999999999999999999", "nan", ""])
@pytest.mark.parametrize(
    "words",
    [["show", "mine", "--errors"], ["serve", "a:b", "--port"], ["serve", "a:b", "--keep-alive"]],
    ids=lambda words: words[-1],
)
def test_a_number_that_is_none_or_too_small(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error, or a message; 'a' is no provider, so nothing is served."""
    code, error = told([*words, text], capsys)
    assert "Traceback" not in error
    if code != 0:
        assert code == 2
        assert error
    else:
        assert words[0] == "show"
        assert text.isdecimal()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["", "@", "no such", "\udcff", "a" * 5000, "-", "%s", "\n"], ids=ascii)
def test_an_odd_name(command: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever bytes a shell hands over."""
    words = [name if word in ("mine", "yours", "nothing:here", "--all") else word for word in COMMANDS[command]]
    code, error = told([command, *words], capsys)
    assert code in (0, 1, 2)
    assert bool(error) == bool(code)


@pytest.mark.parametrize("command", WITH_JSON)
def test_json_is_an_array_of_objects(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the same name for the same thing in all commands."""
    assert main([command, *COMMANDS[command], "--json"]) == 0
    objects = json.loads(capsys.readouterr().out)
    assert isinstance(objects, list)
    assert all(isinstance(each, dict) for each in objects)
    names = {
        "providers": {"name", "distribution", "entry_point", "state", "problem", "fixtures"},
        "list": {"experiment", "started", "evaluations", "unfinished", "rows", "errors", "tags"},
        "compare": {"before", "after", "same", "unpaired", "unmatched", "scores"},
        "rescore": {"experiment", "evaluation", "rows", "errors", "finished", "scores"},
        "delete": {"experiment", "last_written", "evaluations", "rows", "deleted"},
        "rename": {"before", "after", "evaluations", "renamed"},
    }
    if command in names:
        assert all(set(each) == names[command] for each in objects)
    if command == "show":
        (shown,) = objects
        assert shown["rows"] == 4
        assert shown["scores"]["good"]["mean"] == pytest.approx(1 / 3)
        assert shown["failed"][0]["error"] == "ValueError: no"


def examples() -> Iterator[tuple[str, list[str]]]:
    """The commands that stand in help texts."""

    def texts(parser: ArgumentParser) -> Iterator[str]:
        yield from filter(None, (parser.description, parser.epilog, *(action.help for action in parser._actions)))
        for action in parser._actions:
            choices: Any = action.choices
            if isinstance(choices, dict):
                for each in choices.values():
                    yield from texts(each)

    for text in texts(_parser()):
        _, found, example = text.partition(";")[0].partition("as in: ")
        if found:
            yield example, shlex.split(example)


def test_every_example_of_a_help_text_is_understood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``serve`` is called off before it starts anything."""
    asked: list[dict[str, Any]] = []

    def instead(start: Any, provider: Any, launcher: Any, spec: str, *others: object) -> int:
        asked.append({"spec": spec, "command": provider.command(spec).argv})
        return 0

    monkeypatch.setattr("doteval.cli._serve.anyio.run", instead)
    found = list(examples())
    assert found
    for example, words in found:
        assert words[0] == "doteval"
        assert main(words[1:]) == 0, (example, capsys.readouterr().err)
    assert asked[0]["spec"] == "Qwen/Qwen3-0.6B"
    assert asked[0]["command"][-2:] == ("--max-model-len", "4096") or "--max-model-len" in asked[0]["command"]


@pytest.mark.parametrize(
    ("words", "settings", "others"),
    [
        (["--max-model-len", "4096"], {"max_model_len": 4096}, []),
        (["--max-model-len=4096", "--max-logprobs", "5"], {"max_model_len": 4096}, ["--max-logprobs", "5"]),
        (["--enforce-eager", "--max-logprobs", "5"], {"enforce_eager": True}, ["--max-logprobs", "5"]),
        (["--no-enable-prefix-caching"], {"enable_prefix_caching": False}, []),
        (["--max_num_seqs", "2", "--max-num-seqs", "3"], {"max_num_seqs": 3}, []),
        (["-tp", "2", "--gpu-memory-utilization", ".5"], {"tensor_parallel_size": 2}, []),
        (["--seed", "0", "--dtype", "auto"], {"seed": 0, "dtype": "auto"}, []),
        (["--hf-overrides", '{"a": 1}'], {"hf_overrides": {"a": 1}}, []),
        (["--lora-modules", "a=b", "c=d"], {"lora_modules": {"a": "b", "c": "d"}}, []),
        (["--served-model-name", "one"], {"served_model_name": "one"}, []),
        (["--port", "8000"], {"port": 8000}, []),
        (["--max-logprobs", "-1"], {}, ["--max-logprobs", "-1"]),
    ],
)
def test_what_stands_after_dashes_is_understood(words: list[str], settings: dict[str, Any], others: list[str]) -> None:
    """An option that doteval has a keyword argument for is one; all others are passed on."""
    from doteval.providers.vllm import SERVER

    if ".5" in words:
        settings = {**settings, "gpu_memory_utilization": 0.5}
        words = [word.replace(".5", "0.5") for word in words]
    assert SERVER.options.read(words) == (settings, others)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-model-len", "many"], "--max-model-len must be a whole number of at least 1, not 'many'"),
        (["--max-model-len"], "--max-model-len"),
        (["--host", "0.0.0.0"], "doteval chooses where the server listens"),
        (["--api-key", "x"], "doteval makes a key for each server"),
    ],
)
def test_what_cannot_stand_after_dashes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says which, and why."""
    code, error = told(["serve", "vllm:a", "--", *words], capsys)
    assert code == 2
    assert message in error


OPTIONS = [
    ("vllm:a", ["max_model_len=4096"], ["--max-model-len", "4096"]),
    ("vllm:a", ["max-model-len=4096"], ["--max-model-len", "4096"]),
    ("vllm:a", ["served_model_name=7"], ["--served-model-name", "7"]),
    ("vllm:a", ["enforce_eager=true"], ["--enforce-eager"]),
    ("vllm:a", ["dtype=null"], ["--dtype", "null"]),
    ("vllm:a", ['hf_overrides={"a": 1}'], ["--hf-overrides", '{"a": 1}']),
    ("vllm:a", ["seed=0"], ["--seed", "0", "--max-logprobs", "9"]),
    ("llamacpp:a/b", ["flash_attn=on", "gpu_layers=all"], ["--flash-attn", "on", "--gpu-layers", "all"]),
]


@pytest.mark.parametrize(("spec", "settings", "words"), OPTIONS)
def test_a_setting_is_what_the_server_calls_the_same(
    spec: str, settings: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is written, it is the same command, and so the same server as that of a test with the keyword."""
    commands: list[tuple[str, ...]] = []

    def instead(start: Any, provider: Any, launcher: Any, spec: str, *others: object) -> int:
        commands.append(provider.command(spec).argv)
        return 0

    monkeypatch.setattr("doteval.cli._serve.anyio.run", instead)
    others = words[2:] if settings == ["seed=0"] else []
    flags = [word for setting in settings for word in ("--setting", setting)]
    assert main(["serve", spec, *flags, "--", *others]) == 0
    assert main(["serve", spec, "--", *words]) == 0
    assert commands[0] == commands[1]


def test_settings_of_the_provider_are_json_or_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that are no options of the server, and what stands in the braces of a command."""
    made: list[tuple[Any, dict[str, Any]]] = []

    def instead(start: Any, provider: Any, *others: Any) -> int:
        made.append((provider, dict(others[-1])))
        assert provider._launcher is others[0]
        assert provider._launcher._share == "team"
        return 0

    monkeypatch.setattr("doteval.cli._serve.anyio.run", instead)
    settings = ["share=team", "capacity=2", "gpus=null", 'environment={"A": "b"}', "start_timeout=1.5"]
    flags = [word for setting in settings for word in ("--setting", setting)]
    assert main(["serve", "vllm:a", *flags]) == 0
    assert main(["serve", "a", "--command", "x {port} {ctx}", "--setting", "ctx=4096", *flags]) == 0
    for provider, _ in made:
        assert len(provider._terms.slots.names) == 2
        assert provider._terms.start_timeout == 1.5
        assert dict(provider.command("a", **({"ctx": 1} if provider is made[1][0] else {})).environment)["A"] == "b"
    assert [config for _, config in made] == [{}, {"ctx": "4096"}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vllm:a", "--setting", "max_model_len"], "--setting is KEY=VALUE, not 'max_model_len'"),
        (["vllm:a", "--setting", "=5"], "--setting is KEY=VALUE"),
        (["vllm:a", "--setting", "max_model_len=many"], "max_model_len must be a whole number of at least 1"),
        (["vllm:a", "--setting", "ctx_size=5"], "takes no ctx_size; --setting takes "),
        (["vllm:a", "--setting", "port=5"], "--setting cannot be port: write --port"),
        (["vllm:a", "--setting", "extra_args=[]"], "write them after '--'"),
        (["vllm:a", "--setting", "start_timeout=-1"], "start_timeout"),
        (["a", "--command", "x {port}", "--setting", "ctx=5"], "ServerProvider has no keyword argument ctx"),
    ],
)
def test_what_cannot_be_a_setting(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which, and what there is instead."""
    code, error = told(["serve", *words], capsys)
    assert code == 2
    assert message in error


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("doteval ", {"providers", "serve", "servers", "stop", *OF_RESULTS}),
        ("doteval sh", {"show"}),
        ("doteval show --", {"--errors", "--json", "--store", "--help"}),
        ("doteval show ", {"mine", "yours"}),
        ("doteval compare mine y", {"yours"}),
        ("doteval export mine --format ", {"jsonl", "csv", "parquet"}),
    ],
)
def test_a_shell_is_told_how_a_line_may_go_on(line: str, offered: set[str], tmp_path: Path, forks: Forks) -> None:
    """As argcomplete asks, which hands the answer to bash, zsh and fish."""
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    assert forks.run("-m", "doteval", env=environment).returncode == 0
    assert offered <= {word.strip() for word in answer.read_text().split("\n")}


OTHER_SERVERS = """
from doteval import CommandProvider, HTTPProvider
class Fix(CommandProvider):
    def __init__(self, **settings):
        super().__init__(["serve", "{port}"], **settings)
def make(**settings):
    return Fix()
"""


@pytest.mark.process
@pytest.mark.parametrize("absent", ["", "import sys; sys.modules.update(openai=None)\n"])
def test_what_serve_cannot_do_is_told_whatever_is_installed(absent: str, tmp_path: Path) -> None:
    """Servers of another kind than models', no servers, and a spec that is none; no SDK is missed for that."""
    providers = {"fix": "fixpkg:Fix", "made": "fixpkg:make", "web": "fixpkg:HTTPProvider"}
    install(tmp_path, "fixpkg", entry_points={"doteval.model_providers": providers}, fixpkg=OTHER_SERVERS)
    told = {
        "fix:abc": "the provider 'fix' starts servers that are none of chat models, so nobody could say how",
        "made:abc": "the provider 'made' starts servers that are none of chat models",
        "web:abc": "the provider 'web' starts no servers",
        "abc": "'abc' does not say what is to serve it",
        "fix:": "it names the provider 'fix' but no model",
    }
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code = f"{absent}{path}from doteval.cli import main\nfor spec in {[*told]!r}: print(main(['serve', spec]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", "2", "2", "2", "1"], done.stderr
    for text in told.values():
        assert text in done.stderr


@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "code_of_exit"),
    [
        ("from doteval import OpenAIProvider", 1),
        ("from doteval import OpenAICompatibleProvider", 1),
        ("from doteval.cli import main; sys.exit(main(['serve', 'm', '--command', 'x {port}']))", 1),
    ],
)
def test_without_an_sdk_it_is_said_what_to_install(code: str, code_of_exit: int) -> None:
    """Also where what comes along with it is missing first."""
    absent = "import sys; sys.modules.update(openai=None, httpx2=None)"
    done = subprocess.run([sys.executable, "-c", f"{absent}\n{code}"], capture_output=True, text=True, check=False)
    assert done.returncode == code_of_exit
    assert done.stderr.endswith("needs the package openai: pip install 'openai>=3'\n")
    assert ("Traceback" in done.stderr) is ("main" not in code)
