"""What a user can set about evaluations, on the command line and in the ini file."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

import pytest

BACKENDS: dict[str, object] = {"asyncio": "asyncio", "trio": "trio", "uvloop": ("asyncio", {"use_uvloop": True})}
"""What `anyio_backend` is for each name."""

_WORKERINPUT = "doteval_experiment"


NAME = "doteval_evaluation"
"""The property of a report that says which evaluation it is about."""


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The settings of one run.

    Args:
        backend: The name of the event loop of all evaluations; nothing where the user has not chosen.
        concurrency: How many rows at once, `None` for what each evaluation says.
        max_errors: How many rows of an evaluation may raise.
        retries: How often a row is run again after its model was lost.
        experiment: Under which name results are kept.
        is_named: Whether the user has given that name.
        fresh: Whether results that are there are thrown away.
        store: The file of the results.
    """

    backend: str
    concurrency: int | Literal["adaptive"] | None
    max_errors: int
    retries: int
    experiment: str
    is_named: bool
    fresh: bool
    store: Path


def add_eval_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("doteval evaluations", "evaluations (doteval)")
    group.addoption(
        "--eval-experiment",
        metavar="NAME",
        dest="doteval_experiment",
        help="keep results under this name; what is there already is not run again (default: a new name for each run)",
    )
    group.addoption(
        "--fresh",
        action="store_true",
        dest="doteval_fresh",
        help="throw away the results that are there of the evaluations that are run",
    )
    group.addoption(
        "--eval-concurrency",
        metavar="N|adaptive",
        dest="doteval_eval_concurrency",
        help="how many rows of an evaluation are run at once: a number, or as many as the server takes (default: 10)",
    )
    group.addoption(
        "--eval-max-errors",
        metavar="N",
        dest="doteval_eval_max_errors",
        help="how many rows of an evaluation may raise before it fails (default: 0)",
    )
    group.addoption(
        "--eval-retries",
        metavar="N",
        dest="doteval_eval_retries",
        help="how often a row is run again after its model was lost (default: 1)",
    )
    group.addoption(
        "--eval-backend",
        metavar="asyncio|trio|uvloop",
        dest="doteval_eval_backend",
        help="the event loop of all evaluations (default: asyncio)",
    )
    group.addoption(
        "--eval-store",
        metavar="FILE",
        dest="doteval_eval_store",
        help="where results are kept (default: .doteval/results.db)",
    )
    for name in ("eval_concurrency", "eval_max_errors", "eval_retries", "eval_backend", "eval_store"):
        parser.addini(name, f"like --{name.replace('_', '-')}", default="")


def read_eval_options(config: pytest.Config) -> EvalOptions:
    """What is set in this run; the command line wins over the ini file.

    Raises:
        pytest.UsageError: A value cannot be what it should be.
    """
    workerinput: dict[str, Any] = getattr(config, "workerinput", {})
    name: str | None = config.getoption("doteval_experiment")
    if name is not None and not name.strip():
        raise pytest.UsageError("--eval-experiment needs a name")
    given = _given(config, "concurrency")
    backend = _given(config, "backend")
    if backend and backend not in BACKENDS:
        raise pytest.UsageError(f"--eval-backend (ini: eval_backend) is one of {', '.join(BACKENDS)}, not {backend!r}")
    return EvalOptions(
        backend=backend,
        concurrency="adaptive" if given == "adaptive" else _number(config, "concurrency", None, least=1),
        max_errors=_number(config, "max_errors", 0) or 0,
        retries=_number(config, "retries", 1) or 0,
        experiment=name or workerinput.get(_WORKERINPUT) or f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{token_hex(2)}",
        is_named=name is not None,
        fresh=bool(config.getoption("doteval_fresh")),
        store=config.rootpath / (_given(config, "store") or Path(".doteval", "results.db")),
    )


def tell_worker(node: Any, options: EvalOptions) -> None:
    """Have a worker of pytest-xdist use the same name."""
    node.workerinput[_WORKERINPUT] = options.experiment


def _given(config: pytest.Config, name: str) -> str:
    value: str = config.getoption(f"doteval_eval_{name}") or config.getini(f"eval_{name}")
    return os.path.expandvars(value) if name == "store" else value


def _number(config: pytest.Config, name: str, default: int | None, least: int = 0) -> int | None:
    text = _given(config, name)
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        more = " or 'adaptive'" if name == "concurrency" else ""
        raise pytest.UsageError(
            f"--eval-{name.replace('_', '-')} (ini: eval_{name}) is a number, {least} or more,{more} not {text!r}"
        )
    return int(text)
