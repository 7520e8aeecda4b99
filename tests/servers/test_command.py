"""What is run for a server: what is filled in, what is inherited, what tells two apart, and that no secret is shown."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from doteval import CommandProvider, SpecError
from doteval.servers._description.command import CommandMissingError, FilledCommand, ServerCommand
from doteval.servers._local.ports import free_port

API_KEY = "sk-of-this-server-only"
TOKEN = "hf_nobodymayseethis"


def command(*argv: str, **fields: Any) -> ServerCommand:
    return ServerCommand(**({"kind": "vllm", "spec": "tiny", "argv": argv or (sys.executable,)} | fields))


def filled(a_command: ServerCommand) -> FilledCommand:
    return a_command.filled(port=4321, api_key=API_KEY, directory="/run/mine")


# -------------------------------------------------------------------- filling in


def test_placeholders_are_filled_in_and_other_braces_stay() -> None:
    """JSON on the command line is not a template."""
    options = '{"port": 1, "{x}": {}}'
    run = filled(
        command(
            sys.executable,
            "--port={port}",
            "--host",
            "{host}",
            options,
            environment={"CACHE": "{directory}/cache"},
            secret_environment={"THE_KEY": "Bearer {api_key}"},
            files={"key": "{api_key}\n"},
            cwd="{directory}/work",
        )
    )
    assert run.argv == (sys.executable, "--port=4321", "--host", "127.0.0.1", options)
    assert run.environment["CACHE"] == "/run/mine/cache"
    assert run.environment["THE_KEY"] == f"Bearer {API_KEY}"
    assert run.files == {"key": f"{API_KEY}\n"}
    assert run.cwd == "/run/mine/work"


NAMES = (
    "{port}",
    "{host}",
    "{directory}",
    "{api_key}",
    "{spec}",
    "{a}",
    "{b}",
    "{nope}",
    "{{port}}",
    "{",
    "port",
    "{po",
    "rt}",
)


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    """A directory that is called like a placeholder is only a directory, and a value of the user's only a value."""
    run = command(sys.executable, "{directory}").filled(port=1, api_key=API_KEY, directory="/x/{api_key}")
    assert run.argv[1] == "/x/{api_key}"
    template = ["{spec}", "-{spec}-{port}", "{{spec}}", "{spec}{a}", "{b}/{a}/{c}"]
    for spec, a in itertools.product(NAMES, NAMES):
        values = {"spec": spec, "a": a, "b": "B"}
        a_command = command(sys.executable, *template, stop=(sys.executable, *template), values=values)
        words = (spec, f"-{spec}-4321", f"{{{spec}}}", f"{spec}{a}", f"B/{a}/{{c}}")
        assert filled(a_command).argv == filled(a_command).stop == (sys.executable, *words)


@pytest.mark.parametrize("spec", NAMES)
def test_what_setup_is_asked_for_is_data(spec: str) -> None:
    """Also where it is called like what is filled in, and ``{api_key}`` is no key on the command line."""
    words = [sys.executable, "{spec}", "{style}", "--port={port}"]
    run = filled(CommandProvider(words, stop_command=words).command(spec, style=spec))
    assert run.argv == run.stop == (sys.executable, spec, spec, "--port=4321")


def test_a_value_that_looks_like_a_name_makes_another_server() -> None:
    """What is filled in is not what is said to be filled in."""
    keys = {command(sys.executable, "{spec}", values={"spec": spec}).key() for spec in NAMES}
    assert len(keys | {command(sys.executable, spec).key() for spec in ("{spec}", "{port}")}) == len(NAMES) + 2


def test_the_environment_is_inherited_but_for_what_belongs_to_the_test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that outlives a test must not take itself for a part of it."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    monkeypatch.setenv("COV_CORE_SOURCE", "src")
    monkeypatch.setenv("KEPT", "yes")
    environment = filled(command()).environment
    assert environment["KEPT"] == "yes"
    assert environment["PATH"] == os.environ["PATH"]
    assert not [name for name in environment if name.startswith(("PYTEST_", "COV_"))]


