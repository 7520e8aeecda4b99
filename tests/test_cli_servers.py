"""``doteval serve``, ``servers`` and ``stop``, as a user runs them: with real servers, in a directory of their own."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pytest
from tests.distributions import install
from tests.forks import PIPE, STDOUT, Fork, Forks
from tests.servers.leftovers import await_end, kill_all, leftovers, parent

from doteval import PoolEvent, ServerProvider
from doteval.cli import _stop, main
from doteval.cli._serve import serve
from doteval.cli._units import short_size, short_time
from doteval.servers import LocalLauncher
from doteval.servers._local import connection
from doteval.servers._local.connection import Connection
from doteval.servers._local.runtime import signal_supervisor

GROUP = "doteval.model_providers"
SERVER = Path(__file__).parent / "servers" / "light_server.py"
LIGHT = [sys.executable, "-I", "-S", str(SERVER), "{port}", "model={spec}"]
COMMAND = " ".join(LIGHT)
PATIENCE = 60.0
HELLO: Any = [{"role": "user", "content": "Hello"}]
WAIT: Any = [{"role": "user", "content": "wait"}]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory, in which nothing may be left."""
    root = Path(tempfile.mkdtemp(prefix="dc-", dir="/tmp"))  # sockets need a short path
    monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", str(root))
    monkeypatch.setenv("COLUMNS", "200")
    yield root
    left = leftovers(root)
    if left:
        kill_all(root)
    shutil.rmtree(root, ignore_errors=True)
    assert not left, f"servers left behind: {left}"


@pytest.fixture
def light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered provider, ``light``, whose servers want to see their key; and one that starts none."""
    install(
        tmp_path,
        "lightpkg",
        entry_points={GROUP: {"light": "lightpkg:Light", "small": "lightpkg:small", "http2": "lightpkg:http"}},
        lightpkg=f"""
        import doteval

        class Light(doteval.ServerProvider):
            def __init__(self, *, extra_args=(), **settings):
                key = {{"LIGHT_KEY": "{{api_key}}"}}
                super().__init__([*{LIGHT!r}, *extra_args], secret_environment=key, capacity=4, **settings)

        def small():
            return Light()

        def http():
            return doteval.HTTPProvider()
        """,
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)


@dataclass
class Result:
    """How the command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Result:
    """Run the command to its end, in this process: that is faster."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(arguments)
    return Result(code, out.getvalue(), err.getvalue())


class Serving:
    """A ``doteval serve`` that runs.

    Args:
        process: The process; standard error goes where standard output does.
    """

    def __init__(self, process: Fork) -> None:
        self.process = process
        self.printed = ""

    def until(self, text: str) -> str:
        """Read until a line has this in it; what was printed so far."""
        assert self.process.stdout is not None
        while text not in self.printed:
            line = self.process.stdout.readline()
            assert line, f"it ended, and {text!r} was not in what it printed:\n{self.printed}"
            self.printed += line
        return self.printed

    def until_ready(self) -> str:
        return self.until("Ctrl-C stops")

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal, and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        assert self.process.stdout is not None
        self.printed += self.process.stdout.read()
        return self.process.wait(PATIENCE)

    def found(self, pattern: str) -> str:
        """What a pattern with one group finds in what was printed."""
        match = re.search(pattern, self.printed)
        assert match is not None, self.printed
        return match[1]


Serve = Callable[..., AbstractContextManager[Serving]]


@pytest.fixture
def serving(forks: Forks) -> Serve:
    """Starts ``doteval serve``; it is ended by a signal where it has not ended by itself."""

    @contextmanager
    def serving(*arguments: str) -> Iterator[Serving]:
        with forks.start("-m", "doteval", "serve", *arguments, stdout=PIPE, stderr=STDOUT) as process:
            it = Serving(process)
            try:
                yield it
            finally:
                if process.poll() is None:
                    it.end()

    return serving


def ask(base_url: str, key: str, prompt: str) -> str | None:
    """What OpenAI's SDK is answered."""
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        reply = client.chat.completions.create(model="small", messages=[{"role": "user", "content": prompt}])
    return reply.choices[0].message.content


def listed() -> list[dict[str, Any]]:
    """What programs are told."""
    found: list[dict[str, Any]] = json.loads(run("servers", "--json").stdout)
    return found


# -------------------------------------------------------------------- servers


