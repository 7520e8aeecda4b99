"""A process that has imported what nearly every run needs, and forks a child for each run: started by tests/forks.py.

Importing pytest, both SDKs and doteval takes seconds, starting a child that has them takes milliseconds. The child is
a fresh process in all else: it gets arguments, directory, environment and files of its own, has event loops of its
own, and runs a module or a file as ``__main__``. Nothing that is imported here is called before the fork.

Standard input is a socket. Each message on it is one byte that brings four files along: a socket on which the child
reads what it is to run (JSON, up to the end) and answers with its process id, and on which this process answers with
the exit status; and the child's standard input, output and error.

A run of pytest-xdist starts workers, which import the same again. Such a run is given a fork server of its own, which
it forks before it is anything else, and gets its workers from there.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import sys
import sysconfig
import threading
import types
import warnings
from collections.abc import Callable
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

from _pytest import fixtures
from _pytest._code import code, source
from _pytest.config import default_plugins

MODULES = (
    "pytest", *(f"_pytest.{name}" for name in default_plugins), "_pytest.pytester", "pdb", "xml.etree.ElementTree",
    "anyio.pytest_plugin", "pytest_asyncio.plugin", "pytest_trio.plugin", "_hypothesis_pytestplugin", "execnet.multi",
    "trio", "hypothesis", "uvloop", "anyio._backends._asyncio", "anyio._backends._trio", "anyio.to_thread",
    "openai", "openai.resources.chat.completions.completions", "anthropic", "anthropic.resources.messages",
    "httpx", "httpcore", "httpx2", "httpcore2", "h11", "h2.connection", "encodings.idna", "rich.progress", "jinja2",
    "llmock.main", "uvicorn", "uvicorn.protocols.http.auto",
    "doteval.blocking", "doteval.cli", "doteval.evals", "doteval.pytest_plugin", "doteval.servers", "doteval.testing",
    "doteval.cli._look", "doteval.cli._results", "doteval.cli._serve", "doteval._tables",
    "doteval.pytest_plugin._leased", "doteval.pytest_plugin._leases",
    *(f"doteval.pytest_plugin._evals.{name}" for name in ("data", "preload", "progress", "running", "termination")),
    "doteval.providers.anthropic", "doteval.providers.http", "doteval.providers.ollama", "doteval.providers.openai",
    "doteval.providers.server", "doteval.providers.vllm",
)  # fmt: skip
"""What runs import. xdist is not among it: it keeps the import path that it finds when it is imported."""

TRACED = (
    "_pytest.capture", "_pytest.config", "_pytest.logging", "_pytest.main", "_pytest.python", "_pytest.runner",
    "_pytest.skipping", "_pytest.threadexception", "_pytest.unraisableexception", "_pytest.warnings",
    "pluggy._callers", "pluggy._caller", "pluggy._execution", "pluggy._hooks", "pluggy._manager",
    "anyio._backends._asyncio", "anyio._backends._trio", "anyio._core._eventloop", "anyio.pytest_plugin",
    "asyncio.base_events", "asyncio.events", "asyncio.runners", "contextlib", "outcome._impl", "trio._core._run",
    "doteval._pool.pool", "doteval._pool.resource", "doteval._runtime", "doteval.evals._running.blocking",
    "doteval.evals._running.engine", "doteval.evals._running.missing", "doteval.evals._running.run",
    "doteval.pytest_plugin._evals.running", "doteval.pytest_plugin._fixtures",
)  # fmt: skip
"""What is in the tracebacks of runs that fail, in whichever versions there are."""

TAKES_MORE = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS

ABOVE = "fork_server_of_this_run"
"""The module in which a run finds where its own fork server is asked, if it was given one."""

SIGNALS = {signal.SIGCHLD}


def serve(control: socket.socket) -> tuple[socket.socket, list[int]] | None:
    """Fork whenever a message comes.

    Returns:
        In a child, the socket and the files that came along; in the server `None`, when nobody can ask any more.
    """
    running: dict[int, socket.socket] = {}

    def reap(*_: object) -> None:
        while running:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # the last one was just taken, where this has interrupted itself
                return
            if pid == 0:
                return
            with running.pop(pid) as connection, contextlib.suppress(OSError):  # who asked may be gone
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the children, and for who started this
    while files := socket.recv_fds(control, 1, 4)[1]:
        connection = socket.socket(fileno=files[0])
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the child is known
        pid = os.fork()
        if pid == 0:
            for other in running.values():
                other.close()
            control.close()
            return connection, files[1:]
        running[pid] = connection
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for file in files[1:]:
            os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # there is nobody to answer
    for pid in list(running):
        os.kill(pid, signal.SIGKILL)
    return None


def become(connection: socket.socket, files: list[int], import_path: list[str]) -> list[str]:
    """Be as a process is that has just been started, and say so; the command line, empty for a server at its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    with connection, connection.makefile() as lines:
        request = json.load(lines)
        workers = None
        if request["workers"]:
            workers, theirs = socket.socketpair()
            if os.fork() == 0:
                workers.close()
                connection.close()
                with Path(os.devnull).open("r+") as nothing:
                    for number in range(3):
                        os.dup2(nothing.fileno(), number)
                child = serve(theirs)
                return [] if child is None else become(*child, import_path)
            theirs.close()
        if request["new_session"]:
            os.setsid()
        os.chdir(request["directory"])
        connection.sendall(b"pid %d\n" % os.getpid())  # not to be taken for an exit status
    os.environ.clear()
    os.environ.update(request["environment"])
    more = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [*more, *import_path]
    importlib.invalidate_caches()
    options = list(filter(None, os.environ.get("PYTHONWARNINGS", "").split(",")))
    sys.warnoptions[:] = options
    warnings._processoptions(options)  # type: ignore[attr-defined]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty() or "PYTHONUNBUFFERED" in os.environ)
    if workers is not None:
        fork_workers(workers)
        sys.modules[ABOVE] = above = types.ModuleType(ABOVE)
        above.control = workers  # type: ignore[attr-defined]
    return request["arguments"]


