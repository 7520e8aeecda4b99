"""What makes a server another one, and what comes of servers that another version of doteval has started."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after
from tests.servers.leftovers import parent
from tests.servers.lights import PATIENCE, light

from doteval import (
    CapacityDeadlockError,
    CommandProvider,
    LlamaCppProvider,
    ModelSetupError,
    ServerProvider,
    VLLMProvider,
)
from doteval.servers import LocalLauncher, ServerCommand
from doteval.servers._description.named_files import files_of
from doteval.servers._local import launcher as launching
from doteval.servers._local.connection import status_of
from doteval.servers._local.room import Room, statuses
from doteval.servers._local.runtime import Runtime
from doteval.servers._supervisor.protocol import PROTOCOL

pytestmark = [pytest.mark.concurrency, pytest.mark.process]


# -------------------------------------------------------------------- new weights


def test_the_files_of_a_local_model_make_a_server_what_it_is(tmp_path: Path) -> None:
    """Other weights, or more of them, at the same path are another server; what is written beside them is not."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    command = ServerCommand(kind="light", spec="m", argv=("/bin/true", "--model", str(model), "--log=/var/log"))

    keys = [command.key()]
    (model / "model.safetensors").write_bytes(b"one")
    keys.append(command.key())
    (model / "model.safetensors").write_bytes(b"other")
    keys.append(command.key())
    os.utime(model / "model.safetensors", (1, 1))
    keys.append(command.key())
    assert len(set(keys)) == 4
    (model / "training.log").write_text("loss")
    (model / "checkpoint-500" / "deep").mkdir(parents=True)
    (model / "checkpoint-500" / "model.safetensors").write_bytes(b"of a training")
    assert command.key() == keys[-1]
    (model / "unet" / "onnx").mkdir(parents=True)
    for place in ("unet/model.safetensors", "unet/onnx/model.onnx_data", "weights.npz"):
        (model / place).write_bytes(b"one")
        keys.append(command.key())
        (model / place).write_bytes(b"other")
        keys.append(command.key())
    assert len(set(keys)) == 10


@pytest.mark.parametrize("word", ["{path}", "--model={path}"])
def test_a_file_counts_as_a_directory_does(tmp_path: Path, word: str) -> None:
    """Paths that are none, and names that only look like one, are no files."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    words = [word.format(path=path), "org/model", "/not/there", "\0/", "x" * 5000 + "/", str(tmp_path / "log.txt")]
    assert [found[0] for found in files_of(words, None)] == [str(path)]
    parts = [tmp_path / f"big-[q4]-0000{number}-of-00002.gguf" for number in (1, 2)]
    for part in parts:
        part.write_bytes(b"weights")
    assert [found[0] for found in files_of([word.format(path=parts[0])], None)] == [str(part) for part in parts]
    assert [found[0] for found in files_of(["./model.gguf"], str(tmp_path))] == [str(path)]


@pytest.mark.parametrize("argv", [("python", "server.py"), ("./server.py",), ("python", "--main=server.py"), ("{}",)])
def test_a_program_that_is_edited_is_another_server(tmp_path: Path, argv: tuple[str, ...]) -> None:
    """By its contents: it is the same one where it is only touched, and elsewhere where its name is a relative one."""
    keys: list[str] = []
    found: list[object] = []
    for name in ("one", "other"):
        program = tmp_path / name / "server.py"
        program.parent.mkdir()
        words = tuple(word.format(program) for word in argv)
        command = ServerCommand("light", "m", words, cwd=str(program.parent))
        for content in ("one", "two", "two"):
            program.write_text(content)
            program.chmod(0o700)
            os.utime(program, (len(keys), 1))
            keys.append(command.key())
            found.append(command.named_files())
    assert len(set(keys)) == 4
    assert (found[:3] == found[3:]) is (argv != ("{}",))
    program.unlink()
    assert command.named_files() == []


def test_what_servers_of_models_inherit_tells_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of a command of the user's own; what nobody knows of does not, as most of it makes no difference."""
    provider = ServerProvider([sys.executable, "--port={port}"])
    keys = [provider.command("m").key()]
    for name, value in (("HF_HOME", "/a"), ("HF_HOME", "/b"), ("LLAMA_ARG_CTX_SIZE", "8"), ("VLLM_USE_V1", "1")):
        monkeypatch.setenv(name, value)
        keys.append(provider.command("m").key())
    assert len(set(keys)) == 5
    monkeypatch.setenv("TERM", "another")
    assert provider.command("m").key() == keys[-1]


