"""A run of the fork server is as fresh as one that was started, and as well looked after."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.distributions import install
from tests.forks import PIPE, STDOUT, Forks

PICTURE = """
import json, os, random, signal, sys, threading, warnings
from importlib.metadata import entry_points

def is_open(number):
    try:
        return bool(os.fstat(number))
    except OSError:
        return False

print(json.dumps({
    "argv": sys.argv,
    "name": __name__,
    "main": sys.modules["__main__"].__dict__ is globals(),
    "cwd": os.getcwd(),
    "environment": dict(os.environ),
    "path": sys.path,
    "tests": sorted(name for name in sys.modules if name.partition(".")[0] in ("tests", "conftest", "fork_server")),
    "files": [number for number in range(1000) if is_open(number)],
    "signals": {number.name: str(signal.getsignal(number)) for number in signal.Signals},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "wakeup": signal.set_wakeup_fd(-1),
    "stdin": sys.stdin.read(),
    "threads": threading.active_count(),
    "encodings": [(file.encoding, file.errors) for file in (sys.stdin, sys.stdout, sys.stderr)],
    "warnoptions": sys.warnoptions,
    "installed": [each.value for each in entry_points(group="only.here")],
    "parent": os.getppid() != 1,
}, default=str))
"""


TOLD_AGAIN = """
import os, signal, socket
from tests import fork_server

asked, control = socket.socketpair()
mine, its = socket.socketpair()
socket.send_fds(asked, [b"."], [its.fileno()])
its.close()
if not os.fork():
    asked.close()
    mine.close()
    waitpid = os.waitpid

    def interrupted(*arguments):
        ended, os.waitpid = waitpid(*arguments), waitpid
        signal.raise_signal(signal.SIGCHLD)
        return ended

    os.waitpid = interrupted
    os._exit(7 if fork_server.serve(control) else 3)
control.close()
with mine, mine.makefile() as answer:
    print(answer.read().strip())
asked.close()
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PICTURE)
    return path