def know_statements() -> None:
    """Let pytest know where the statements begin in what is in nearly every traceback.

    It would parse each of these files once for each traceback that it shows: half of what a run takes that fails.
    """
    statements, getsource = getattr(source, "_statement_linenos", None), code.TracebackEntry.getsource
    if statements is None:
        return  # another version of pytest
    known: dict[str | Path, ast.AST] = {}
    for name in TRACED:
        if (module := sys.modules.get(name)) is not None and module.__file__ is not None:
            path = Path(module.__file__)
            known[path] = ast.Module([], [])
            known[path]._pytest_statement_linenos = statements(ast.parse(path.read_bytes()))  # type: ignore[attr-defined]

    def knowing(entry: code.TracebackEntry, astcache: dict[str | Path, ast.AST] | None = None) -> source.Source | None:
        if astcache is not None and (path := entry.frame.code.path) in known:
            astcache.setdefault(path, known[path])
        return getsource(entry, astcache)

    code.TracebackEntry.getsource = knowing  # type: ignore[method-assign]


def know_plugins() -> None:
    """Let pytest know which of its own plugins have no fixtures, and that what makes a value of nothing takes nothing.

    It would look at all that is in each plugin, for each run, and ask `inspect` ten times a test: together a fifth of a
    run, and a tenth of a test that does little.
    """
    kind, manager = getattr(fixtures, "FixtureFunctionDefinition", None), fixtures.FixtureManager
    parse, names = manager.parsefactories, fixtures.getfuncargnames
    if kind is None or "holder" not in inspect.signature(parse).parameters:
        return  # another version of pytest
    known: dict[type | types.ModuleType, bool] = {}

    def has_none(holder: object) -> bool:
        owner = holder if isinstance(holder, types.ModuleType | type) else type(holder)
        name = owner.__name__ if isinstance(owner, types.ModuleType) else owner.__module__
        if not name.startswith("_pytest."):
            return False
        if owner not in known:
            known[owner] = not any(type(getattr(owner, each, None)) is kind for each in dir(owner))
        return known[owner]

    def parse_some(self: Any, *arguments: Any, holder: object = fixtures.NOTSET, **others: Any) -> None:
        if holder is fixtures.NOTSET or not has_none(holder):
            parse(self, *arguments, holder=holder, **others)

    def known_names(function: Callable[..., object], *, name: str = "", cls: type | None = None) -> tuple[str, ...]:
        if type(function) is types.FunctionType and not vars(function):
            made = function.__code__
            if not made.co_argcount + made.co_kwonlyargcount and not made.co_flags & TAKES_MORE:
                return ()
        return names(function, name=name, cls=cls)

    manager.parsefactories = parse_some  # type: ignore[method-assign]
    fixtures.getfuncargnames = known_names


