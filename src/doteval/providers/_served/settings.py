"""``ServerSettings``: what every provider that starts servers takes, declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Annotated, Literal

from ..._keywords import Keyword, seconds, seconds_or_none
from ..._pool_options import LifecycleOptions
from ...servers._contract import Launcher
from .._sdk.openai import OpenAIModelOptions
from .executable import Executable


def _port(value: int | None) -> None:
    if value is not None and not 0 < value < 65536:
        raise ValueError("must be between 1 and 65535, or None for a free one")


def _not_negative(value: int) -> None:
    if value < 0:
        raise ValueError("must be 0 or more")


class ServerSettings(LifecycleOptions, OpenAIModelOptions, total=False):
    """What every provider of servers takes, see `ServerProvider`: ``gpus``, ``capacity``, ``share``,
    ``server_keep_alive``, ``start_timeout``, ``stall_timeout``, ``environment``, ``restarts``, ``max_concurrency``,
    ``params``, ``timeout`` and others.
    """  # noqa: D205

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
    share: Annotated[
        str | None,
        Keyword(
            '``"user"`` or `None`: all processes of this user share servers; ``"off"``: only this provider uses its '
            "own; any other text: all who give the same one.",
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
    max_sleeping: Annotated[
        int,
        Keyword(
            "How many servers of this machine may sleep when one of these does, itself included: where its slots are "
            "needed, it falls asleep instead of ending, and is woken up when it is asked for again. 0: they never "
            "sleep. Each takes main memory for its weights.",
            0,
            _not_negative,
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
    log_bytes: Annotated[int, Keyword("How much of its output is kept, in bytes.", 16 << 20, operational=True)]
    environment: Annotated[
        Mapping[str, str] | None, Keyword("Environment variables, in addition to those it inherits.")
    ]
    cwd: Annotated[str | PathLike[str] | None, Keyword("Where it runs; `None`: in a directory of its own.")]
    restarts: Annotated[
        int,
        Keyword(
            "How often `generate` may start the server again for one handle and send again, when it died.",
            0,
            _not_negative,
            operational=True,
        ),
    ]
    launcher: Annotated[Launcher | None, Keyword("Who starts servers; `None`: this machine.", operational=True)]


class InstalledServerSettings(ServerSettings, total=False):
    """The same, and where the server is installed."""

    python: Annotated[
        Executable | None,
        Keyword(
            'The Python that has the server installed, such as ``"/opt/server/bin/python"``. `None`: this one, if it '
            "has; else the server's command is looked up."
        ),
    ]
    executable: Annotated[Executable | None, Keyword("The server's command, by its path.")]
    extra_args: Annotated[Sequence[str], Keyword("Other options, as on the server's command line.", ())]