def test_the_server_has_directories_of_its_own_and_prints_at_once() -> None:
    """Its working and temporary directories are its own, and Python keeps back no output."""
    run = filled(command())
    assert run.environment["TMPDIR"] == "/run/mine/tmp"
    assert run.environment["PYTHONUNBUFFERED"] == "1"
    assert run.cwd == "/run/mine"


def test_the_command_has_the_last_word_on_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sets itself wins over what is inherited and over the defaults."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    run = filled(command(environment={"HF_HUB_OFFLINE": "1", "TMPDIR": "/big"}))
    assert run.environment["HF_HUB_OFFLINE"] == "1"
    assert run.environment["TMPDIR"] == "/big"


def test_a_relative_working_directory_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is resolved when the command is made, and stays where it is when the caller moves on."""
    monkeypatch.chdir(tmp_path)
    a_command = command(cwd="models")
    monkeypatch.chdir("/")
    assert filled(a_command).cwd == str(tmp_path / "models")


# -------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"argv": ("serve", "--api-key", "{api_key}")}, "secret_environment="),
        ({"argv": ("serve", "--api-key={api_key}")}, "files="),
        ({"environment": {"THE_KEY": "{api_key}"}}, "move it from environment to secret_environment"),
        ({"environment": {"A": "1"}, "secret_environment": {"A": "2"}}, "keep one of them"),
        ({"argv": ()}, "must name a command"),
        ({"argv": "serve --port 1"}, "['serve', '--port', '1']"),
        ({"argv": ("",)}, "must name a command"),
        ({"kind": "My Server"}, "small letters"),
        ({"kind": "../x"}, "small letters"),
        ({"files": {"../key": ""}}, "use a plain name"),
        ({"files": {".hidden": ""}}, "use a plain name"),
        ({"files": {"server.log": ""}}, "use a plain name"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_advice(fields: dict[str, Any], advice: str) -> None:
    """Above all an API key where every user of the machine can read it."""
    with pytest.raises(ValueError, match=r".") as caught:
        command(**fields)
    assert advice in str(caught.value)


@pytest.mark.parametrize("spec", ["--trust-remote-code", "-m", "", " x"])
def test_a_spec_that_looks_like_an_option_is_refused(spec: str) -> None:
    """Or one that names nothing."""
    with pytest.raises(SpecError):
        command(spec=spec)


# -------------------------------------------------------------------- finding the command


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_command_is_looked_up_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell would, the first one wins."""
    first, second = executable(tmp_path / "a" / "my-serve"), executable(tmp_path / "b" / "my-serve")
    monkeypatch.setenv("PATH", f"{first.parent}:{second.parent}")
    assert command("my-serve").resolved() == str(first)
    assert command("my-serve", environment={"PATH": str(second.parent)}).resolved() == str(second)
    assert filled(command("my-serve", "x")).argv == (str(first), "x")


