"""What all tests share: the backends they run on, and a guard against what they might leave behind."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import os
import platform
import select
import signal
import sys
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import anyio
import certifi
import pytest
from _pytest.assertion import rewrite
from hypothesis import settings

# For tests that need time to pass there is tests/virtual_time.py.
BACKENDS = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}

settings.register_profile("default", deadline=None)
settings.register_profile("long", deadline=None, max_examples=2000)  # nox -s ledger_machine
settings.register_profile("inner loop", deadline=None, max_examples=30)  # nobody waits seconds for one test there
settings.load_profile("default")

PATIENCE = 30.0
"""How long something that is ending anyway may take, in seconds; only ever waited for where something is left."""

WITH_PROCESSES = (
    "evals/test_kills.py",
    "evals/test_transcripts.py",
    "plugin/",
    "providers/",
    "real/",
    "seed/",
    "servers/test_command_provider.py",
    "servers/test_crashes.py",
    "servers/test_endurance.py",
    "servers/test_server_cancellation.py",
    "servers/test_server_provider.py",
    "servers/test_server_recovery.py",
    "servers/test_server_slots.py",
    "servers/test_supervisor",
    "test_cli.py",
    "test_cli_endpoint.py",
    "test_cli_servers.py",
    "test_crowd.py",
    "test_demo.py",
    "test_docs.py",
    "test_examples.py",
    "test_readme.py",
)
"""Every test whose path begins with one of these is marked ``process``: it starts a process or takes seconds.

In ``providers/`` and for transcripts the seconds are those that the real SDKs take to be imported.
"""

NOT_CORE = ("evals/",)
"""Every other test without the mark ``process`` is marked ``core``."""

LONG = (
    "evals/test_fuzz.py",
    "evals/test_kills.py",
    "plugin/test_plugin_servers.py",
    "servers/test_crashes.py",
    "servers/test_endurance.py",
    "servers/test_kill_matrix.py",
    "test_crowd.py",
    "test_demo.py",
    "test_examples.py",
)
"""Here are tests that take 4 seconds and more, most of which they wait: they begin first, before all with a process."""

IN_TURNS = ("evals/", "plugin/", "providers/", "servers/", "test_contract.py", "test_example_evaluations.py")
"""Where cases of a test take turns on its event loops; ``LOOPS=all`` runs each of them on each, as nox does."""
LOOPS = {"anyio_backend", "backend"}
"""What tests call the parameter that says on which event loop they run."""

PROCESS_FIXTURES = frozenset({"forks", "machine", "mock_server", "processes", "supervisors"})
"""So is every test with one of these fixtures, which start a process."""

OF_WHO_RUNS_US = (
    ("BUILD_NUMBER", "CI", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "PY_COLORS"),
    ("PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_PLUGINS", "PYTHONASYNCIODEBUG", "PYTHONDEVMODE"),
    ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_DIR", "SSL_CERT_FILE"),
)
"""Variables that would change what pytest prints, in the tests' own runs of it, or where and how clients connect."""

OF_WHOSE_MODELS = ("ANTHROPIC_", "AZURE_", "CUDA_", "DOTEVAL_", "HF_", "HIP_", "OLLAMA_", "OPENAI_", "VLLM_")
"""So begin the variables that belong to somebody's keys, servers and cards."""

_HERE = Path(__file__).parent
_IN_MEMORY = Path("/dev/shm")
_ENOUGH_MEMORY = 4 << 30
_STARTS = frozenset({"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"})
_started: list[str] = []
"""How the test that runs now has started processes, one entry each; see `pytest_runtest_setup`."""
_OPEN_FILES = Path("/proc/self/fd")
_OWN_TASKS = "/proc/self/task"


def pytest_configure(config: pytest.Config) -> None:
    if _is_inner_loop(config) and not config.getoption("--hypothesis-profile", None):
        settings.load_profile("inner loop")
    config.addinivalue_line("markers", "counts_open_files: fails when file descriptors are open that were not before")
    # What is run in the background or under nohup may ignore these, and every process we start would inherit that.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    # Where this is set, each process that tests start would compile all of doteval, and each pytest all of its plugins.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    _notice_processes()
    if hasattr(config, "workerinput"):
        _rewrite_share(config, int(config.workerinput["workerid"][2:]), config.workerinput["workercount"])
    else:
        _keep_files_in_memory()