@pytest.mark.parametrize(
    ("make", "spec"),
    [
        (LlamaCppProvider, "{}"),
        (VLLMProvider, "{}"),
        (VLLMProvider, "org/base@{}"),
        (partial(VLLMProvider, lora_modules={"mine": "{}"}), "org/base@mine"),
        (partial(ServerProvider, ["serve", "--model={spec}", "--port={port}"]), "{}"),
        (partial(CommandProvider, ["serve", "{spec}", "--port={port}"]), "{}"),
    ],
)
def test_results_and_replies_depend_on_the_files_of_a_local_model(
    make: Callable[..., Any], spec: str, tmp_path: Path
) -> None:
    """They are told apart as its servers are; a name on a hub, and a provider by itself, depend on none."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"one")
    if isinstance(make, partial) and "lora_modules" in make.keywords:
        make = partial(VLLMProvider, lora_modules={"mine": str(path)})
    provider = make()
    identities = [provider.identity(spec.format(path))]
    assert provider.identity(spec.format(path)) == identities[0]
    path.write_bytes(b"another one")
    identities.append(provider.identity(spec.format(path)))
    os.utime(path, (1, 1))
    identities.append(provider.identity(spec.format(path)))
    assert len({each["files"] for each in identities}) == 3
    assert "files" not in {**provider.identity("org/base"), **provider.identity()}


@pytest.mark.anyio
async def test_new_weights_are_served_by_a_new_server(runtime: Runtime, tmp_path: Path) -> None:
    """A loop that trains and evaluates gets what it has trained, from the same provider and from another one."""
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"one")
    pids: list[int | None] = []
    command = light(f"--weights={weights}")
    async with ServerProvider(command, capacity=2, launcher=LocalLauncher(runtime.root)) as provider:
        for content in (b"one", b"another"):
            if weights.read_bytes() != content:
                weights.write_bytes(content)
            for _ in range(2):
                async with await provider.setup("m") as handle:
                    pids.append(handle.model.server.pid)
    assert pids[0] == pids[1] != pids[2] == pids[3]


# -------------------------------------------------------------------- killed from outside


def server_process(runtime: Runtime, server_id: str) -> int:
    """The process of a server that is just being started."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        connection = runtime.connect(server_id)
        if connection is not None:
            with connection:
                connection.setblocking(True)
                connection.sendall(b'{"id": 1, "op": "status"}\n')
                if pid := json.loads(connection.recv(1 << 16).partition(b"\n")[0])["status"]["pid"]:
                    return int(pid)
        time.sleep(0.01)
    raise AssertionError("there is no server")


@pytest.mark.anyio
async def test_a_start_that_was_killed_is_tried_again(runtime: Runtime) -> None:
    """Somebody has killed it: the model is not to blame; twice in a row it may be."""
    launcher = LocalLauncher(runtime.root, remember_failures=60)
    kills = 2

    def kill(server_id: str, *_: object) -> None:
        nonlocal kills
        if kills:
            kills -= 1
            os.kill(server_process(runtime, server_id), signal.SIGKILL)

    launcher.on_connected = kill
    async with ServerProvider(light("trouble=silent"), launcher=launcher, start_timeout=PATIENCE) as provider:
        for _ in range(2):
            with pytest.raises(ModelSetupError, match="killed by SIGKILL"):
                await provider.setup("m")
        assert len(launcher.starts) == 2
        with pytest.raises(ModelSetupError, match="killed by SIGKILL"):
            await provider.setup("m")
        assert len(launcher.starts) == 2, "the second kill is remembered"


