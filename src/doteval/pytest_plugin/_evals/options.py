"""What a user can set about evaluations, on the command line and in the ini file."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Literal

import pytest

from .._setting import Setting
from .._short_names import SHORTER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ... import CachedReplies
    from ...evals._results.gates import Gate

BACKENDS: dict[str, object] = {"asyncio": "asyncio", "trio": "trio", "uvloop": ("asyncio", {"use_uvloop": True})}
"""What `anyio_backend` is for each name."""

_CHANGES: dict[str, Literal["error", "rerun", "keep"]] = {"error": "error", "rerun": "rerun", "keep": "keep"}
_CACHE_MODES: dict[str, Literal["on", "read", "write", "off"]] = {
    "on": "on", "read": "read", "write": "write", "off": "off",
}  # fmt: skip
_WORKERINPUT = "doteval_experiment"
_SECONDS = "a number of seconds, 0 or more,"

NAME = "doteval_evaluation"
"""The property of a report that says which evaluation it is about."""

CACHE_COUNTS: dict[str, Callable[[CachedReplies], int]] = {
    "requests from cache": lambda replies: replies.answered,
    "requests sent": lambda replies: replies.sent,
    "tokens not spent": lambda replies: replies.saved.total,
}
"""The properties of a report that say what a cache of replies did for an evaluation."""

_CONCURRENCY = Setting(
    "eval_concurrency",
    "N|adaptive",
    "how many rows of an evaluation are run at once: a number, or as many as the server takes (default: 10)",
)
_MAX_ERRORS = Setting("eval_max_errors", "N", "how many rows of an evaluation may raise before it fails (default: 0)")
_ABORT = Setting(
    "eval_abort",
    "N",
    "after how many rows, one after the other, that failed alike an evaluation of which more rows failed than may ends "
    "(default: 10; 0: never)",
)
_LIMIT = Setting("eval_limit", "N", "run only the first N rows of each evaluation (default: all)")
_SAMPLE = Setting("eval_sample", "N", "run only N rows of each evaluation, drawn at random (default: all)")
_SEED = Setting(
    "eval_seed", "N", "chooses the rows of --doteval-eval-sample, and the order of --doteval-eval-shuffle (default: 0)"
)
_ROW = Setting(
    "eval_row", "ID", "run only the row whose column 'id' holds this, or that has this number (default: all)"
)
_EPOCHS = Setting(
    "eval_epochs", "K", "how many samples are taken of each row (default: what each evaluation says, else 1)"
)
_ROW_TIMEOUT = Setting(
    "eval_row_timeout",
    "SECONDS",
    "how long an attempt of a row may take (default: what each evaluation says, else as long as it takes, which is 0)",
)
_RETRIES = Setting(
    "eval_retries",
    "N",
    "how often a row is run again after its model was lost (default: what each evaluation says, else 1)",
)
_PATIENCE = Setting(
    "eval_patience",
    "SECONDS",
    "how long a row is tried again while its server is overloaded or refuses it because of a rate limit (default: what "
    "each evaluation says, else 600)",
)
_BACKEND = Setting("eval_backend", "asyncio|trio|uvloop", "the event loop of all evaluations (default: asyncio)")
_CHANGED = Setting(
    "eval_changed",
    "error|rerun|keep",
    "what becomes of results that are of another model, other arguments or other code: the evaluation fails and says "
    "what has changed, or they are thrown away, or they are kept (default: error)",
)
_BASELINE = Setting(
    "eval_baseline", "NAME", "the experiment that gates with a 'baseline' compare with, row by row (default: none)"
)
_CACHE = Setting(
    "eval_cache",
    "on|read|write|off",
    "whether requests that were made before are answered with the replies that they got, and the replies to others "
    "kept ('on'), or one of the two only, in the file replies.db beside that of the results (default: off)",
)
_STORE = Setting("eval_store", "FILE", "where results are kept (default: .doteval/results.db)")


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The settings of one run.

    Args:
        backend: The name of the event loop of all evaluations; nothing where the user has not chosen.
        concurrency: How many rows at once, `None` for what each evaluation says.
        limit: How many of the first rows are run.
        sample: How many of these, drawn at random.
        seed: Chooses them, and the order of `shuffle`.
        row: The only row that is run, `None` for all.
        shuffle: Whether rows are run in a random order.
        epochs: How many samples of each row, `None` for what each evaluation says.
        max_errors: How many rows of an evaluation may raise.
        abort_after: After how many failures alike an evaluation that has not passed ends.
        row_timeout: How long an attempt of a row may take, in seconds, `None` for what each evaluation says.
        retries: How often a row is run again after its model was lost, `None` likewise.
        patience: How long a row is tried again while its server is overloaded, in seconds, `None` likewise.
        experiment: Under which name results are kept.
        is_named: Whether the user has given that name.
        gates: What scores have to reach, besides what evaluations themselves say.
        baseline: The experiment that gates compare with.
        allows_new: Whether gates with a baseline are not judged where that has nothing of an evaluation.
        fresh: Whether results that are there are thrown away.
        changed: What becomes of results that are of something else.
        cache: Whether a cache of replies answers requests, or keeps replies; `None` where the user does not say.
        transcripts: Whether the requests of rows are kept, with their messages.
        tags: What the user notes of the run.
        store: The file of the results.
        files: Patterns of the files for evaluations that are collected, whatever they import.
    """

    backend: str
    concurrency: int | Literal["adaptive"] | None
    limit: int | None
    sample: int | None
    seed: int
    row: str | None
    shuffle: bool
    epochs: int | None
    max_errors: int
    abort_after: int
    row_timeout: float | None
    retries: int | None
    patience: float | None
    experiment: str
    is_named: bool
    gates: tuple[Gate, ...]
    baseline: str
    allows_new: bool
    fresh: bool
    changed: Literal["error", "rerun", "keep"]
    cache: Literal["on", "read", "write", "off"] | None
    transcripts: bool
    tags: Mapping[str, str]
    store: Path
    files: tuple[str, ...]