def _keep_files_in_memory() -> None:
    """Most tests of evaluations have a database, whose every commit a disk has to confirm: 6 ms of processor each run,
    and ten times as much of waiting. Only what failed tests leave is kept, as `tmp_path_retention_policy` says."""
    with contextlib.suppress(AttributeError, OSError):  # another system
        memory = os.statvfs(_IN_MEMORY)
        is_fit = memory.f_bavail * memory.f_frsize > _ENOUGH_MEMORY and not memory.f_flag & os.ST_NOEXEC
        if is_fit and os.access(_IN_MEMORY, os.W_OK) and "TMPDIR" not in os.environ:
            os.environ["TMPDIR"] = tempfile.tempdir = str(_IN_MEMORY)


@functools.cache
def _notice_processes() -> None:
    platform.processor()  # which the SDKs ask for once, with ``uname -p``
    sys.addaudithook(lambda event, arguments: _started.append(event) if event in _STARTS else None)
    os.register_at_fork(before=lambda: _started.append("fork"))  # uvloop's are not audited


def _rewrite_share(config: pytest.Config, worker: int, workers: int) -> None:
    """Where no file of tests was ever imported, each of the workers rewrites the asserts of some, and finds the others
    done: 4 seconds of processor for one, and else for each."""
    named = [Path(argument.partition("::")[0]).absolute() for argument in config.args]
    files = sorted({file for path in named for file in (path.rglob("test_*.py") if path.is_dir() else [path])})
    for file in files[worker::workers]:
        if not _is_left_out(_path(file), config):
            with contextlib.suppress(Exception):  # how pytest does it, which may change; the import does it again
                pyc = rewrite.get_cache_dir(file) / (file.stem + rewrite.PYC_TAIL)
                if rewrite._read_pyc(file, pyc) is None:
                    pyc.parent.mkdir(exist_ok=True)
                    known, code = rewrite._rewrite_test(file, config)
                    rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, known, pyc)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The inner loop does not even import what it deselects: some of it imports SDKs, which takes seconds."""
    return _is_left_out(_path(collection_path) + ("/" if collection_path.is_dir() else ""), config) or None


def _is_left_out(path: str, config: pytest.Config) -> bool:
    of_core = NOT_CORE if config.option.markexpr == "core" else ()
    return _is_inner_loop(config) and path.startswith((*WITH_PROCESSES, *of_core))


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if _path(item.path).startswith(WITH_PROCESSES) or not PROCESS_FIXTURES.isdisjoint(fixtures):
            item.add_marker("process")
        elif not _path(item.path).startswith(NOT_CORE):
            item.add_marker("core")
    result = yield
    if os.environ.get("LOOPS") != "all" and not any("::" in argument for argument in config.args):
        left = _left_out(item for item in items if _path(item.path).startswith(IN_TURNS))
        config.hook.pytest_deselected(items=[item for item in items if item in left])
        items[:] = [item for item in items if item not in left]
    items.sort(key=_turn)  # so that no worker is left with a long one
    return result


def _left_out(items: Iterable[Any]) -> set[Any]:
    """The cases of each test on all loops but one, which takes turns with each of its other parameters.

    So each case is run, and each value of a parameter on every loop where there are enough of others. Nothing is left
    out where a loop would be left without a case.
    """
    tests: dict[tuple[object, ...], dict[tuple[str, ...], dict[str, Any]]] = {}
    for item in items:
        case = getattr(item, "callspec", None)
        if case is not None and not LOOPS.isdisjoint(case.params):
            *others, loop = sorted(case._idlist, key=BACKENDS.__contains__)
            test = item.path, item.cls, item.originalname
            tests.setdefault(test, {}).setdefault(tuple(others), {})[loop] = item
    left: set[Any] = set()
    for cases in tests.values():
        values = [[*dict.fromkeys(column)] for column in zip(*cases, strict=True)]
        chosen = {}
        for case, runs in cases.items():
            turn = sum(every.index(value) for every, value in zip(values, case, strict=True))
            chosen[case] = [*runs][turn % len(runs)]
        if {*chosen.values()} == {loop for runs in cases.values() for loop in runs}:
            left.update(item for case, runs in cases.items() for loop, item in runs.items() if loop != chosen[case])
    return left


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """All that is imported and collected stays: looking through it for garbage, again and again, takes a third."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is there before the first test is no garbage of a test: `gc.collect` need not look through it, for 0.3 s."""
    gc.enable()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of two workers on two cores, half of the time nobody computes: tests wait for the processes they have started."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 * cores


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Workers are forked by a process that has imported SDKs and all: 5 seconds of processor for each of them.

    Not in the inner loop, which needs none of it, nor where pytest-cov looks at what is imported.
    """
    if _is_inner_loop(config) or config.pluginmanager.hasplugin("_cov"):
        return
    from tests.forks import Forks

    forks = Forks()
    forks.fork_workers()
    config.add_cleanup(forks.__exit__)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Who has finished takes from who has not: dealt out beforehand, the last 90 seconds were one worker's."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


def _is_inner_loop(config: pytest.Config) -> bool:
    return config.option.markexpr in ("core", "not process")


def _turn(item: pytest.Item) -> int:
    return 0 if _path(item.path).startswith(LONG) else 1 if item.get_closest_marker("process") else 2


@functools.cache
def _path(path: Path) -> str:
    return path.relative_to(_HERE).as_posix() if path.is_relative_to(_HERE) else ""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None]:
    _started.clear()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """``-m "not process"`` is what it says: a test without the mark starts no process, and no fixture for it does."""
    result = yield
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()  # what one file leaves is not looked through for each test of the next: 0.2 s, some hundred times
    if item.get_closest_marker("process") is None:
        assert not _started, f"the test starts a process ({_started[0]}) and is not marked process"
    return result


@pytest.fixture(scope="module", params=BACKENDS.values(), ids=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every async test runs on each of these."""
    return request.param


