"""Providers that nobody closes, at the end of a program; and in processes that were forked while one was open."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.forks import Forks

PROVIDER = """
import asyncio, os
from doteval import ForkedProcessError, ModelProviders
from doteval.testing import FakeProvider

async def lease(provider):
    handle = await provider.setup("p:a" if isinstance(provider, ModelProviders) else "a")
    return await handle.model.generate("Hello")

KINDS = {"one": FakeProvider, "all": lambda: ModelProviders({"p": FakeProvider()}, discover=False)}
"""
ENDS = {
    "the loop is closed": "loop.close()",
    "the program ends": "",
    "the loop is closed, and the provider forgotten": "loop.close(); del provider",
}


@pytest.mark.parametrize("kind", ["one", "all"])
@pytest.mark.parametrize("end", ENDS)
def test_who_forgot_it_is_told(forks: Forks, tmp_path: Path, end: str, kind: str) -> None:
    """Where an event loop is not ended by ``asyncio.run``, nobody cancels its tasks, so nothing could be closed."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""{PROVIDER}
provider = KINDS[{kind!r}]()
loop = asyncio.new_event_loop()
loop.run_until_complete(provider.start())
print(loop.run_until_complete(lease(provider)))
{ENDS[end]}
"""
    )
    done = forks.run(str(program), env={"PYTHONWARNINGS": "default"})
    assert (done.returncode, done.stdout) == (0, "Hello\n")
    assert done.stderr.count("was entered and never closed: 'await provider.aclose()' before the event loop ends") == 1


@pytest.mark.parametrize("kind", ["one", "all"])
def test_a_forked_child_enters_it_anew(forks: Forks, tmp_path: Path, kind: str) -> None:
    """One that is defined in a module, as for the workers of a server; what the parent has open is the parent's."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""{PROVIDER}
provider = KINDS[{kind!r}]()

async def use():
    async with provider:
        return await lease(provider)

async def use_the_parents():
    try:
        await lease(provider)
    except ForkedProcessError as error:
        return "enter it in each process, after the fork" in str(error)

loop = asyncio.new_event_loop()
loop.run_until_complete(provider.start())
child = os.fork()
if child == 0:
    print(asyncio.run(use_the_parents()), flush=True)
    print(asyncio.run(use()), flush=True)
    print(asyncio.run(use()), flush=True)
else:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print("parent", loop.run_until_complete(lease(provider)))
    loop.run_until_complete(provider.aclose())
    loop.close()
"""
    )
    done = forks.run(str(program), env={"PYTHONWARNINGS": "error"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "True\nHello\nHello\nparent Hello\n"
