"""The program around a server that has a stop command: ``python -I -S _stopper.py SECONDS COUNT STOP... COMMAND...``.

It is two processes. The first one starts the server, is what the supervisor takes for it, and ends as it has ended. The
second one waits until the first one is told to end, has ended, or was killed, which the kernel tells it by closing a
pipe; then it runs the stop command, once. It is in a session of its own, under a mark of its own, so that whoever kills
the server and all that descends from it leaves it alone. So what only the stop command can reach, such as a container,
ends with the server, whatever the others died of.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys  # and no more, as it starts with every server

MARKER = "DOTEVAL_SERVER"


def serve(seconds: str, stop: list[str], command: list[str]) -> int:
    """Run the server; returns its exit code, negative for the number of a signal.

    Args:
        seconds: How long the stop command may take.
        stop: The stop command.
        command: What runs the server.
    """
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, seconds, f"-{os.getpid()}", *stop],
        bufsize=0,
        stdin=subprocess.PIPE,
        env={**os.environ, MARKER: f"{os.environ.get(MARKER, '')}/stop"},
        start_new_session=True,
    )
    assert guard.stdin is not None
    pipe = guard.stdin
    signal.signal(signal.SIGTERM, lambda _number, _frame: pipe.close())
    try:
        code = subprocess.Popen(command, stdin=subprocess.DEVNULL).wait()
    except OSError as exc:
        print(f"cannot start {command[0]}: {exc}", file=sys.stderr)
        code = 127
    pipe.close()
    guard.wait()
    return code


def stop_after(around: int, seconds: float, stop: list[str]) -> None:
    """Run the stop command when the pipe is closed.

    Args:
        around: The process that is around the server, and leads its process group; it may have been killed by now.
        seconds: How long it may take.
        stop: The command.
    """
    sys.stdin.buffer.read()
    try:
        run(seconds, stop)
    finally:
        if os.getppid() != around:  # nor are those who look after it sure to be there
            with contextlib.suppress(OSError):
                os.killpg(around, signal.SIGKILL)


def run(seconds: float, stop: list[str]) -> None:
    """Run the stop command, and say what became of it.

    Args:
        seconds: How long it may take.
        stop: The command.
    """
    try:
        process = subprocess.Popen(
            stop, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0
        )
    except OSError as exc:
        say(f"cannot run the stop command {stop[0]}: {exc}")
        return
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        say(f"the stop command {stop[0]} was killed, as it took longer than {seconds:g} s")
    else:
        say(printed.decode(errors="replace").rstrip("\n"))
        if process.returncode:
            say(f"the stop command {stop[0]} ended with exit code {process.returncode}")


def say(text: str) -> None:
    """Print to the server's log, where there is still somebody who writes it."""
    if text:
        with contextlib.suppress(OSError):
            print(text, flush=True)


def main() -> None:
    """Be one of the two processes."""
    seconds, count, *words = sys.argv[1:]
    if count.startswith("-"):
        stop_after(int(count[1:]), float(seconds), words)
        os._exit(0)  # without a last attempt to write what nobody reads
    code = serve(seconds, words[: int(count)], words[int(count) :])
    if code < 0:
        with contextlib.suppress(OSError, ValueError):  # those that nobody may handle
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