@pytest.fixture(scope="session")
def forks() -> Iterator[Any]:
    """Starts Python without waiting for its imports: a `tests.forks.Forks`."""
    from tests.forks import Forks  # here, so that these lines also serve where there is no tests

    with Forks(shared=True) as forks:
        yield forks


@pytest.fixture(scope="session", autouse=True)
def nobodys_environment() -> Iterator[None]:
    """What the tests see is the same in a terminal, in continuous integration, and beside somebody's keys."""
    usual = frozenset(itertools.chain.from_iterable(OF_WHO_RUNS_US))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper() in usual or name.startswith(OF_WHOSE_MODELS)]:
            if not name.startswith("DOTEVAL_TEST_"):  # where real servers are that tests are to start
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_certificate(nobodys_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test talks TLS, but every client loads all certificates that there are: 25 ms each time. Here there is one."""
    end = "-----END CERTIFICATE-----\n"
    first = Path(certifi.where()).read_text("utf-8").partition(end)[0]
    file = tmp_path_factory.mktemp("certificates") / "one.pem"
    file.write_text(first + end, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        patch.setattr(certifi, "where", lambda: str(file))  # for clients that do not look at the environment
        yield


@pytest.fixture(scope="session")
def mock_server(forks: Any) -> Iterator[Any]:
    """A process of llmock for all tests; who uses it resets it before, see `tests.llmock_server`."""
    from tests.llmock_server import running_llmock  # here, as these lines also serve where there is no tests

    with running_llmock(forks) as server:
        yield server


@pytest.fixture(autouse=True)
def leak_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves a thread of ours or a child process; a test marked ``counts_open_files`` no open file either."""
    counts_files = request.node.get_closest_marker("counts_open_files") is not None and _OPEN_FILES.exists()
    threads, children = _our_threads(), _children()
    if counts_files:
        _open_what_stays_open()
    files = _open_files() if counts_files else 0
    yield
    for thread in _our_threads() - threads:
        thread.join(PATIENCE)
    assert not _our_threads() - threads, "the test left threads of doteval running"
    left = [_command(child) for child in _children() - children if not _ends_soon(child)]
    assert not left, f"the test left child processes running: {left}"
    if counts_files:
        gc.collect()
        assert _open_files() <= files, "the test left files or sockets open"


def _our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("doteval")}


def _children() -> set[int]:
    """The processes this one has started and not waited for; none where the system does not tell."""
    found: set[int] = set()
    try:
        tasks = os.listdir(_OWN_TASKS)  # noqa: PTH208 - this and what follows happens twice a test
    except OSError:
        return found
    for task in tasks:
        try:
            with open(f"{_OWN_TASKS}/{task}/children", "rb") as children:  # noqa: PTH123
                found.update(map(int, children.read().split()))
        except OSError:
            continue  # the thread has just ended
    return found


def _ends_soon(pid: int) -> bool:
    try:
        watch = os.pidfd_open(pid)
    except OSError:
        return True  # it has ended and was waited for
    try:
        return bool(select.select([watch], [], [], PATIENCE)[0])
    finally:
        os.close(watch)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return f"process {pid}"


@functools.cache
def _open_what_stays_open() -> None:
    """The first loop of uvloop opens what the process then keeps."""
    backend, options = BACKENDS["uvloop"]
    run = functools.partial(anyio.run, anyio.sleep, 0, backend=backend, backend_options=options)
    thread = threading.Thread(target=run)  # in this one a fixture may keep an event loop open
    thread.start()
    thread.join()


def _open_files() -> int:
    return sum(1 for _ in _OPEN_FILES.iterdir())
