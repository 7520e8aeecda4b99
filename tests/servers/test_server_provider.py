"""``ServerProvider``: one server for all who ask for the same, and a message that helps when there is none."""

from __future__ import annotations

import logging
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group
from tests.forks import Forks
from tests.servers.leftovers import leftovers, processes
from tests.servers.lights import KEYED, PATIENCE, Events, StartPlayer, get, light

from doteval import (
    LlamaCppProvider,
    ModelSetupError,
    ServerProvider,
    ServerStartError,
    ServersUnsupportedError,
    SGLangProvider,
    TransformersProvider,
    VLLMProvider,
)
from doteval.servers import (
    HTTPReady,
    LocalLauncher,
    LogLine,
    PortOpen,
    ReadinessView,
    ReadyWhen,
    ServerCommand,
    SlotSet,
    Terms,
)
from doteval.servers._local.connection import visit
from doteval.servers._local.runtime import Runtime
from doteval.servers._supervisor.messages import Ask

pytestmark = pytest.mark.anyio

LLMOCK = ["llmock", "serve", "--port", "{port}"]
ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["trio"])  # for what is about servers, and starts many
KEY = "sk-of-this-test-and-no-other"
OTHER = {"asyncio": "trio", "trio": "asyncio"}


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


@pytest.fixture
def other_backend(anyio_backend: tuple[str, Any]) -> str:
    """What another process runs on, so that both kinds are met together."""
    return OTHER[anyio_backend[0]]


# -------------------------------------------------------------------- what it is for


@ONE_LOOP
async def test_a_model_is_leased_asked_and_let_go_and_its_server_ends_with_the_provider(
    launcher: LocalLauncher,
) -> None:
    """With llmock, a real server of the OpenAI API, through the real SDK; also as a stream."""
    async with ServerProvider(LLMOCK, launcher=launcher) as provider:
        async with await provider.setup("gpt-4o") as handle:
            assert "gpt-4o" in await handle.model.generate("Hello")
            async with handle.model.stream("Hello") as stream:
                assert "gpt-4o" in "".join([text async for text in stream])
            server = handle.model.server
            assert handle.model.base_url == f"{server.url}/v1" == str(handle.model.client.base_url).rstrip("/")
            assert server.log is not None
            assert "Uvicorn running" in server.log.read_text()
        assert not handle.is_active
        assert list(processes(launcher.runtime.root))
    assert not leftovers(launcher.runtime.root)
    assert [(start.kind, start.spec, start.ready) for start in launcher.starts] == [("server", "gpt-4o", True)]