def test_where_nothing_runs_it_says_so(root: Path) -> None:
    """For a person, and for a program."""
    assert run("servers").stdout == "no server is running\n"
    assert listed() == []
    result = run("stop", "--all")
    assert (result.returncode, result.stdout) == (0, "no server is running\n")


@pytest.mark.usefixtures("light")
def test_what_runs_is_listed_without_its_key(serving: Serve, root: Path) -> None:
    """A line with all that there is to see; as JSON, the same and more; the key in neither."""
    with serving("light:small", "--show-key") as it:
        it.until_ready()
        key = it.found(r"OPENAI_API_KEY=(\S+)")
        result = run("servers")
        (status,) = listed()
        assert key not in result.stdout + json.dumps(status)
        head, line = result.stdout.splitlines()
        assert head.split() == [
            "ID",
            "PID",
            "PORT",
            "STATE",
            "SLOTS",
            "LEASES",
            "HOLDS",
            "AGE",
            "IDLE",
            "MEMORY",
            "MODEL",
        ]
        server_id, pid, port, state, slots, leases, holds, _age, idle, _number, unit, model = line.split()
        assert status["id"].startswith(server_id)
        assert (int(pid), int(port), state, leases, holds) == (status["pid"], status["port"], "ready", "1", "0")
        assert (slots, status["slots"], status["fraction"]) == ("1", ["slot-0"], 1.0)
        assert (idle, unit, model) == ("-", "MiB", "small")
        assert status["url"] == f"http://127.0.0.1:{port}"
        assert status["kind"] == "server"
        assert it.end() == 0


