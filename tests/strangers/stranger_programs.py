"""Programs that are neither an app nor a suite: a notebook over several cells, and workers that are forked."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from tests.strangers.conftest import SYMPTOMS

pytestmark = pytest.mark.process

PATIENCE = 60.0

CELLS = {
    "await": """
from doteval import OpenAIProvider
provider = await OpenAIProvider().start()
handle = await provider.setup("gpt-4o")
# %%
print(await handle.model.generate("one"))
# %%
raise KeyError("a mistake")
# %%
async with handle.model.stream("two") as chunks:
    print("".join([chunk async for chunk in chunks]))
# %%
import asyncio
print(*await asyncio.gather(*(handle.model.generate(str(number)) for number in range(3))))
# %%
await provider.aclose()
print(provider.statistics().opens, provider.statistics().closes)
""",
    "async with": """
from doteval import OpenAIProvider
# %%
async with OpenAIProvider() as provider, provider.setup("gpt-4o") as handle:
    print(await handle.model.generate("one"))
# %%
print(provider.statistics().opens, provider.statistics().closes)
""",
    "blocking": """
from contextlib import ExitStack
from doteval import OpenAIProvider
from doteval.blocking import entered
stack = ExitStack()
provider = stack.enter_context(entered(OpenAIProvider()))
# %%
with provider.setup("gpt-4o") as handle:
    print(handle.model.generate("one"))
# %%
stack.close()
print(provider.statistics().opens, provider.statistics().closes)
""",
    "an evaluation": """
from doteval import OpenAIProvider, Result, foreach
from doteval.evals import run
provider = await OpenAIProvider().start()
# %%
@foreach("prompt", ["a", "b", "c"])
async def eval_it(prompt, model):
    text = await model.generate(prompt)
    return Result(text, scores={"has": prompt in text})
# %%
outcome = await run(eval_it, model=lambda: provider.setup("gpt-4o"))
print(outcome.summary.rows)
# %%
outcome = await run(eval_it, model=lambda: provider.setup("gpt-4o"))
print(outcome.summary.rows)
# %%
await provider.aclose()
print(provider.statistics().opens, provider.statistics().closes)
""",
}


@pytest.mark.parametrize("name", CELLS)
def test_a_notebook_keeps_a_model_over_its_cells(
    name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a real kernel; an error in one cell is nobody else's."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS[name].split("# %%\n")])
    client = nbclient.NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", allow_errors=True)
    asyncio.run(client.async_execute())
    printed = [
        "".join(output.get("text", "") or output.get("ename", "") for output in cell.outputs) for cell in notebook.cells
    ]
    assert printed[-1] == "1 1\n", printed
    assert [text for text in printed if text.endswith("Error")] == ["KeyError"] * (name == "await"), printed
    assert not any(symptom in text for symptom in SYMPTOMS for text in printed), printed


def test_workers_of_a_queue_are_forked_and_have_a_model_each(environment: dict[str, str], tmp_path: Path) -> None:
    """Celery's own pool, with a queue in a directory."""
    for name in ("queue", "done", "results"):
        (tmp_path / name).mkdir()
    environment = {**environment, "QUEUE": str(tmp_path), "C_FORCE_ROOT": "1"}
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-P", "prefork", "-c", "2", "-l", "warning"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )
    try:
        ask = (
            "from celery_app import ask\n"
            "found = [each.get(timeout=60) for each in [ask.delay(str(n)) for n in range(40)]]\n"
            "assert [text for _, text in found] == [f'Hello! You said: {n}' for n in range(40)], found\n"
            "print(len({pid for pid, _ in found}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", ask],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=tmp_path,
        )
        assert done.stdout == "2\n", done.stdout + done.stderr
        worker.send_signal(signal.SIGTERM)
        printed, _ = worker.communicate(timeout=PATIENCE)
    finally:
        worker.kill()
        worker.wait()
    assert printed.count("closed 1 1") == 2, printed
    assert not any(symptom in printed for symptom in SYMPTOMS), printed


FORKED = """
import multiprocessing, os, sys
from doteval import ForkedProcessError, OpenAIProvider
from doteval.blocking import entered

def ask(number):
    with entered(OpenAIProvider()) as provider, provider.setup("gpt-4o") as handle:
        return os.getpid(), handle.model.generate(str(number))

def ask_the_parents(number):
    try:
        with parents.setup("gpt-4o") as handle:
            return handle.model.generate(str(number))
    except ForkedProcessError:
        return "refused"

context = multiprocessing.get_context("fork")
with entered(OpenAIProvider()) as parents:
    with parents.setup("gpt-4o") as handle:
        assert handle.model.generate("before") == "Hello! You said: before"
        with context.Pool(2) as pool:
            found = pool.map(ask, range(6), chunksize=1)
            assert [text for _, text in found] == [f"Hello! You said: {n}" for n in range(6)], found
            assert pool.map(ask_the_parents, range(3)) == ["refused"] * 3
            pool.close()
            pool.join()
        assert handle.model.generate("after") == "Hello! You said: after"
print(parents.statistics().opens, parents.statistics().closes)
"""


def test_a_pool_of_forked_processes_beside_a_provider_that_is_open(environment: dict[str, str]) -> None:
    """Children enter providers of their own; that of the parent is refused to them, and goes on in the parent."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, "1 1\n"), done.stdout + done.stderr
    assert not any(symptom in done.stderr for symptom in SYMPTOMS), done.stderr