def know_distributions() -> None:
    """Let everybody know what is installed: each run of pytest reads three times what each package says of itself."""
    installed = tuple({sysconfig.get_path("purelib") + os.sep, sysconfig.get_path("platlib") + os.sep})

    def remembering(read: Callable[[Any], Any]) -> property:
        known: dict[str, Any] = {}

        def found(distribution: Any) -> Any:
            place = str(distribution._path)
            if not place.startswith(installed):
                return read(distribution)  # of a test
            if place not in known:
                known[place] = read(distribution)
            return known[place]

        return property(found)

    for name in ("entry_points", "metadata"):
        setattr(PathDistribution, name, remembering(getattr(PathDistribution, name).fget))


class Worker:
    """What execnet needs of the `subprocess.Popen` that it would start.

    Args:
        control: Where the server is asked.
        code: What the worker runs.
        workers: Whether it gets a fork server of its own.
    """

    def __init__(self, control: socket.socket, code: str, *, workers: bool) -> None:
        request = {
            "arguments": ["-c", code],
            "directory": str(Path.cwd()),
            "environment": dict(os.environ),
            "new_session": False,
            "workers": workers,
        }
        reads, stdin = os.pipe()
        stdout, writes = os.pipe()
        self.stdin, self.stdout = os.fdopen(stdin, "wb", 0), os.fdopen(stdout, "rb", 0)
        self._connection, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(control, [b"."], [theirs.fileno(), reads, writes, 2])
        os.close(reads)
        os.close(writes)
        self._connection.sendall(json.dumps(request).encode())
        self._connection.shutdown(socket.SHUT_WR)
        self._answers = self._connection.makefile()
        answer = self._answers.readline()
        if not answer.startswith("pid "):
            raise RuntimeError(f"a worker ended before it began: {answer!r}")
        self.pid = int(answer.removeprefix("pid "))

    def wait(self) -> int:
        with self._connection, self._answers:
            return int(self._answers.readline() or -1)

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork_workers(control: socket.socket, *, workers: bool = False) -> None:
    """Let execnet take its processes from a fork server, each with a fork server of its own or without."""
    gateway_io: Any = importlib.import_module("execnet.gateway_io")

    class Forked(gateway_io.Popen2IOMaster):  # type: ignore[misc]
        def __init__(self, args: list[str], execmodel: Any) -> None:
            self.popen = worker = Worker(control, args[-1], workers=workers)
            gateway_io.Popen2IO.__init__(self, worker.stdin, worker.stdout, execmodel=execmodel)

    gateway_io.Popen2IOMaster = Forked


def run(arguments: list[str]) -> None:
    """Run ``-m MODULE ...`` or ``FILE ...`` as Python's command line does.

    What was there before is left as it is: to take down the interpreter is 90 ms, as each page with a reference count
    on it would be written to. A file is a program of a test: its globals, and those of what it has imported, are taken
    down as at any end.
    """
    before = frozenset(sys.modules)
    try:
        run_as_main(arguments)
    except SystemExit as exc:
        if not isinstance(exc.code, int | None):
            raise
        status = exc.code or 0
    else:
        status = 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not arguments[0].startswith("-"):
        for name in [name for name in sys.modules if name not in before]:
            del sys.modules[name]
        gc.collect()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status & 0xFF)


def run_as_main(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        sys.path.insert(0, str(Path.cwd()))
        sys.argv[:] = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.path.insert(0, "")
        sys.argv[:] = ["-c"]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(arguments[1], main.__dict__)
    else:
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        sys.argv[:] = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def main() -> None:
    import_path = sys.path[1:]  # the first one is where this file is
    for _ in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        del import_path[0]
    del sys.path[0]
    gc.disable()  # nothing of this is garbage
    for module in () if sys.argv[1:] == ["bare"] else MODULES:
        with contextlib.suppress(ImportError):  # then a run that needs it says so
            importlib.import_module(module)
    inspect.getmodule(main.__code__)  # keeps where each module is: 0.1 s for who has to show a traceback
    know_statements()
    know_plugins()
    know_distributions()
    assert threading.active_count() == 1, "a thread would not be there after the fork"
    sys.path_importer_cache.clear()  # here, as each child would copy 9 MB to free it: 10 ms
    gc.collect()
    gc.freeze()
    gc.enable()
    control = socket.socket(fileno=os.dup(0))  # a child is given a standard input of its own in its place
    child = serve(control)
    if child is not None:
        arguments = become(*child, import_path)
        if arguments:
            run(arguments)


if __name__ == "__main__":
    main()
