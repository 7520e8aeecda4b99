"""What every provider of servers of models takes, declared once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from ..._keywords import Keyword, at_least, more_than_zero_or_none
from .._sdk.openai import OpenAIModelOptions
from .executable import Executable
from .launch_settings import LaunchSettings


class ServerSettings(LaunchSettings, OpenAIModelOptions, total=False):
    """What every provider of servers takes, see `ServerProvider`: ``gpus``, ``capacity``, ``share``,
    ``server_keep_alive``, ``start_timeout``, ``stall_timeout``, ``environment``, ``restarts``, ``max_concurrency``,
    ``params``, ``timeout`` and others.
    """  # noqa: D205

    max_sleeping: Annotated[
        int,
        Keyword(
            "How many servers of this machine may sleep when one of these does, itself included: where its slots are "
            "needed, it falls asleep instead of ending, and is woken up when it is asked for again. 0: they never "
            "sleep. Each takes main memory for its weights.",
            0,
            at_least(0),
            operational=True,
        ),
    ]
    sleep_timeout: Annotated[
        float | None,
        Keyword(
            "How long a server may take to fall asleep, and to wake up, in seconds; then it is stopped, or started "
            "again. `None`: as ``sleep=`` says, and a minute where nobody does.",
            None,
            more_than_zero_or_none,
            operational=True,
        ),
    ]
    replicas: Annotated[
        int,
        Keyword(
            "How many servers of a model there are, each with slots of its own: a request goes to the least busy one, "
            "and one that dies is replaced while the others serve.",
            1,
            at_least(1),
            operational=True,
        ),
    ]
    restarts: Annotated[
        int,
        Keyword(
            "How often `generate` may start the server again for one handle and send again, when it died.",
            0,
            at_least(0),
            operational=True,
        ),
    ]


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