@pytest.mark.anyio
async def test_a_start_whose_supervisor_was_killed_is_tried_again(runtime: Runtime, tmp_path: Path) -> None:
    """That is no failure of the model either."""
    launcher = LocalLauncher(runtime.root, remember_failures=60)
    marker = tmp_path / "marker"

    def kill(server_id: str, *_: object) -> None:
        if not marker.exists():
            marker.touch()
            os.kill(parent(server_process(runtime, server_id)), signal.SIGKILL)

    launcher.on_connected = kill
    async with ServerProvider(light(), launcher=launcher) as provider:
        with pytest.raises(ModelSetupError, match="its supervisor was killed"):
            await provider.setup("m")
        async with await provider.setup("m") as handle:
            await handle.model.generate("Hello")


# -------------------------------------------------------------------- another version


@pytest.fixture(params=["other names", "an error", "no slots"])
def stranger(runtime: Runtime, request: pytest.FixtureRequest) -> Iterator[str]:
    """A server whose supervisor speaks otherwise."""
    answers = {
        "other names": {"status": {"version": 7, "id": "new-1", "places": ["slot-0"], "users": 1}},
        "an error": {"error": "unknown request"},
        "no slots": {"status": {"protocol": PROTOCOL + 1, "id": "new-1", "slots": [], "state": "dreaming"}},
    }
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(runtime.socket_path("new-1")))
    listener.listen()
    ends = threading.Event()

    def serve() -> None:
        while not ends.is_set():
            connection, _ = listener.accept()
            with connection:
                while line := connection.recv(1 << 16).partition(b"\n")[0]:
                    number = json.loads(line)["id"]
                    connection.sendall(json.dumps({"id": number, **answers[request.param]}).encode() + b"\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield "new-1"
    ends.set()
    with socket.socket(socket.AF_UNIX) as last:
        last.connect(str(runtime.socket_path("new-1")))
    thread.join()
    listener.close()
    runtime.socket_path("new-1").unlink()


@pytest.mark.anyio
async def test_a_server_of_another_version_is_in_nobodys_way(runtime: Runtime, stranger: str) -> None:
    """What it does not tell has a value that says nothing; other models are served beside it."""
    with fail_after(PATIENCE):
        known = (await statuses(runtime))[stranger]
        assert (known["id"], known["slots"], known["leases"]) == (stranger, [], 0)
        await Room(runtime, "m", "").make(1, ["slot-0"])
        connection = runtime.connect(stranger)
        assert connection is not None
        status = await status_of(connection, stranger)
        assert status is not None
        assert status["protocol"] != PROTOCOL
        async with (
            ServerProvider(light(), launcher=LocalLauncher(runtime.root)) as provider,
            await provider.setup("m") as handle,
        ):
            assert await handle.model.generate("Hello") == str(handle.model.server.pid)


@pytest.mark.anyio
async def test_it_is_said_of_a_server_of_another_version_that_it_is(runtime: Runtime, stranger: str) -> None:
    """It may have the slot that somebody waits for."""
    async with (
        ServerProvider(light(), launcher=LocalLauncher(runtime.root)) as one,
        ServerProvider(light(), launcher=LocalLauncher(runtime.root)) as other,
        await one.setup("one"),
    ):
        with pytest.raises(CapacityDeadlockError, match=f"{stranger} is of another version of doteval"):
            await other.setup("other")


@pytest.mark.anyio
async def test_versions_do_not_share_servers(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command is another server for a version that speaks otherwise."""
    ids: list[str] = []
    for protocol in (PROTOCOL, PROTOCOL + 1):
        monkeypatch.setattr(launching, "PROTOCOL", protocol)
        launcher = LocalLauncher(runtime.root)
        launcher.on_connected = lambda server_id, *_: ids.append(server_id)
        async with ServerProvider(light(), launcher=launcher) as provider, await provider.setup("m"):
            pass
    assert len(set(ids)) == 2
