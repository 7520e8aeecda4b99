"""Notebooks as people work in them: cells are interrupted, edited, run again, and the kernel is restarted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.strangers.conftest import SYMPTOMS
from tests.strangers.kernels import PATIENCE, Kernel

pytestmark = pytest.mark.process

OPEN = """
from doteval.testing import FakeProvider
provider = await FakeProvider().start()
"""
SLOW = """
slow = await FakeProvider(open_latency=3600).start()
print("waits")
handle = await slow.setup("a")
"""
EVALUATION = """
import asyncio
from doteval import Result, foreach
from doteval.evals import run

called = 0

@foreach("number", range(200))
async def eval_slow(number, model):
    global called
    called += 1
    if number == 20:
        print("in the middle")
    await asyncio.sleep(0.01)
    return Result(await model.generate(str(number)))
"""
RUN = 'outcome = await run(eval_slow, store="slow.db", concurrency=2, model=lambda: provider.setup("gpt-4o"))'
EDITED = """
def upper(text):
    return text.{method}()

@foreach("text", ["Abc"])
async def eval_edited(text):
    return Result(upper(text))
"""
RUN_EDITED = 'print([r.output for r in (await run(eval_edited, store="edited.db")).records])'
SERVER = """
from doteval import ServerProvider
servers = await ServerProvider(["llmock", "serve", "--port", "{port}"]).start()
lease = await servers.setup("my-model")
print(lease.model.lease.server.pid)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One for all, as it takes seconds to start."""
    directory = tmp_path_factory.mktemp("notebook")
    environment = {**os.environ, "OPENAI_API_KEY": ""}
    with Kernel(directory, environment) as kernel:
        kernel.run(OPEN)
        yield kernel


def test_a_cell_that_is_interrupted_takes_nothing_with_it(kernel: Kernel) -> None:
    """While it waits for an opening: that is called off, and the provider and all others go on."""
    cell = kernel.run(SLOW, interrupt_at="waits")
    assert cell.error in ("CancelledError", "KeyboardInterrupt"), cell
    assert kernel.run("slow").value == "<FakeProvider open=0 (idle=0) opening=0 closing=0 leases=0 waiting=0>"
    cell = kernel.run("async with provider.setup('gpt-4o') as handle:\n    print(await handle.model.generate('on'))")
    assert cell.printed == "on\n", cell
    assert kernel.run("await slow.aclose()").error == ""


def test_an_evaluation_that_is_interrupted_goes_on_where_it_was(kernel: Kernel) -> None:
    """What is done is kept, and is not done again."""
    assert kernel.run(EVALUATION).error == ""
    cell = kernel.run(RUN, interrupt_at="in the middle")
    assert cell.error in ("CancelledError", "KeyboardInterrupt"), cell
    done = int(kernel.run("print(called)").printed)
    assert 20 <= done < 200
    cell = kernel.run(f"{RUN}\nprint(called)")
    assert 200 <= int(cell.printed) <= 204, (cell, done)  # those that were in the middle
    assert kernel.run("outcome").value == "eval_slow: 200 rows, 0 errors"


def test_an_edited_cell_is_not_answered_with_what_it_was(kernel: Kernel) -> None:
    """Neither the evaluation nor a function that it calls."""
    kernel.run("from doteval import Result, foreach\nfrom doteval.evals import run")
    kernel.run(EDITED.format(method="upper"))
    assert kernel.run(RUN_EDITED).printed == "['ABC']\n"
    kernel.run(EDITED.format(method="upper"))  # the same again, in another cell
    assert kernel.run(RUN_EDITED).printed == "['ABC']\n"
    kernel.run("def upper(text):\n    return text.lower()")
    cell = kernel.run(RUN_EDITED)
    assert cell.error == "EvaluationChangedError", cell
    assert "the function 'upper' has changed" in cell.traceback
    cell = kernel.run(RUN_EDITED.replace('.db"', '.db", changed="rerun"'))
    assert "['abc']" in cell.printed, cell


def test_who_waits_for_what_another_cell_has_left_is_told_so(kernel: Kernel) -> None:
    """Nobody else could give it back, as there is only one cell at a time."""
    kernel.run("one = await FakeProvider(capacity=1).start()\nleft = await one.setup('a')")
    cell = kernel.run("await one.setup('b')", interrupt_at="will wait for ever")
    assert "unless a handle is torn down that a task has set up which has ended" in cell.printed, cell
    assert "'a': 1 slot, leased by task " in cell.printed
    assert kernel.run("await left.teardown()\nprint((await one.setup('b')).is_active)").printed == "True\n"
    cell = kernel.run("await one.aclose()\nawait one.setup('b')")
    assert cell.error == "ProviderClosedError"
    assert "doteval/" not in cell.traceback, "the frames are the user's"
    assert "aclose" in cell.traceback


def test_an_error_is_shown_on_the_first_screen(kernel: Kernel) -> None:
    """A missing key, of the SDK's provider: the line of the cell, the cause, and what to do."""
    cell = kernel.run(
        "from doteval import OpenAIProvider\nasync with OpenAIProvider() as models:\n    await models.setup('gpt-4o')"
    )
    assert cell.error == "ModelSetupError"
    assert cell.traceback.endswith(
        "ModelSetupError: Failed to setup resource 'gpt-4o': OpenAIProvider has no API key\n"
        "Set the environment variable OPENAI_API_KEY, or pass OpenAIProvider(api_key=...)."
    ), cell.traceback
    assert len(cell.traceback.splitlines()) < 12
    assert "----> 3     await models.setup('gpt-4o')" in cell.traceback