@pytest.mark.usefixtures("light")
def test_a_line_that_does_not_fit_has_its_model_below(
    forks: Forks, serving: Serve, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal of 80 columns no line is longer; a pipe gets one line for each server."""
    model = "some-organisation/a-model-with-a-rather-long-name-8B-Instruct"
    monkeypatch.setenv("COLUMNS", "80")
    with serving(f"light:{model}") as it:
        it.until_ready()
        printed = re.sub(r"\x1b\[\d*m", "", on_terminal(forks, "servers"))
        assert max(map(len, printed.splitlines())) <= 80
        assert f"  {model}" in printed.splitlines()
        assert len(run("servers").stdout.splitlines()) == 2


def test_times_and_sizes_are_short() -> None:
    """In the unit that says enough."""
    assert [short_time(each) for each in (-1, 0, 99.4, 100, 5999, 6000, 48 * 3600)] == [
        "0s", "0s", "99s", "1m", "99m", "1h", "2d",
    ]  # fmt: skip
    assert [short_size(each) for each in (0, 500 << 10, 81 << 20, 2_800_000_000)] == [
        "0 KiB", "500 KiB", "81 MiB", "2.6 GiB",
    ]  # fmt: skip


def on_terminal(forks: Forks, *arguments: str) -> str:
    """What the command prints where standard output is a terminal."""
    ours, theirs = pty.openpty()
    with forks.start("-m", "doteval", *arguments, stdout=theirs) as process:
        os.close(theirs)
        printed = b""
        try:
            while data := os.read(ours, 4096):
                printed += data
        except OSError:  # how Linux says that nobody has the other end any more
            pass
        finally:
            os.close(ours)
        assert process.wait(PATIENCE) == 0
    return printed.decode().replace("\r\n", "\n")


# -------------------------------------------------------------------- serve


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_says_how_to_use_the_server_and_ends_it(serving: Serve, number: signal.Signals, root: Path) -> None:
    """OpenAI's SDK is answered with what was printed; after the signal the exit code is 0 and nothing is left."""
    with serving("light:small", "--show-key") as it:
        it.until_ready()
        base_url, key = it.found(r"OPENAI_BASE_URL=(\S+)"), it.found(r"OPENAI_API_KEY=(\S+)")
        pid = it.found(r"process (\d+)")
        assert ask(base_url, key, "Hello") == pid
        with pytest.raises(openai.AuthenticationError):
            ask(base_url, "another", "Hello")
        assert it.end(number) == 0
        assert it.printed.splitlines()[-1].startswith("stopped server-")
        assert not leftovers(root, 0)


@pytest.mark.usefixtures("light")
def test_the_key_goes_to_terminals_only(forks: Forks, serving: Serve, root: Path) -> None:
    """A log of the command has no key in it."""
    with serving("light:small") as it:
        it.until_ready()
        assert "OPENAI_API_KEY=...\n" in it.printed
    ours, theirs = pty.openpty()
    with forks.start("-m", "doteval", "serve", "light:small", stdout=theirs) as process, os.fdopen(ours, "rb") as file:
        os.close(theirs)
        printed = ""
        while "Ctrl-C" not in printed:
            printed += file.readline().decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert re.search(r"OPENAI_API_KEY=[\w-]{20,}", printed)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("options", [[], ["--show-key"]])
def test_programs_are_told_how_to_use_the_server(serving: Serve, root: Path, options: list[str]) -> None:
    """As an array with one object, when it is ready; the key is in it where that was asked for."""
    with serving("light:small", "--json", *options) as it:
        it.until("\n]\n")
        (told,) = json.loads(it.printed[it.printed.index("[\n") :])
        assert it.end() == 0
    assert set(told) == {"id", "pid", "url", "model", "api_key", "log"}
    assert told["url"].startswith("http://127.0.0.1:")
    assert (told["api_key"] is not None) == bool(options)


def test_any_command_can_be_served(serving: Serve, root: Path) -> None:
    """With a condition for being ready; the server has no key, so any will do."""
    with serving("--command", COMMAND, "--ready", "port", "--port", "0", "my-model") as it:
        assert it.wait() == 2
        assert "port must be a whole number from 1 to 65535" in it.printed
    with serving("my-model", "--command", COMMAND, "--ready", "port") as it:
        it.until_ready()
        assert it.found(r"model  (\S+)") == "my-model"
        assert ask(it.found(r"URL    (\S+)"), it.found(r"OPENAI_API_KEY=(\S+)"), "Hello")


@pytest.mark.usefixtures("light")
def test_what_stands_after_two_dashes_goes_to_the_server(serving: Serve, root: Path) -> None:
    """Behind all options, and not read as one."""
    with serving("light:small", "--keep-alive", "0", "--", "--help") as it:
        it.until("starting")
        assert it.wait() == 1  # the light server does not know it
        assert re.search(r"command: .* --help\n", it.printed)


@pytest.mark.usefixtures("light")
def test_a_second_serve_joins_the_first(serving: Serve, root: Path) -> None:
    """It is the same process; who leaves first leaves it to the other."""
    with serving("light:small") as first:
        first.until_ready()
        with serving("light:small") as second:
            second.until_ready()
            assert second.found(r"process (\d+)") == first.found(r"process (\d+)")
            assert "joining server-" in second.printed
            assert listed()[0]["leases"] == 2
            assert first.end() == 0
            assert "goes on, as others use it (1 leases, 0 holds)" in first.printed
            assert second.end() == 0


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("seconds", "told", "keep_alive"), [("600", "for 600 s", 600), ("inf", "until it is stopped", None)]
)
def test_a_server_that_is_kept_alive_goes_on(
    serving: Serve, root: Path, seconds: str, told: str, keep_alive: float | None
) -> None:
    """It is there without the command that started it, until it is stopped by the beginning of its id."""
    with serving("light:small", "--keep-alive", seconds) as it:
        it.until_ready()
        assert it.end() == 0
        assert f"goes on {told}; 'doteval stop server-" in it.printed
    (status,) = listed()
    assert (status["leases"], status["holds"], status["keep_alive"]) == (0, 0, keep_alive)
    short_id = run("servers").stdout.splitlines()[1].split()[0]
    result = run("stop", short_id)
    assert result.returncode == 0
    assert re.fullmatch(rf"stopped {status['id']} \(small\) in \d+\.\d s\n", result.stdout)
    assert listed() == []


def test_a_start_can_be_called_off(serving: Serve, root: Path) -> None:
    """Ctrl-C before the server is ready: 130, as shells say it, and nothing is left."""
    with serving("my-model", "--command", f"{COMMAND} trouble=silent") as it:
        it.until("starting")
        assert it.end() == 130
        assert "calling the start off" in it.printed
        assert "Traceback" not in it.printed
        assert not leftovers(root, 0)


def test_a_server_that_does_not_start_is_explained(serving: Serve, root: Path) -> None:
    """The exit code is 1; what stands there is the account, not a traceback."""
    with serving("my-model", "--command", f"{COMMAND} trouble=model") as it:
        assert it.wait() == 1
        assert "Traceback" not in it.printed
        assert "doteval: Failed to setup resource 'my-model'" in it.printed
        assert "loading the weights ..." in it.printed
        assert "There is no such model" in it.printed


def test_a_command_that_is_not_installed_is_explained(serving: Serve, root: Path) -> None:
    """It says where it was looked for."""
    with serving("my-model", "--command", "no-such-server {port}") as it:
        assert it.wait() == 1
        assert "the command 'no-such-server' is not installed" in it.printed


