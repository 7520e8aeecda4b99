"""What a notebook shows of an error: no frames but the user's. In a real kernel: ``nox -s strangers``."""

from __future__ import annotations

import sys
import traceback
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace, TracebackType
from typing import Any

import anyio
import pytest

from doteval import DotevalError, ModelSetupError, OpenAIProvider, PooledProvider, Result, foreach
from doteval.evals import run
from doteval.testing import FakeProvider


def failing(spec: str) -> str:
    raise ConnectionRefusedError(f"nobody listens at {spec}")


class Mine(PooledProvider[str]):
    @asynccontextmanager
    async def open(self, spec: str, /) -> Any:
        yield failing(spec)


async def without_a_key() -> None:
    async with OpenAIProvider() as provider:
        await provider.setup("gpt-4o")


async def in_code_of_mine() -> None:
    async with Mine() as provider:
        await provider.setup("localhost")


async def not_entered() -> None:
    await FakeProvider().setup("a")


def raised(function: Any) -> DotevalError:
    with pytest.raises(DotevalError) as found:
        anyio.run(function)
    return found.value


class InteractiveTB:
    """As IPython's: one error at a time, which would show its causes, too."""

    mode = "Context"

    def structured_traceback(
        self, kind: type[BaseException], error: BaseException, frames: TracebackType | None, *, tb_offset: int
    ) -> list[str]:
        return traceback.format_exception(kind, error, frames)[tb_offset:]


@pytest.fixture(params=["in IPython", "elsewhere"])
def shell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> InteractiveTB:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    shell, module = InteractiveTB(), ModuleType("IPython")
    here = SimpleNamespace(InteractiveTB=shell) if request.param == "in IPython" else None
    vars(module)["get_ipython"] = lambda: here
    monkeypatch.setitem(sys.modules, "IPython", module)
    return shell


def functions(lines: list[str]) -> list[str]:
    return [line.rpartition(" in ")[2] for line in "\n".join(lines).splitlines() if line.startswith("  File ")]


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (without_a_key, ["raised", "without_a_key"]),
        (in_code_of_mine, ["open", "failing", "raised", "in_code_of_mine"]),
        (not_entered, ["raised", "not_entered"]),
    ],
)
def test_only_the_users_frames_are_shown(shell: InteractiveTB, function: Any, shown: list[str]) -> None:
    """Of the error and of what caused it, and each error once; the error is what it was afterwards."""
    error = raised(function)
    before = error.__cause__, error.__context__, error.__suppress_context__, error.__traceback__
    lines = error._render_traceback_()
    assert functions(lines) == shown
    printed = "\n".join(lines)
    assert printed.count(str(error)) == 1
    assert printed.count("direct cause") == isinstance(error.__cause__, ConnectionRefusedError)
    assert before == (error.__cause__, error.__context__, error.__suppress_context__, error.__traceback__)


def test_all_is_shown_where_that_is_asked_for(shell: InteractiveTB, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``%xmode Verbose``."""
    monkeypatch.setattr(shell, "mode", "Verbose")
    error = raised(without_a_key)
    is_in_ipython = sys.modules["IPython"].get_ipython() is not None
    assert ("MissingCredentialsError" in "".join(error._render_traceback_())) is is_in_ipython


def test_what_was_never_raised_is_shown_too(shell: InteractiveTB) -> None:
    """As an error that was stored, or made by a test."""
    assert "why\nwhat to do" in "".join(ModelSetupError("a", "why", "what to do")._render_traceback_())


@pytest.mark.anyio
async def test_an_outcome_is_shown_in_a_few_words() -> None:
    """Rows, errors, and each score with its interval; also where it is printed."""

    class Printer:
        texts: list[str] = []  # noqa: RUF012 - one is made

        def text(self, text: str) -> None:
            self.texts.append(text)

    @foreach("number", range(100), passes="even >= 0.6")
    async def eval_numbers(number: int) -> Result:
        return Result(number, scores={"even": number % 2 == 0, "number": number})

    outcome = await run(eval_numbers)
    printer = Printer()
    outcome._repr_pretty_(printer, cycle=False)
    assert printer.texts == [str(outcome)]
    lines = str(outcome).splitlines()
    assert lines[0] == "eval_numbers: 100 rows, 0 errors"
    assert lines[1].startswith("  even: 50.0% (40.")
    assert lines[2].startswith("  number: 49.5 (")
    assert lines[3].startswith("  not reached: even is 0.5 (")
    assert len(lines) == 4