@pytest.mark.parametrize("how", ["file", "module"])
def test_a_run_sees_what_a_process_sees_that_was_started(
    forks: Forks, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Arguments, directory, environment, import path, signals, files, what is installed: all the same."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    install(elsewhere, "onlyhere", entry_points={"only.here": {"it": "value"}})
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    monkeypatch.setenv("PYTHONWARNINGS", "error::ResourceWarning")
    monkeypatch.setenv("SOMETHING", "\udc80 else")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")  # else Python adds one of these where there is none
    monkeypatch.delenv("HOME", raising=False)
    arguments = {"file": [str(program), "a", "-b"], "module": ["-m", "program", "a", "-b"]}[how]
    environment = dict(os.environ)
    command = [sys.executable, *arguments]
    with socket.create_server(("127.0.0.1", 0)):
        forked = forks.run(*arguments, cwd=tmp_path, env=environment)
        started = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert forked.stderr == started.stderr == ""
    seen, expected = json.loads(forked.stdout), json.loads(started.stdout)
    assert seen == expected
    assert seen["installed"] == ["value"]


def test_nothing_of_one_run_is_left_for_the_next(forks: Forks, tmp_path: Path) -> None:
    """A module, a variable, a random number."""
    (tmp_path / "imported.py").write_text("")
    program = tmp_path / "program.py"
    program.write_text(
        "import os, random, sys\n"
        "print('imported' in sys.modules, 'LEFT' in os.environ, hasattr(os, 'left'), random.random())\n"
        "import imported\nos.left = os.environ['LEFT'] = 'here'\n"
    )
    runs = [forks.run(str(program)).stdout.split() for _ in range(2)]
    assert [run[:3] for run in runs] == [["False", "False", "False"]] * 2
    assert runs[0][3] != runs[1][3]


@pytest.mark.parametrize(
    ("source", "status", "errors"),
    [
        ("", 0, ""),
        ("raise SystemExit(3)", 3, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("import os; os._exit(7)", 7, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("raise KeyboardInterrupt", -signal.SIGINT, None),
        ("1 / 0", 1, None),
    ],
)
def test_the_exit_status_is_that_of_the_run(
    forks: Forks, tmp_path: Path, source: str, status: int, errors: str | None
) -> None:
    """However it ends, the next one can be started."""
    program = tmp_path / "program.py"
    program.write_text(source)
    result = forks.run(str(program))
    assert result.returncode == status
    if errors is None:
        assert f'{program}", line 1' in result.stderr
    else:
        assert result.stderr == errors


@pytest.mark.parametrize("arguments", [["program.py"], ["-m", "program"]], ids=["file", "module"])
def test_all_output_arrives_in_its_order(forks: Forks, tmp_path: Path, arguments: list[str]) -> None:
    """From Python, from below it, from a process that it starts, and from what is run at its exit."""
    program = tmp_path / "program.py"
    program.write_text(
        "import atexit, os, subprocess, sys, threading\n"
        "print('one', flush=True)\n"
        "os.write(1, b'two\\n')\n"
        "subprocess.run(['echo', 'three'])\n"
        "os.write(2, b'four\\n')\n"
        "print('five', file=sys.stderr)\n"
        "atexit.register(print, 'seven')\n"
        "go = threading.Event()\n"
        "threading.Thread(target=lambda: (go.wait(), print('six'))).start()\n"
        "go.set()\n"
        "sys.exit(3)\n"
    )
    with forks.start(*arguments, cwd=tmp_path, stdout=PIPE, stderr=STDOUT) as fork:
        output, _ = fork.communicate()
    assert output.split() == ["one", "two", "three", "four", "five", "six", "seven"]
    assert fork.returncode == 3


@pytest.mark.parametrize("file", ["program.py", "imported.py"])
def test_what_is_not_closed_at_the_end_is_told(
    forks: Forks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """What a program has, and what it has imported, is taken down as usual: finalizers are run, and warn."""
    monkeypatch.setenv("PYTHONWARNINGS", "always::ResourceWarning")
    (tmp_path / "program.py").write_text("import imported\n")
    (tmp_path / "imported.py").write_text("")
    with (tmp_path / file).open("a") as text:
        text.write("import socket\nleft = socket.socket()\ndef function(): ...\n")
    assert "ResourceWarning: unclosed <socket" in forks.run(str(tmp_path / "program.py")).stderr


def test_a_run_that_cannot_begin_is_an_error(forks: Forks, tmp_path: Path) -> None:
    """Its exit status is not taken for its process id: 1, to which nobody may send a signal."""
    with pytest.raises(RuntimeError, match="ended with exit status 1 before it began"):
        forks.start("program.py", cwd=tmp_path / "nowhere")


def test_a_run_that_takes_too_long_is_killed(forks: Forks, tmp_path: Path) -> None:
    """Nobody waits for it, and others can run meanwhile."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal\nopen('pid', 'w').write(str(os.getpid()))\nprint('up', flush=True)\nsignal.pause()\n"
    )
    with forks.start(str(program), cwd=tmp_path, stdout=PIPE) as fork:
        assert fork.stdout.readline() == "up\n"
        assert fork.poll() is None
        assert forks.run("-m", "pytest", "--version", cwd=tmp_path).returncode == 0
        with pytest.raises(subprocess.TimeoutExpired):
            fork.communicate(timeout=0.01)
    assert fork.returncode == -signal.SIGKILL
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run(str(program), cwd=tmp_path, timeout=0.01)
    if pid := (tmp_path / "pid").read_text():  # it may have been killed before it was written
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_run_can_lead_a_process_group(forks: Forks, tmp_path: Path) -> None:
    """A signal reaches it with all that it has started, and nobody else."""
    program = tmp_path / "program.py"
    program.write_text("import signal\nprint('up', flush=True)\nsignal.pause()\n")
    with forks.start(str(program), stdout=PIPE, start_new_session=True) as fork:
        assert fork.stdout.readline() == "up\n"
        assert os.getpgid(fork.pid) == os.getsid(fork.pid) == fork.pid
        os.killpg(fork.pid, signal.SIGTERM)
        assert fork.wait() == -signal.SIGTERM


def test_a_run_with_a_server_of_its_own_asks_that_one(forks: Forks, tmp_path: Path) -> None:
    """As workers of pytest-xdist do: nothing is imported again."""
    program = tmp_path / "program.py"
    program.write_text(
        "from tests.forks import Forks\n"
        "with Forks(shared=True) as forks:\n"
        "    print(forks._server is None, forks.run('-c', 'print(7)').stdout)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    assert forks.run(str(program), env=environment, workers=True).stdout == "True 7\n\n"


def test_the_server_outlives_the_end_of_its_last_run(forks: Forks, tmp_path: Path) -> None:
    """Also where it is told of an end while it takes note of that: with two that end together, of the second."""
    program = tmp_path / "program.py"
    program.write_text(TOLD_AGAIN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    assert forks.run(str(program), env=environment).stdout.split() == ["7", "3"]


@pytest.mark.process
def test_the_server_ends_with_who_has_started_it_and_so_do_its_runs(tmp_path: Path) -> None:
    """Also where that one is killed: there is nobody left to tell it to."""
    program = tmp_path / "program.py"
    program.write_text("import signal\nprint('up', flush=True)\nsignal.pause()\n")
    with Forks(imports=False) as forks:
        fork = forks.start(str(program), stdout=PIPE)
        assert fork.stdout.readline() == "up\n"
    with fork.stdout, fork._connection:
        assert fork.stdout.read() == "", "it has ended"
        with pytest.raises(RuntimeError, match="the fork server has ended"):
            fork.wait()