def test_a_server_that_dies_ends_the_command(serving: Serve, root: Path) -> None:
    """With the account of its death, and exit code 1."""
    with serving("my-model", "--command", COMMAND) as it:
        it.until_ready()
        with pytest.raises(openai.APIConnectionError):
            ask(it.found(r"URL    (\S+)"), it.found(r"OPENAI_API_KEY=(\S+)"), "die")
        assert it.wait() == 1
        assert "exited with code 3" in it.printed
        assert "assertion failed in the engine" in it.printed
        assert "Traceback" not in it.printed


def test_who_waits_for_a_slot_says_so(serving: Serve, root: Path) -> None:
    """The second server of a machine with one slot starts when the first has ended."""
    with serving("one", "--command", COMMAND) as first:
        first.until_ready()
        with serving("two", "--command", COMMAND) as second:
            second.until("waiting for a free slot")
            assert first.end() == 0
            second.until_ready()


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "tiny"], "put a provider's name in front, such as 'vllm:tiny'"),
        (["serve", "openai:gpt-4o"], "the provider 'openai' starts no servers"),
        (["serve", "http2:gpt-4o"], "the provider 'http2' starts no servers"),
        (["serve", "small:x", "--port", "8000"], "the provider 'small' takes no --port"),
        (["serve", "small:x", "--", "--fast"], "the provider 'small' takes no arguments after '--'"),
        (["serve", "light:x", "--port", "70000"], "port must be a whole number from 1 to 65535"),
        (["serve", "light:x", "--keep-alive", "nan"], "--keep-alive is a number of seconds"),
        (["serve", "light:x", "--ready", "port"], "--ready says when the server of --command is ready"),
        (["serve", "x", "--command", "my-server"], "write {port} where the port belongs"),
        (["serve", "x", "--command", "my-server '{port}"], "--command cannot be read"),
        (["serve", "x", "--command", "my-server {port}", "--ready", "soon"], "--ready is a path"),
        (["serve", "x", "--command", "my-server {port}", "--", "--fast"], "belongs into the command"),
        (["stop"], "say which servers to stop, or --all"),
        (["stop", "--all", "x"], "say which servers to stop, or --all"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], message: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 2, and the message says what to do."""
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.out == ""


@pytest.mark.parametrize("arguments", [["servers"], ["stop", "--all"], ["serve", "x", "--command", "s {port}"]])
def test_on_windows_there_are_no_servers(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what works there."""
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(arguments) == 1
    assert "OpenAICompatibleProvider" in capsys.readouterr().err


def test_a_runtime_directory_that_is_none_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names it and the variable."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", str(tmp_path / "file"))
    assert main(["servers"]) == 1
    message = capsys.readouterr().err
    assert " is of no use: " in message.splitlines()[0]
    assert "DOTEVAL_RUNTIME_DIR" in message