def add_eval_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("doteval evaluations", f"evaluations (doteval){SHORTER}")
    group.addoption(
        "--doteval-eval-experiment",
        metavar="NAME",
        dest="doteval_eval_experiment",
        help="keep results under this name; what is there already is not run again (default: a new name for each run)",
    )
    group.addoption(
        "--doteval-eval-gate",
        action="append",
        metavar="GATE",
        dest="doteval_eval_gate",
        help="what a score of every evaluation has to reach, such as 'exact >= 0.9', 'exact.low >= 0.8' (the lower end "
        "of its interval) or 'exact >= baseline - 0.02'; may be given several times",
    )
    group.addoption(
        "--doteval-eval-tag",
        action="append",
        metavar="NAME=VALUE",
        dest="doteval_eval_tag",
        help="note this of the run, beside the commit, the versions and the settings, for 'doteval show'; may be given "
        "several times",
    )
    group.addoption(
        "--doteval-fresh",
        action="store_true",
        dest="doteval_fresh",
        help="throw away the results that are there of the evaluations that are run",
    )
    group.addoption(
        "--doteval-eval-allow-new",
        action="store_true",
        dest="doteval_eval_allow_new",
        help="do not judge gates with a 'baseline', and warn, where that experiment has nothing of an evaluation",
    )
    parser.addini("doteval_eval_allow_new", "like --doteval-eval-allow-new", type="bool", default=False)
    group.addoption(
        "--doteval-eval-transcripts",
        action="store_true",
        dest="doteval_eval_transcripts",
        help="keep what is asked in each row, with messages, replies and times",
    )
    parser.addini("doteval_eval_transcripts", "like --doteval-eval-transcripts", type="bool", default=False)
    group.addoption(
        "--doteval-eval-shuffle",
        action="store_true",
        dest="doteval_eval_shuffle",
        help="run the rows of each evaluation in a random order, which --doteval-eval-seed chooses",
    )
    parser.addini("doteval_eval_shuffle", "like --doteval-eval-shuffle", type="bool", default=False)
    for setting in (
        _CONCURRENCY,
        _LIMIT,
        _SAMPLE,
        _SEED,
        _ROW,
        _EPOCHS,
        _MAX_ERRORS,
        _ABORT,
        _ROW_TIMEOUT,
        _RETRIES,
        _PATIENCE,
        _BACKEND,
        _CHANGED,
        _BASELINE,
        _CACHE,
        _STORE,
    ):
        setting.declare(parser, group)
    parser.addini(
        "doteval_eval_files",
        "patterns of the files for evaluations that are collected without being named, besides eval_*.py that import "
        "doteval",
        type="args",
        default=[],
    )


