"""``LaunchSettings``: what every provider that starts servers takes, declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from os import PathLike
from typing import Annotated, Any, Literal

from ..._keywords import Keyword, at_least, path_or_none, seconds, seconds_or_none, texts_or_none
from ..._pool_options import LifecycleOptions
from ...servers._contract import Launcher
from ...servers._supervisor.parts import LEAST


def _port(value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536):
        raise ValueError("must be a whole number from 1 to 65535, or None for a free one")


def _share(value: object) -> None:
    if value is not None and not (isinstance(value, str) and value):
        raise ValueError("must be 'user', 'off', or any other text for all who give the same one")


def _launcher(value: object) -> None:
    if value is not None and not (callable(getattr(value, "launch", None)) and callable(getattr(value, "hold", None))):
        raise ValueError("must have launch() and hold(), as LocalLauncher has")


def _fraction(value: object) -> None:
    number: Any = value
    if isinstance(value, bool) or not isinstance(value, Real) or not LEAST <= number <= 1:
        raise ValueError(
            f"must be a number from {LEAST:g} to 1, how much a server takes of each of its GPUs (how many those are is "
            "said by the parallel sizes, or slots_needed=)"
        )


class LaunchSettings(LifecycleOptions, total=False):
    """What is about the servers, whatever they are."""

    gpus: Annotated[
        Literal["auto"] | Sequence[str | int] | None,
        Keyword(
            '``"auto"`` for all that this process may use, a list of some of them, or `None` for slots that are no '
            "GPUs. A server sees those it was given, in ``CUDA_VISIBLE_DEVICES``.",
            "auto",
            operational=True,
        ),
    ]
    capacity: Annotated[
        int | None,
        Keyword(
            "How many slots there are where they are no GPUs; `None`: one. Slots are the whole machine's: servers of "
            "all processes of this user take them in turn, and one that nobody leases ends when its are needed.",
            operational=True,
        ),
    ]
    gpu_fraction: Annotated[
        float,
        Keyword(
            "How much of each of its slots a server takes, from 0.01 to 1: with 0.5, two servers can be on one GPU, "
            "whoever started them. They start one after the other.",
            1.0,
            _fraction,
            operational=True,
        ),
    ]
    share: Annotated[
        str | None,
        Keyword(
            '``"user"`` or `None`: all processes of this user share servers; ``"off"``: only this provider uses its '
            "own; any other text: all who give the same one.",
            check=_share,
            operational=True,
        ),
    ]
    server_keep_alive: Annotated[
        float,
        Keyword(
            "How long a server stays when nobody is connected to it any more, in seconds.",
            0.0,
            seconds,
            operational=True,
        ),
    ]
    start_timeout: Annotated[
        float, Keyword("How long it may take to get ready, in seconds.", 1800.0, seconds, operational=True)
    ]
    stall_timeout: Annotated[
        float | None,
        Keyword(
            "How long it may print nothing while it gets ready, in seconds; `None`: no limit.",
            300.0,
            seconds_or_none,
            operational=True,
        ),
    ]
    stop_grace: Annotated[
        float,
        Keyword(
            "How long it may take to end when it is told to, before it is killed, in seconds; half of it while it is "
            "not ready.",
            10.0,
            seconds,
            operational=True,
        ),
    ]
    port: Annotated[int | None, Keyword("Where it listens; `None`: a free port.", check=_port, operational=True)]
    log_bytes: Annotated[
        int, Keyword("How much of its output is kept, in bytes.", 16 << 20, at_least(1), operational=True)
    ]
    environment: Annotated[
        Mapping[str, str] | None,
        Keyword("Environment variables, in addition to those it inherits.", check=texts_or_none),
    ]
    cwd: Annotated[
        str | PathLike[str] | None, Keyword("Where it runs; `None`: in a directory of its own.", check=path_or_none)
    ]
    launcher: Annotated[
        Launcher | None, Keyword("Who starts servers; `None`: this machine.", check=_launcher, operational=True)
    ]