def test_a_command_beside_the_running_python_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.venv/bin/pytest` finds `.venv/bin/vllm` although the environment is not activated."""
    serve = executable(tmp_path / "my-serve")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert command("my-serve").resolved() == str(serve)


def test_a_relative_path_starts_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the command, if it has one, otherwise the caller's."""
    serve = executable(tmp_path / "bin" / "my-serve")
    monkeypatch.chdir(tmp_path)
    assert command("./bin/my-serve").resolved() == str(serve)
    monkeypatch.chdir("/")
    assert command("bin/my-serve", cwd=str(tmp_path)).resolved() == str(serve)


def test_a_missing_command_says_what_where_and_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to guess which PATH was meant."""
    monkeypatch.setenv("PATH", str(tmp_path))
    a_command = command("my-serve", install_hint="Install it with 'pip install my-serve'")
    for ask in (a_command.resolved, a_command.key, lambda: filled(a_command)):
        with pytest.raises(CommandMissingError) as caught:
            ask()
        message = str(caught.value)
        assert "'my-serve' is not installed" in message
        assert str(tmp_path) in message
        assert message.endswith("Install it with 'pip install my-serve'.")


def test_a_file_that_cannot_be_executed_is_no_command(tmp_path: Path) -> None:
    """And neither is a directory; without a hint the advice is general."""
    (tmp_path / "serve").write_text("")
    for path in (tmp_path / "serve", tmp_path):
        with pytest.raises(CommandMissingError, match=r"Install it, or give the whole path of the executable\."):
            command(str(path)).resolved()


# -------------------------------------------------------------------- the key


DIFFERENT = {
    "kind": {"kind": "sglang"},
    "spec": {"spec": "other"},
    "argv": {"argv": (sys.executable, "-x")},
    "command": {"argv": ("/bin/sh",)},
    "environment": {"environment": {"A": "2"}},
    "secrets": {"secret_environment": {"T": "another"}},
    "files": {"files": {"key": "another"}},
    "cwd": {"cwd": "/"},
}


@pytest.mark.parametrize("fields", DIFFERENT.values(), ids=DIFFERENT)
def test_every_difference_is_in_the_key(fields: dict[str, Any]) -> None:
    """Two that are set up differently never share a server."""
    base = {"environment": {"A": "1"}, "secret_environment": {"T": TOKEN}, "files": {"key": "{api_key}"}}
    assert command(**base).key() == command(**base).key()
    assert command(**base).key() != command(**(base | fields)).key()


def test_what_makes_no_difference_is_not_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the order of variables, nor those of others, nor how to install it."""
    key = command(environment={"A": "1", "B": "2"}, relevant_environment=("VLLM_",)).key()
    monkeypatch.setenv("OTHER", "x")
    same = command(environment={"B": "2", "A": "1"}, relevant_environment=("VLLM_",), install_hint="pip install it")
    assert same.key() == key


def test_relevant_inherited_variables_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the command sets them itself."""
    a_command = command(relevant_environment=("VLLM_", "HF_"))
    decided = command(relevant_environment=("VLLM_",), environment={"VLLM_USE_V1": "1"})
    keys = [a_command.key(), decided.key()]
    monkeypatch.setenv("VLLM_USE_V1", "0")
    assert a_command.key() != keys[0]
    assert decided.key() == keys[1]


def test_what_the_caller_adds_is_in_the_key() -> None:
    """Also a path; what has no stable form is refused rather than never found again."""
    keys = {command().key(), command().key("gpu-0"), command().key(["gpu-0", 1]), command().key(Path("gpu-0"), None)}
    assert len(keys) == 4
    with pytest.raises(TypeError):
        command().key(object())


@pytest.mark.process
def test_the_key_is_the_same_in_every_process() -> None:
    """Which is how two processes find the same server, whatever their hash seeds are."""
    source = (
        "import sys; from doteval.servers._description.command import ServerCommand as C;"
        "print(C('vllm', 'tiny', (sys.executable, '-x'), {'A': '1', 'B': '2'}, {'T': 'secret'}).key('gpu-0'))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", source],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = command(sys.executable, "-x", environment={"B": "2", "A": "1"}, secret_environment={"T": "secret"}).key(
        "gpu-0"
    )
    assert keys == {here}
    assert "secret" not in here


# -------------------------------------------------------------------- showing it


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("--model", "a b"), "--model 'a b'"),
        (("--port", "{port}"), "--port {port}"),
        (("--api-key", TOKEN), "--api-key ***"),
        (("--api-key", TOKEN, TOKEN + "2", "--port", "1"), "--api-key *** *** --port 1"),
        (("--api-key", "-starts-with-a-dash", "-x"), "--api-key *** -x"),
        ((f"--api-key={TOKEN}",), "--api-key=***"),
        (("--hf-token", TOKEN), "--hf-token ***"),
        (("--api_key", TOKEN), "--api_key ***"),
        ((f"--env=HF_TOKEN={TOKEN}",), "--env=HF_TOKEN=***"),
        (("-e", f"HF_TOKEN={TOKEN}"), "-e HF_TOKEN=***"),
        (("--header", f"Authorization: Bearer {TOKEN}"), "--header 'Authorization: ***'"),
        ((f'{{"api_key": "{TOKEN}", "n": "1"}}',), """'{"api_key": "***", "n": "1"}'"""),
        ((f"http://me:{TOKEN}@host/v1",), "http://***@host/v1"),
        (("--max-model-len", "4096"), "--max-model-len 4096"),
        (("--api-key-file", "/run/mine/key"), "--api-key-file /run/mine/key"),
        (("--enable-auth", "--port", "1"), "--enable-auth --port 1"),
    ],
)
def test_the_command_is_shown_without_secrets(arguments: tuple[str, ...], shown: str) -> None:
    """Ready to be pasted into a shell, but for what is masked."""
    assert command("/bin/serve", *arguments).shown() == f"/bin/serve {shown}"
    assert TOKEN not in repr(command("/bin/serve", *arguments))


def test_its_own_environment_is_shown_and_its_secrets_are_not() -> None:
    """What was set for this command is needed to run it again by hand; what was inherited is not."""
    a_command = command(
        "/bin/sh",
        environment={"HF_HUB_OFFLINE": "1", "OPTIONS": "a b", "HF_TOKEN": TOKEN},
        secret_environment={"VLLM_API_KEY": "{api_key}", "EXTRA": "its own secret"},
    )
    shown = "HF_HUB_OFFLINE=1 OPTIONS='a b' HF_TOKEN=*** VLLM_API_KEY=*** EXTRA=*** /bin/sh"
    assert a_command.shown() == shown
    assert filled(a_command).shown() == shown
    assert repr(filled(a_command)) == f"<FilledCommand {shown}>"


def test_the_secrets_are_known_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may print its arguments and its environment, so the log is masked with all of these."""
    monkeypatch.setenv("SOME_API_KEY", "inherited-secret")
    run = filled(
        command(
            sys.executable,
            "--hf-token",
            TOKEN,
            environment={"DB_PASSWORD": "from-the-environment"},
            secret_environment={"EXTRA": "its own secret", "VLLM_API_KEY": "{api_key}"},
            files={"key": "{api_key}\n", "token": "from-a-file\n", "config": "host: x\nport: 1\n"},
        )
    )
    assert run.secrets >= {
        API_KEY,
        "inherited-secret",
        TOKEN,
        "from-the-environment",
        "its own secret",
        "from-a-file",
    }
    assert not run.secrets & {"", "host: x", "host: x\nport: 1"}


def test_passwords_in_addresses_are_secrets_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the environment that it inherits, of its own, and of its command: it may print them apart."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:inherited-pw@proxy:3128")
    monkeypatch.setenv("PGPASSWORD", "of-the-database")
    own = {"DATABASE_URL": "postgres://me:its-own-pw@db/x"}
    run = filled(command(sys.executable, "--mirror=https://me:command-pw@mirror/", environment=own))
    assert {"inherited-pw", "of-the-database", "its-own-pw", "command-pw"} <= run.secrets
    assert not {"me", "proxy", "db"} & run.secrets


def test_a_home_directory_may_be_written_as_people_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell is there that would read it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    server = tmp_path / "server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    run = filled(command("~/server", cwd="~"))
    assert (run.argv, run.cwd) == ((str(server),), str(tmp_path))


def test_what_is_too_short_to_be_a_secret_is_none() -> None:
    """Otherwise half of the log would be masked."""
    run = filled(command(sys.executable, "--pad-token", "0", environment={"KEY": "1"}))
    assert not run.secrets & {"0", "1"}
    assert run.shown().startswith("KEY=***")


def test_the_argv_can_be_any_sequence_and_is_not_followed_later() -> None:
    """A list that the caller changes afterwards changes nothing here."""
    argv, environment = [sys.executable, "x"], {"A": "1"}
    a_command = ServerCommand("vllm", "tiny", argv, environment)  # type: ignore[arg-type]
    argv.append("y")
    environment["A"] = "2"
    assert filled(a_command).argv == (sys.executable, "x")
    assert json.loads(json.dumps(dict(a_command.environment))) == {"A": "1"}


def test_a_free_port_can_be_bound() -> None:
    """It is free at this moment, which is all anybody can say."""
    with socket.create_server(("127.0.0.1", free_port())):
        pass