async def test_a_server_on_this_machine_is_asked_without_a_proxy(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment names one, as for all that is outside: it could not reach the server."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        async with ServerProvider(light(), launcher=launcher) as provider:
            async with await provider.setup("my-model") as handle:
                assert await handle.model.generate("Hello")


async def test_many_tasks_use_one_server(launcher: LocalLauncher) -> None:
    """Twenty tasks ask at once: one start, one process answers them all."""
    answers: list[str] = []

    async with ServerProvider(light(), launcher=launcher) as provider:

        async def use() -> None:
            async with await provider.setup("m") as handle:
                answers.append(await handle.model.generate("Who are you?"))

        async with create_task_group() as group:
            for _ in range(20):
                group.start_soon(use)
        assert provider.statistics().opens == 1
    assert len(answers) == 20
    assert len(set(answers)) == len(launcher.starts) == 1


async def test_two_providers_use_one_server(runtime: Runtime) -> None:
    """The second one, with a launcher of its own, joins; the server lives until the last of both has gone."""
    first, second = LocalLauncher(runtime.root), LocalLauncher(runtime.root)
    async with ServerProvider(light(), secret_environment=KEYED, launcher=second) as late:
        async with ServerProvider(light(), secret_environment=KEYED, launcher=first) as early:
            async with await early.setup("m") as one, await late.setup("m") as other:
                assert one.model.server == other.model.server
                pid = await one.model.generate("Who are you?")
        async with await late.setup("m") as still:
            assert await still.model.generate("Who are you?") == pid
    assert (len(first.starts), len(second.starts)) == (1, 0)


@pytest.mark.parametrize("backends", [("asyncio", "trio"), ("trio", "asyncio")], ids="-".join)
def test_a_server_outlives_the_event_loop_that_started_it(runtime: Runtime, backends: tuple[str, str]) -> None:
    """A launcher that keeps: the second loop, of the other kind, finds the server of the first; `close` ends it."""
    launcher = LocalLauncher(runtime.root, keeps=True)

    async def main() -> int | None:
        async with ServerProvider(light(), secret_environment=KEYED, launcher=launcher) as provider:
            async with await provider.setup("m") as handle:
                assert await handle.model.generate("Who are you?") == str(handle.model.server.pid)
                return handle.model.server.pid

    first, second = (anyio.run(main, backend=backend) for backend in backends)
    assert first == second
    assert [start.reason for start in launcher.starts] == ["it was not running"]
    launcher.close(PATIENCE)
    assert not leftovers(runtime.root)


async def test_two_processes_use_one_server_and_one_key(
    runtime: Runtime, other_backend: str, player: StartPlayer
) -> None:
    """The other process, on another backend, is told the key by the supervisor; the server outlives who started it."""
    settings = {"secret_environment": KEYED}
    async with ServerProvider(light(), launcher=LocalLauncher(runtime.root), **settings) as provider:
        async with player(runtime.root, other_backend, light(), **settings) as other:
            theirs = await other.ask("setup", "h", "m")
            handle = await provider.setup("m")
            server = handle.model.server
            assert (theirs["pid"], theirs["api_key"]) == (server.pid, server.api_key)
            assert await other.ask("generate", "h", "Hello") == await handle.model.generate("Hello") == str(server.pid)
        assert await handle.model.generate("Are you still there?") == str(server.pid)


async def test_a_server_that_is_kept_alive_is_there_for_the_next(runtime: Runtime) -> None:
    """Nobody is connected any more, and it stays; without `server_keep_alive` it would have ended."""

    async def pid_of_one(**settings: Any) -> int | None:
        async with ServerProvider(light(), launcher=LocalLauncher(runtime.root), **settings) as provider:
            async with await provider.setup("m") as handle:
                return handle.model.server.pid

    assert await pid_of_one() != (kept := await pid_of_one(server_keep_alive=60))
    assert await pid_of_one() == kept
    (server_id,) = runtime.server_ids()
    connection = runtime.connect(server_id)
    assert connection is not None
    await visit(connection, Ask.stop("the test is over"))


# -------------------------------------------------------------------- who does not share


@ONE_LOOP
async def test_who_shares_with_nobody_has_a_server_of_its_own(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``share="off"`` is this provider's own; another text is shared by those who give the same one."""
    monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", str(runtime.root))
    async with (
        ServerProvider(light(), capacity=5, share="off") as one,
        ServerProvider(light(), capacity=5, share="off") as two,
        ServerProvider(light(), capacity=5, share="us") as three,
        ServerProvider(light(), capacity=5, share="us") as four,
        ServerProvider(light(), capacity=5) as five,
    ):
        handles = [await provider.setup("m") for provider in (one, two, three, four, five)]
        pids = [handle.model.server.pid for handle in handles]
    assert pids[2] == pids[3]
    assert len(set(pids)) == 4


@ONE_LOOP
async def test_what_is_asked_for_tells_servers_apart(runtime: Runtime) -> None:
    """Another spec, configuration, environment, secret or directory is another server; the order of things is not."""
    command = [*light(), "context={context}"]
    settings: list[dict[str, Any]] = [
        {},
        {"environment": {"A": "1"}},
        {"environment": {"A": "2"}},
        {"secret_environment": {"LIGHT_KEY": "a key of my own"}},
        {"files": {"template": "x"}},
        {"cwd": runtime.root},
        {"capacity": 31},
    ]
    pids: list[int | None] = []
    async with create_task_group() as group:
        for each in settings:
            provider = ServerProvider(command, launcher=LocalLauncher(runtime.root), **{"capacity": 30, **each})
            await group.start(_entered, provider, pids, [("m", 1)])
        provider = ServerProvider(command, launcher=LocalLauncher(runtime.root), capacity=30)
        await group.start(_entered, provider, pids, [("m", 1), ("m", 2), ("n", 1)])
        group.cancel_scope.cancel()
    assert pids[0] == pids[7]
    assert len(set(pids)) == len(settings) + 2


async def _entered(
    provider: ServerProvider, pids: list[int | None], asked: list[tuple[str, int]], *, task_status: Any
) -> None:
    async with provider, AsyncExitStack() as stack:
        for spec, context in asked:
            handle = await stack.enter_async_context(provider.setup(spec, context=context))
            pids.append(handle.model.server.pid)
        task_status.started()
        await anyio.sleep_forever()


# -------------------------------------------------------------------- what it runs in, and what nobody may see


async def test_the_server_has_an_environment_and_directories_of_its_own(
    runtime: Runtime, launcher: LocalLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It inherits what is not pytest's, and gets what it is given, and its own directory for temporary files."""
    monkeypatch.setenv("LIGHT_INHERITED", "yes")
    provider = ServerProvider(
        light(),
        launcher=launcher,
        cwd=tmp_path,
        environment={"LIGHT_PORT": "{port}", "LIGHT_HOME": "{directory}"},
        secret_environment={"LIGHT_SECRET": "nobody may see this"},
        files={"template": "for {port}", "key": "{api_key}"},
    )
    async with provider, await provider.setup("m") as handle:
        server = handle.model.server
        seen = await get(server, "/environment")
        own = runtime.directory(server.id)
        assert seen["cwd"] == str(tmp_path)
        assert (seen["LIGHT_INHERITED"], seen["LIGHT_SECRET"]) == ("yes", "nobody may see this")
        assert (seen["LIGHT_PORT"], seen["LIGHT_HOME"]) == (str(server.port), str(own))
        assert seen["TMPDIR"] == str(own / "tmp")
        assert (own / "tmp").is_dir()
        assert (own / "key").read_text() == server.api_key
        assert (own / "key").stat().st_mode & 0o777 == 0o600
        assert not [name for name in seen if name.startswith("PYTEST_")]
    assert not own.exists()


async def test_without_a_directory_it_runs_where_this_process_does(launcher: LocalLauncher) -> None:
    """So a path in the command means what it means in a shell."""
    async with ServerProvider(light(), launcher=launcher) as provider, await provider.setup("m") as handle:
        assert (await get(handle.model.server, "/environment"))["cwd"] == str(Path.cwd())


def command_line(pid: int) -> bytes:
    """What everybody on the machine can read."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_nobody_sees_a_secret(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the key nor another secret is on a command line, in a log, an event, a count, a repr or an error."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("secrets.token_hex", lambda length: KEY)
    secret = "hf_of-this-test-and-no-other"
    events = Events()
    shown: list[object] = []
    settings: dict[str, Any] = {
        "secret_environment": {**KEYED, "LIGHT_SECRET": secret},
        "launcher": LocalLauncher(runtime.root),
        "on_event": events,
    }
    async with ServerProvider(light(), **settings) as provider:
        handle = await provider.setup("m")
        server = handle.model.server
        assert server.api_key == KEY
        assert await handle.model.generate("Hello") == str(server.pid)
        pids = list(processes(runtime.root))
        assert len(pids) == 3, "the server, its supervisor, and the keeper"
        shown += [command_line(pid) for pid in pids]
        shown += [provider, handle, handle.model, handle.model.client, server, provider.statistics()]
        assert server.log is not None
        shown.append(server.log.read_text())
        with pytest.raises(Exception, match=r"the server of .m. exited with code 3") as failed:
            await handle.model.generate("die")
        shown += traceback.format_exception(failed.value)
        shown.append(repr(handle))
    async with ServerProvider(light("trouble=key"), **settings) as provider:
        with pytest.raises(ModelSetupError, match=r"the key is \*\*\*") as failed:
            await provider.setup("m")
        shown += traceback.format_exception(failed.value)

        async def tells(view: ReadinessView) -> bool:
            raise ValueError(f"{view.api_key} is what I know")

    async with ServerProvider(light(), ready=ReadyWhen(tells), **settings) as provider:
        with pytest.raises(ModelSetupError) as failed:
            await provider.setup("m")
        shown += traceback.format_exception(failed.value)
    shown += [path.read_text() for path in runtime.logs.iterdir()]
    shown += [events.all, caplog.text, settings["launcher"].starts]
    text = "\n".join(map(str, shown))
    assert "***" in text
    assert KEY not in text
    assert secret not in text


# -------------------------------------------------------------------- when it does not start


async def test_a_port_that_was_taken_meanwhile_is_replaced(launcher: LocalLauncher, tmp_path: Path) -> None:
    """Between the choice of a port and the start somebody else took it: the server is started again with another."""
    events = Events()
    command = light("trouble=port", f"marker={tmp_path / 'marker'}")
    async with ServerProvider(command, launcher=launcher, on_event=events) as provider:
        async with await provider.setup("m") as handle:
            assert await handle.model.generate("Hello") == str(handle.model.server.pid)
    first, second = launcher.starts
    assert (first.ready, second.ready) == (False, True)
    assert second.reason == "the port of the one before was taken"
    assert not events.of("open_failed")


async def failure_of(
    launcher: LocalLauncher, command: list[str] | None = None, spec: str = "my-model", **settings: Any
) -> ModelSetupError:
    """What the user is told; the server is gone by then."""
    command = light() if command is None else command
    async with ServerProvider(command, launcher=launcher, **settings) as provider:
        with pytest.raises(ModelSetupError) as failed:
            await provider.setup(spec)
        assert not leftovers(launcher.runtime.root)
        assert provider.statistics().open_failures == 1
    print(f"{failed.value}\n")  # for whoever wants to look at the messages: pytest -s -k test_the_message
    return failed.value


def says(error: ModelSetupError, *parts: str) -> None:
    """The parts are in the message, in this order."""
    text, at = str(error), 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is missing after {text[:at]!r} in:\n{text}"
        at = found + len(part)


async def test_the_message_for_a_model_that_is_not_there(launcher: LocalLauncher) -> None:
    """What happened, the command, the output, where the log is, and what is known about the cause."""
    error = await failure_of(launcher, light("trouble=model"))
    says(
        error,
        "Failed to setup resource 'my-model': Model not found: the server of 'my-model' exited with code 1 after ",
    )
    says(error, "before it was ready", "command: ", "light_server.py", "trouble=model", "process: ", "log: ")
    says(error, "its last 2 lines:", "loading the weights", "not a valid model identifier", "check the spelling")
    (log,) = launcher.runtime.logs.iterdir()
    says(error, f"log: {log}")
    assert "loading the weights" in log.read_text()


async def test_the_message_for_a_command_that_is_not_installed(launcher: LocalLauncher) -> None:
    """It says how to install it."""
    error = await failure_of(launcher, ["no-such-server", "{port}"], install_hint="Run 'pip install no-such-server'")
    says(error, "could not be started", "'no-such-server' is not installed", "Run 'pip install no-such-server'.")


async def test_the_message_for_a_server_that_takes_too_long(launcher: LocalLauncher) -> None:
    """It says what was waited for, how far the server got, and which argument is the limit."""
    error = await failure_of(launcher, light("trouble=chatty"), start_timeout=1.5)
    says(error, "did not get ready within 1.5 s (waiting for GET /health to answer 200; port ", " refuses connections)")
    says(error, "loading shard ", "start_timeout=")


async def test_the_message_for_a_server_that_says_nothing(launcher: LocalLauncher) -> None:
    """It is given up long before `start_timeout`."""
    error = await failure_of(launcher, light("trouble=silent"), stall_timeout=0.5, start_timeout=600)
    says(
        error, "printed nothing for 0.5 s and did not get ready (waiting for GET /health", "no output", "stall_timeout="
    )


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_server_that_prints_does_not_stall(launcher: LocalLauncher, anyio_backend: str) -> None:
    """Output is progress: the stall timeout is shorter than the start, and nothing happens."""
    error = await failure_of(launcher, light("trouble=chatty"), stall_timeout=2.0, start_timeout=3.0)
    says(error, "did not get ready within 3 s")


async def test_the_message_for_a_port_that_is_taken(launcher: LocalLauncher) -> None:
    """A fixed port is not replaced, and whoever listens there is not taken for the server."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = await failure_of(launcher, port=port)
    says(error, f"could not be started: port {port}, which port= asks for, is taken", "leave port= out")
    assert not launcher.starts


async def test_the_message_for_a_condition_that_fails(launcher: LocalLauncher) -> None:
    """The function for readiness has a mistake: its exception is the cause, and the server is ended."""

    async def is_ready(view: ReadinessView) -> bool:
        assert view.pid is not None, "the process is known"
        raise KeyError("loaded")

    error = await failure_of(launcher, ready=ReadyWhen(is_ready))
    says(error, "was given up, as the condition for being ready raised KeyError: 'loaded'", "ready=")
    assert error.__cause__ is not None
    assert isinstance(error.__cause__.__cause__, KeyError)


async def test_the_message_for_a_server_that_gets_ready_and_dies(launcher: LocalLauncher) -> None:
    """Whether its end is noticed before or after it was leased: exit code and output are told."""
    events = Events()
    async with ServerProvider(light("trouble=dies"), launcher=launcher, on_event=events) as provider:
        try:
            handle = await provider.setup("my-model")
        except ModelSetupError as exc:
            reason = str(exc)
        else:
            reason = (await events.until("lost")).reason
            assert not handle.is_active
            assert reason in repr(handle)
    print(f"{reason}\n")
    assert "exited with code 7" in reason
    assert "no memory left for the first request" in reason
    assert str(launcher.runtime.logs) in reason


async def test_the_message_for_a_server_whose_cause_stands_far_above_its_last_lines(launcher: LocalLauncher) -> None:
    """In vLLM's own order: what is wrong, then a hundred lines about how it went down."""
    program = (
        "import sys; print('loading'); print('ValueError: No available memory for the cache blocks.');"
        "[print('  File api_server.py, line', n) for n in range(200)]; sys.exit('RuntimeError: it failed')"
    )
    error = await failure_of(launcher, [sys.executable, "-c", program, "{port}"])
    says(error, "No room for the KV cache: the server of 'my-model' exited with code 1 after ")
    says(
        error,
        "what says so, line 2 of the log:\n    ValueError: No available memory",
        "its last 20 lines:",
        "max_model_len=",
    )


async def test_a_log_that_is_no_more_is_not_told_of(launcher: LocalLauncher) -> None:
    """A server that is stopped while it is leased was meant to end: its log is not kept."""
    async with ServerProvider(light(), launcher=launcher) as provider:
        handle = await provider.setup("my-model")
        lease, server = handle.model.lease, handle.model.server
        connection = launcher.runtime.connect(server.id)
        assert connection is not None
        await visit(connection, Ask.stop("somebody wants to"))
        await lease.ended()
        assert lease.lost is not None
        assert "somebody wants to" in str(lease.lost) or "ended by doteval" in str(lease.lost)
        assert lease.lost.log is None
        assert "log:" not in str(lease.lost)
    assert server.log is not None
    assert not server.log.exists()


async def test_a_failure_is_remembered_if_that_is_wanted(runtime: Runtime, tmp_path: Path) -> None:
    """Others that ask for the same get the same account, and the server is not started again for them."""
    launcher = LocalLauncher(runtime.root, remember_failures=60)
    command = light("trouble=model", f"marker={tmp_path / 'marker'}")
    first = await failure_of(launcher, command)
    second = await failure_of(launcher, command)
    assert str(first) == str(second)
    assert len(launcher.starts) == 1


# -------------------------------------------------------------------- other conditions


@pytest.mark.parametrize("ready", [LogLine("startup complete"), PortOpen(), LogLine("startup") & HTTPReady()], ids=repr)
async def test_a_server_can_be_ready_in_other_ways(launcher: LocalLauncher, ready: Any) -> None:
    """A line of output, an open port, or several things together."""
    async with ServerProvider(light(), ready=ready, launcher=launcher) as provider:
        async with await provider.setup("m") as handle:
            assert handle.model.server.log is not None
            if not isinstance(ready, PortOpen):  # the port may be open before what is printed has arrived
                assert "startup complete" in handle.model.server.log.read_text()


# -------------------------------------------------------------------- other systems


def test_on_windows_a_provider_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing works; making one does not, and the message names what does."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ServersUnsupportedError, match=r"cannot be started on 'win32'\.\n.*OpenAICompatibleProvider"):
        ServerProvider(LLMOCK)


def test_on_windows_everything_can_be_imported(forks: Forks) -> None:
    """Providers of APIs work there, and so does naming one of servers in a module that does not use it."""
    script = (
        "import sys, anyio, asyncio, httpx, openai\n"
        "for name in [name for name in sys.modules if name.startswith('doteval')]: del sys.modules[name]\n"
        "sys.platform = 'win32'; sys.modules['fcntl'] = None\n"
        "import doteval.servers, doteval.providers.server\n"
        "assert doteval.servers.LocalLauncher.__module__ in sys.modules"
    )
    with forks.start("-c", script, stderr=2) as fork:
        assert fork.wait(PATIENCE) == 0


def test_what_cannot_be_meant_is_said_at_once(runtime: Runtime) -> None:
    """Wrong values are refused when the provider is made, not when a test waits for its model."""
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: ServerProvider("llmock serve"), r"command must be a list of words such as \['llmock', 'serve'\]"),
        (lambda: ServerProvider(["llmock", "serve"]), r"write \{port\} where the port belongs"),
        (lambda: ServerProvider(LLMOCK, slots_needed=0), "slots_needed must be at least 1"),
        (lambda: ServerProvider(LLMOCK, port=70000), "port must be a whole number from 1 to 65535"),
        (lambda: ServerProvider(LLMOCK, start_timeout=-1), "start_timeout is a number of seconds"),
        (lambda: ServerProvider(LLMOCK, restarts=-1), "restarts must be a whole number of at least 0"),
        (lambda: ServerProvider(LLMOCK, max_concurrency=0), "max_concurrency must be a whole number of at least 1"),
    ]
    for make, message in wrong:
        with pytest.raises(ValueError, match=message):
            make()
    ServerProvider(["llmock", "serve", "--port", "8000"], port=8000)
    ServerProvider(["llmock", "serve"], environment={"PORT": "{port}"})
    ServerProvider(["llmock", "serve"], files={"options": "port: {port}"})


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (VLLMProvider, "/nowhere/model"),
        (SGLangProvider, "./nowhere/model"),
        (TransformersProvider, "~/nowhere/model"),
        (LlamaCppProvider, "nowhere/model.gguf"),
        (LlamaCppProvider, "model"),
    ],
)
async def test_a_path_that_is_not_there_is_refused_at_once(
    kind: Any, spec: str, launcher: LocalLauncher, anyio_backend_name: str
) -> None:
    """No server is started to find that out, which takes one half a minute; and nothing else waits for its slot."""
    async with kind(launcher=launcher, executable=sys.executable, gpus=None) as provider:
        with pytest.raises(
            ModelSetupError, match=r"could not be started: there is no file or directory '/.*model"
        ) as failed:
            await provider.setup(spec)
    assert isinstance(failed.value.__cause__, ServerStartError)
    assert failed.value.__cause__.cause == "model not found"
    assert "Correct the path" in str(failed.value)
    assert launcher.starts == []


