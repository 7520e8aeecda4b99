"""Whatever a provider of servers is given: it works, or an error names the argument, before anything is started."""

from __future__ import annotations

import inspect
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from doteval import (
    CommandProvider,
    LlamaCppProvider,
    ServerProvider,
    SGLangProvider,
    TransformersProvider,
    VLLMProvider,
)
from doteval._keywords import fields_of
from doteval._pool_options import LifecycleOptions

COMMAND = {"command": ["serve", "{port}"]}
KINDS: dict[type[Any], dict[str, Any]] = {
    ServerProvider: COMMAND,
    CommandProvider: COMMAND,
    VLLMProvider: {},
    SGLangProvider: {},
    TransformersProvider: {},
    LlamaCppProvider: {},
}
SOME = object()
ODD = [True, 1.5, -1, 0, 3, math.nan, math.inf, -math.inf, 10**400, "x", "", b"x", SOME, {}, {"a": 1}, {1: "a"}]
ODD += [[], (), ["a", "b"], [1.5], [None], [True], {"a"}, 2 + 0j, None]
MAKES_SENSE: dict[str, list[Any]] = {
    "command": [["a", "b", "{port}"], [Path("a"), "{port}"]],
    "stop_command": [None, ["a", "b"]],
    "ready": [None],
    "sleep": [None],
    "model": [None],
    "secret_environment": [None, {}],
    "environment": [None, {}],
    "files": [None, {}],
    "install_hint": ["x", ""],
    "gpus": [None, ["a", "b"], "auto"],
    "capacity": [None, 3],
    "gpu_fraction": [0.5],
    "share": [None, "x"],
    "port": [None, 3],
    "log_bytes": [3, 10**400],
    "cwd": [None, "x", Path("x")],
    "launcher": [None],
    "params": [None, {}, {"a": 1}],
    "timeout": [None, 1.5, 3, math.inf, (5.0, 30.0, None, 5.0)],
    "max_retries": [None, 0, 3, 10**400, math.inf],
    "max_concurrency": [None, 3, 10**400],
    "max_sleeping": [0],
    "sleep_timeout": [None, 1.5, 3, math.inf],
    "replicas": [3, 10**400],
    "restarts": [0, 3, 10**400],
    "slots_needed": [None, 0, 3, 10**400],
    "python": [None, "x", Path("x")],
    "executable": [None, "x", Path("x")],
    "extra_args": [(), []],
    "trace_leases": [None, True],
    "on_event": [None],
    "max_concurrent_opens": [3, 10**400],
    "max_waiting": [None, 0, 3, 10**400],
    "leak_after": [None, 1.5, 3, math.inf],
}
"""What may be accepted; of any time, a number of seconds may be."""
SECONDS = [1.5, 0, 3, math.inf]


MAY_BE_NONE = {"stall_timeout", "keep_alive", "setup_timeout"}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A runtime directory of their own, and no GPUs."""
    with tempfile.TemporaryDirectory(prefix="dt-", dir="/tmp") as directory:  # sockets need a short path
        monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", directory)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_cannot_be_meant_is_said_of_the_argument_that_has_it(kind: type[Any]) -> None:
    """Each argument with each odd value; what is accepted makes a command, and an identity."""
    options = kind.server.options.names if hasattr(kind, "server") else set()
    names = {*inspect.signature(kind).parameters, *fields_of(LifecycleOptions)} - {"settings"} - options
    for name in sorted(names):
        others = {"max_sleeping": 1} if name == "sleep" else {}
        for value in [*ODD, *MAKES_SENSE.get(name, [])]:
            refused = ""
            try:
                provider = kind(**{**KINDS[kind], **others, name: value})
                if name not in ("python", "executable", "gpus"):
                    assert "{port}" in provider.command("m").argv
                provider.identity("m")
            except (TypeError, ValueError) as exc:
                refused = str(exc)
            good = MAKES_SENSE.get(name, [*SECONDS, None] if name in MAY_BE_NONE else SECONDS)
            is_good = any(type(value) is type(each) and value == each for each in good)
            assert name in refused or (is_good and not refused), f"{name}={value!r}: {refused or 'is accepted'}"


@pytest.mark.parametrize("kind", [ServerProvider, CommandProvider, VLLMProvider])
def test_slots_with_names_are_gpus(kind: type[Any]) -> None:
    """`capacity` says how many there are, of a `PooledProvider` also which; the error says what does here."""
    with pytest.raises(ValueError, match=r"^capacity must be a whole number .* GPUs are named with gpus=\[\.\.\.\]"):
        kind(**KINDS[kind], capacity=["a", "b"])