def test_a_setup_without_await_says_what_is_missing(kernel: Kernel) -> None:
    """As the last thing in a cell."""
    assert kernel.run("provider.setup('gpt-4o')").value == "<doteval.Setup: 'await' it, or enter it with 'async with'>"


def test_a_cell_that_is_run_again_closes_what_it_has_opened(kernel: Kernel) -> None:
    """As the page says."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "embed-in-an-app.md"
    _, _, rest = page.read_text("utf-8").partition("# The first cell, which may be run again:\n")
    cell = rest.partition("\n\n# ")[0].replace("OpenAIProvider", "FakeProvider").replace("doteval ", "doteval.testing ")
    assert "aclose" in cell
    kernel.run(cell)
    kernel.run("first, lease = models, await models.setup('a')")
    assert kernel.run(cell).error == ""
    assert kernel.run("print(first, lease.is_active, models is first)").printed == "<FakeProvider closed> False False\n"


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
def test_a_kernel_that_is_restarted_leaves_no_server(kill: bool, tmp_path: Path) -> None:
    """With a lease on it, whoever ends the kernel."""
    with (
        tempfile.TemporaryDirectory(prefix="kernel-", dir="/tmp") as runtime,  # sockets need a short path
        Kernel(tmp_path, {**os.environ, "DOTEVAL_RUNTIME_DIR": runtime}) as kernel,
    ):
        cell = kernel.run(SERVER)
        assert cell.printed, cell
        pid = int(cell.printed)
        kernel.restart(kill=kill)
        end = time.monotonic() + PATIENCE
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end
            time.sleep(0.05)


LINES = """
from doteval.testing import FakeProvider
provider = await FakeProvider().start()
handle = await provider.setup("a")
print(await handle.model.generate("over several lines"))
await provider.aclose()
print(provider)
"""


@pytest.mark.parametrize("module", ["asyncio", "IPython"])
def test_a_provider_lives_over_the_lines_of_a_console(module: str, tmp_path: Path) -> None:
    """In `python -m asyncio`, which has a thread beside its loop, and in IPython, whose loop rests in between."""
    printed = console(module, LINES, tmp_path)
    assert "over several lines" in printed
    assert "<FakeProvider closed>" in printed
    assert not any(symptom in printed for symptom in SYMPTOMS), printed


def test_each_line_is_a_loop_of_its_own_where_ipython_waits_with_trio(tmp_path: Path) -> None:
    """So nothing outlives a line; that is said, and the blocking face does."""
    lines = """
%autoawait trio
from doteval.testing import FakeProvider
provider = await FakeProvider().start()
handle = await provider.setup("a")
async with FakeProvider() as other, other.setup("a") as handle: print(await handle.model.generate("in one line"))
from contextlib import ExitStack
from doteval.blocking import entered
stack = ExitStack(); models = stack.enter_context(entered(FakeProvider(), backend="trio"))
handle = models.setup("a").__enter__()
print(handle.model.generate("over several lines"))
stack.close()
"""
    printed = console("IPython", lines, tmp_path)
    assert "FakeProvider is closed: the event loop in which it was entered has ended." in printed
    assert "each cell after '%autoawait trio'" in printed
    assert "in one line" in printed
    assert "over several lines" in printed


def console(module: str, lines: str, directory: Path) -> str:
    """What somebody sees who types these lines."""
    options = ["--simple-prompt", "--no-banner"] if module == "IPython" else []
    done = subprocess.run(
        [sys.executable, "-m", module, *options],
        check=False,
        input=lines,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=directory,
        env={**os.environ, "IPYTHONDIR": str(directory), "NO_COLOR": "1"},
    )
    return done.stdout + done.stderr