def test_a_path_that_is_there_and_a_name_on_a_hub_are_not_refused(tmp_path: Path) -> None:
    """Nor is what may be one, or an address."""
    for provider in (VLLMProvider(gpus=None), SGLangProvider(gpus=None), LlamaCppProvider(gpus=None)):
        assert provider.command(str(tmp_path)).needs in ((str(tmp_path),), ())
        for spec in ("Qwen/Qwen3-8B", "user/model:Q4_K_M", "s3://bucket/a/b"):
            assert provider.command(spec).needs == ()


async def test_a_server_may_be_of_a_kind_with_a_long_name(runtime: Runtime) -> None:
    """Its socket has a path as short as others; and it is called a server once."""
    long = "a-very-long-kind-of-model-server"
    a_command = ServerCommand(long, "m", (sys.executable, "-c", "raise SystemExit('no')"))
    terms = Terms(HTTPReady(), SlotSet(("slot-0",)), start_timeout=30)
    nobody = Nobody()
    with pytest.raises(ServerStartError, match=f"^The {long} of 'm' exited with code 1"):
        async with LocalLauncher(runtime.root).launch(a_command, terms, nobody):
            pass
    assert nobody.found == 1


class Nobody:
    """Who is told nothing but that there is a server."""

    found = 0

    def users(self) -> list[object]:
        return []

    def on_found(self) -> None:
        self.found += 1

    def on_stuck(self, users: object, error: object, /) -> None: ...

    def on_retiring(self, reason: str, /) -> None: ...

    def on_resumed(self) -> None: ...

    def on_lost(self, error: object, /) -> None: ...


async def test_configuration_that_the_command_has_no_place_for_is_refused(launcher: LocalLauncher) -> None:
    """And so is a command with a place for something that was not given."""
    async with ServerProvider([*light(), "context={context}"], launcher=launcher) as provider:
        for config in ({}, {"context": 1, "temperature": 0}):
            with pytest.raises(
                ModelSetupError, match=r"takes context, as its command has \{name\} for each; it was given"
            ):
                await provider.setup("m", **config)


def test_who_shares_is_said_once(runtime: Runtime) -> None:
    """A launcher has its own idea of who shares, so another one beside it is refused instead of ignored."""
    with pytest.raises(ValueError, match="share= is of no use beside launcher="):
        ServerProvider(light(), share="us", launcher=LocalLauncher(runtime.root))