@pytest.mark.anyio
async def test_it_is_the_same_on_every_backend(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends the server, and the call returns."""
    leased = anyio.Event()

    def on_event(event: PoolEvent) -> None:
        if event.kind == "leased":
            leased.set()

    launcher = LocalLauncher(root)
    provider = ServerProvider(LIGHT, launcher=launcher, on_event=on_event)
    codes: list[int] = []

    async def run_it() -> None:
        codes.append(await serve(provider, launcher, "small", False))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(run_it)
            await leased.wait()
            await anyio.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGINT)
    assert codes == [0]
    assert "is ready" in capsys.readouterr().out
    assert not leftovers(root, 0)


# -------------------------------------------------------------------- stop


@pytest.mark.usefixtures("light")
def test_a_server_in_use_is_stopped_by_force_only(serving: Serve, root: Path) -> None:
    """Without it, it is said how many use it; with it, they are told."""
    with serving("light:small") as it:
        it.until_ready()
        result = run("stop", "small")
        assert result.returncode == 1
        assert "(small) is in use (1 lease); --force stops it all the same" in result.stderr
        assert len(listed()) == 1
        result = run("stop", "small", "--json")
        assert result.returncode == 1
        (told,) = json.loads(result.stdout)
        assert (told["spec"], told["stopped"], "is in use (1 lease)" in told["message"]) == ("small", False, True)
        result = run("stop", "server:small", "--force", "--json")
        assert (result.returncode, result.stderr) == (0, "")
        (told,) = json.loads(result.stdout)
        assert (told["stopped"], told["message"].startswith(f"stopped {told['id']} (small) in ")) == (True, True)
        assert it.wait() == 1
        assert "Traceback" not in it.printed
        assert "The server of 'small'" in it.printed


@pytest.mark.usefixtures("light")
def test_all_of_them_can_be_stopped_and_one_can_be_named(serving: Serve, root: Path) -> None:
    """What names several ids is refused; what names none says which there are."""
    for model in ("one", "two", "three"):
        with serving(f"light:{model}", "--keep-alive", "600") as it:
            it.until_ready()
    assert [status["spec"] for status in sorted(listed(), key=lambda status: status["started"])] == [
        "one", "two", "three",
    ]  # fmt: skip
    result = run("stop", "server-")
    assert result.returncode == 1
    assert "write more of the id" in result.stderr
    result = run("stop", "four")
    assert result.returncode == 1
    assert re.search(r"no server 'four' is running; there are: server-\w+, server-\w+, server-\w+", result.stderr)
    assert run("stop", "two").stdout.count("(two)") == 1
    assert len(listed()) == 2
    result = run("stop", "--all")
    assert result.returncode == 0
    assert result.stdout.count("stopped server-") == 2
    assert listed() == []


@pytest.mark.usefixtures("light")
def test_what_a_killed_supervisor_left_can_be_removed(serving: Serve, root: Path) -> None:
    """Where all who might notice are killed with it, what is left is shown, and removed like a server that runs."""
    with serving("light:small") as it:
        it.until_ready()
        (status,) = listed()
        it.process.send_signal(signal.SIGSTOP)
        for pid in (parent(status["supervisor"]), status["supervisor"]):
            os.kill(pid, signal.SIGKILL)
        it.process.kill()
        await_end(status["supervisor"], PATIENCE)
        it.wait()
    result = run("servers")
    assert f"the supervisor of {status['id']} was killed" in result.stderr
    result = run("stop", status["id"])
    assert (result.returncode, result.stdout) == (
        0,
        f"removed what was left of {status['id']}, whose supervisor was killed\n",
    )
    await_end(status["pid"], PATIENCE)
    assert run("servers").stdout == "no server is running\n"


def is_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command waits for a supervisor that is stopped, which never answers, for less long."""
    monkeypatch.setattr(_stop, "_ANSWER_SECONDS", 0.25)
    monkeypatch.setattr(_stop, "_PAUSES", 3)
    monkeypatch.setattr(connection, "_VISIT_SECONDS", 0.25)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("keeper_too", [False, True])
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_server_whose_supervisor_is_stopped_can_be_ended(
    serving: Serve, root: Path, monkeypatch: pytest.MonkeyPatch, keeper_too: bool, goes_on: bool
) -> None:
    """Without --force it is said that it does not answer, and what helps; one that cannot be woken up is killed."""
    with serving("light:small") as it:
        it.until_ready()
        (status,) = listed()
        stopped = (status["supervisor"], parent(status["supervisor"]))[: 1 + keeper_too]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        is_impatient(monkeypatch)
        if not goes_on:
            send = signal_supervisor
            monkeypatch.setattr(_stop, "signal_supervisor", lambda *to: to[-1] == signal.SIGCONT or send(*to))
        result = run("stop", status["id"])
        assert result.returncode == 1
        assert "does not answer: its supervisor is stopped, or very busy; --force ends it all the same" in result.stderr
        result = run("stop", "--force", status["id"])
        done = f"stopped {status['id']} in " if goes_on else f"killed {status['id']}, whose supervisor did not answer\n"
        assert (result.returncode, result.stdout[: len(done)]) == (0, done)
        for pid in (status["pid"], *stopped):
            await_end(pid, PATIENCE)
        it.wait()
    assert run("servers").stdout == "no server is running\n"


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("is_seen", [False, True])
def test_nobody_else_is_killed_for_a_supervisor_that_does_not_answer(
    serving: Serve, root: Path, monkeypatch: pytest.MonkeyPatch, is_seen: bool
) -> None:
    """Of one in another pid namespace the system says 0, which would be everybody here; a number may be another's."""
    with (
        subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=PIPE, stderr=STDOUT) as bystander,
        serving("light:small") as it,
    ):
        it.until_ready()
        (status,) = listed()
        os.kill(status["supervisor"], signal.SIGSTOP)
        is_impatient(monkeypatch)
        told = struct.pack("3i", bystander.pid if is_seen else 0, os.getuid(), os.getgid())
        monkeypatch.setattr(Connection, "_credentials", lambda _: told)
        result = run("stop", "--force", status["id"])
        monkeypatch.undo()
        assert result.returncode == 1
        assert ("is not its supervisor" if is_seen else "stop it in its container") in result.stderr
        assert bystander.poll() is None
        os.kill(status["supervisor"], signal.SIGCONT)
        it.end()
        bystander.kill()