def read_eval_options(config: pytest.Config) -> EvalOptions:
    """What is set in this run; the command line wins over the ini file.

    Raises:
        pytest.UsageError: A value cannot be what it should be.
    """
    workerinput: dict[str, Any] = getattr(config, "workerinput", {})
    name: str | None = config.getoption("doteval_eval_experiment")
    baseline, fresh = _BASELINE.given(config), bool(config.getoption("doteval_fresh"))
    changed = _CHANGES[_CHANGED.choice(config, _CHANGES) or "error"]
    if name:
        _check_name(name)
    if name is not None and name == baseline:
        _check_baseline(name, fresh=fresh, changed=changed)
    max_errors = _MAX_ERRORS.number(config, int, 0)
    abort_after = _ABORT.number(config, int, 0)
    return EvalOptions(
        backend=_BACKEND.choice(config, BACKENDS),
        concurrency=_concurrency(config),
        limit=_LIMIT.number(config, int, 1),
        sample=_SAMPLE.number(config, int, 1),
        seed=_SEED.number(config, int, 0) or 0,
        row=_row(config),
        shuffle=bool(config.getoption("doteval_eval_shuffle") or config.getini("doteval_eval_shuffle")),
        epochs=_EPOCHS.number(config, int, 1),
        max_errors=0 if max_errors is None else max_errors,
        abort_after=10 if abort_after is None else abort_after,
        row_timeout=_ROW_TIMEOUT.number(config, float, 0, _SECONDS),
        retries=_RETRIES.number(config, int, 0),
        patience=_PATIENCE.number(config, float, 0, _SECONDS),
        experiment=name or workerinput.get(_WORKERINPUT) or f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{token_hex(2)}",
        is_named=name is not None,
        gates=_gates(config.getoption("doteval_eval_gate") or ()),
        baseline=baseline,
        allows_new=bool(config.getoption("doteval_eval_allow_new") or config.getini("doteval_eval_allow_new")),
        fresh=fresh,
        changed=changed,
        cache=_CACHE_MODES.get(_CACHE.choice(config, _CACHE_MODES)),
        transcripts=bool(config.getoption("doteval_eval_transcripts") or config.getini("doteval_eval_transcripts")),
        tags=_tags(config.getoption("doteval_eval_tag") or ()),
        store=_store_of(config),
        files=tuple(config.getini("doteval_eval_files")),
    )


def _row(config: pytest.Config) -> str | None:
    row = _ROW.given(config) or None
    if row is not None and (_LIMIT.given(config) or _SAMPLE.given(config)):
        raise pytest.UsageError(
            f"{_ROW.option} runs one row, so {_LIMIT.option} and {_SAMPLE.option} make no sense with it"
        )
    return row


def _gates(given: Sequence[str]) -> tuple[Gate, ...]:
    if not given:
        return ()
    from ...evals._results.gates import gates_of  # noqa: PLC0415 - nobody else pays for it

    try:
        return gates_of(given)
    except ValueError as exc:
        raise pytest.UsageError(f"--doteval-eval-gate: {exc}") from exc


def _check_name(name: str) -> None:
    from ...evals._results.names import checked_name  # noqa: PLC0415 - nobody else pays for it

    try:
        checked_name(name)
    except ValueError as exc:
        raise pytest.UsageError(f"--doteval-eval-experiment: {exc}") from exc


def _check_baseline(name: str, *, fresh: bool, changed: Literal["error", "rerun", "keep"]) -> None:
    from ...evals._running.checks import check_baseline  # noqa: PLC0415 - nobody else pays for it

    try:
        check_baseline(name, name, fresh=fresh, changed=changed)
    except ValueError as exc:
        raise pytest.UsageError(f"{_BASELINE.option}: {exc}") from exc


def _tags(given: Sequence[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals):
            raise pytest.UsageError(f"--doteval-eval-tag is NAME=VALUE, such as branch=main, not {text!r}")
        tags[name] = value
    return tags


def tell_worker(node: Any, options: EvalOptions) -> None:
    """Have a worker of pytest-xdist use the same name."""
    node.workerinput[_WORKERINPUT] = options.experiment


def _concurrency(config: pytest.Config) -> int | Literal["adaptive"] | None:
    if _CONCURRENCY.given(config) == "adaptive":
        return "adaptive"
    return _CONCURRENCY.number(config, int, 1, "a number, 1 or more, or 'adaptive'")


def _store_of(config: pytest.Config) -> Path:
    """The file of the results.

    Raises:
        pytest.UsageError: pytest has taken the file for one of tests, and the directory above it for the project's.
    """
    given = os.path.expandvars(_STORE.given(config))
    store, here = config.rootpath / (given or Path(".doteval", "results.db")), config.invocation_params.dir
    is_apart = bool(given) and _STORE.given(config) in map(str, config.invocation_params.args)
    is_ours = config.inipath is not None and here.is_relative_to(config.inipath.parent)
    if is_apart and not is_ours and (here / given).exists() and not (here / given).resolve().is_relative_to(here):
        raise pytest.UsageError(
            f"{_STORE.option} {given}: pytest takes this file for one of tests, and its root directory is "
            f"{config.rootpath} then, so evaluations have other names. Write it with an equals sign: "
            f"{_STORE.option}={given}"
        )
    return store