# -------------------------------------------------------------------- several models at one address


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_how_to_use_it_and_leaves_nothing(serving: Serve, root: Path, number: int) -> None:
    """Also where a request is under way that would never end."""
    arguments = ("one=light:a", "light:b", "--port", "0", "--setting", 'one.extra_args=["special=1"]')
    with serving(*arguments) as it:
        it.until("Ctrl-C stops all")
        assert re.search(r"2 models at http://127\.0\.0\.1:\d+/v1", it.printed)
        assert re.search(r"one +a\n +b +b\n", it.printed)
        url = it.found(r"OPENAI_BASE_URL=(\S+)")
        with openai.OpenAI(base_url=url, api_key=it.found(r"OPENAI_API_KEY=(\S+)"), max_retries=0) as sdk:
            for model in ("one", "b", "one"):
                assert sdk.chat.completions.create(model=model, messages=HELLO).choices[0].message.content
            assert "starting server-" in it.until("starting")
        content = json.dumps({"model": "b", "messages": WAIT})
        place = httpx.URL(url)
        with socket.create_connection((place.host, place.port or 0), PATIENCE) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
            client.sendall((head + content).encode())
            (server,) = [each["url"] for each in listed() if each["spec"] == "b"]
            httpx.get(f"{server}/waiting?1", timeout=PATIENCE, trust_env=False)
            assert it.end(number) == 0, it.printed
        assert it.printed.splitlines()[-1] == "stopped"
        assert not leftovers(root, 0)


@pytest.mark.usefixtures("light")
def test_another_address_wants_a_key(serving: Serve, root: Path) -> None:
    """A new one, which is shown where that is asked for; programs are told all of it."""
    with serving("one=light:a", "--host", "0.0.0.0", "--port", "0", "--show-key", "--json") as it:
        it.until("\n]\n")
        (told,) = json.loads(it.printed[it.printed.index("[\n") :])
        assert told["models"] == ["one"]
        with openai.OpenAI(base_url=told["url"], api_key="wrong", max_retries=0) as sdk:
            with pytest.raises(openai.AuthenticationError, match="the one that doteval serve has printed"):
                sdk.models.list()
            assert [each.id for each in sdk.with_options(api_key=told["api_key"]).models.list()] == ["one"]
        assert it.end() == 0


@pytest.mark.usefixtures("light", "root")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["light:a", "light:a"], "two models are called 'a': give one of them another name, as in other=light:a"),
        (["a=light:a", "a=light:b"], "two models are called 'a'"),
        (
            ["a=light:a", "b=gpt-4o"],
            "put a provider's name in front, such as 'b=vllm:gpt-4o'. The providers are",
        ),
        (["a=light"], "'light' names a provider and no model: write a=light:MODEL"),
        (["a=http2:b"], "starts no servers"),
        (["light:a", "light:b", "--command", "x {port}"], "--command and --ready are for one model"),
        (["a=light:a", "--", "--help"], "NAME.extra_args"),
        (["a=light:a", "--setting", "b.x=1"], "NAME.KEY=VALUE, of a; not 'b.x=1'"),
        (["a=light:a", "--setting", "a.port=1"], "--setting cannot be port"),
        (["a=light:a", "--setting", "nothing=1"], "takes no nothing"),
        (["a=light:a", "--wait", "0"], "--wait is a number of seconds, more than 0"),
        (["a=light:a", "--wait", "nan"], "--wait is a number of seconds, more than 0"),
        (["a=light:a", "--host", "192.0.2.1"], "192.0.2.1 port 8000 cannot be listened on"),
        (["a=light:a", "--port", "99999"], "--port must be between 1 and 65535"),
        (["light:a", "--wait", "3"], "'light:a' without a name starts at once: leave it out, or write NAME=light:a"),
        (["x", "--command", "y {port}", "--host", "::"], "and the server of --command starts at once: leave it out"),
    ],
)
def test_what_cannot_be_meant_of_several_models_is_refused(arguments: list[str], says: str) -> None:
    result = run("serve", *arguments)
    assert result.returncode == 2
    assert says in result.stderr
