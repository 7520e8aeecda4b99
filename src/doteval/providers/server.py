"""``ServerProvider``: leases the models of servers that are started with any command."""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

from typing_extensions import Unpack

from .._keywords import check_argument, completed, instance_or_none, takes
from .._pool_options import LifecycleOptions
from ..servers._description.readiness import HTTPReady
from ..servers._description.sleeping import Sleep
from . import llamacpp, sglang, transformers, vllm
from ._served.commanded import CommandedProvider, CommandOptions
from ._served.model import ServerModel
from ._served.provider import ServerProviderBase
from ._served.settings import ServerSettings

_CAUSES = (*vllm.CAUSES, *sglang.CAUSES, *transformers.CAUSES, *llamacpp.CAUSES)
"""The command may start any of them."""


class CommandServerSettings(CommandOptions, ServerSettings, total=False):
    """What a `ServerProvider` takes."""


@takes(CommandServerSettings, LifecycleOptions, gpus=None)
class ServerProvider(CommandedProvider[ServerModel], ServerProviderBase):
    """Leases models of servers that it starts with a command of yours.

    ::

        command = ["my-server", "--model", "{spec}", "--port", "{port}", "--context", "{context}"]
        async with ServerProvider(command, ready=HTTPReady("/health")) as provider:
            async with provider.setup("my-model", context=4096) as handle:
                reply = await handle.model.generate("Hello")

    A server is started once and shared by everything that asks for the same: tasks, event loops and, unless `share`
    says otherwise, all processes of this user. It ends when nobody is connected to it any more, whatever they died of.

    The arguments up to `slots_needed` are about the command; the others are the same for all providers of servers.

    Args:
        command: What to run. In it ``{spec}`` stands for the model, ``{port}``, ``{host}`` and ``{directory}`` for what
            is chosen, and any other name in braces for what `setup` is given under that name.
        ready: When a server is ready; `None`: when ``GET /health`` is answered with 200.
        slots_needed: How many slots a server takes; `None`: one.
        sleep: How a server is put to sleep and woken up, for `max_sleeping`: `HTTPSleep` or `SleepWith`. `None`: it
            cannot sleep.
        gpus: ``"auto"`` for all that this process may use, a list of some of them, or `None` (here the default) for
            slots that are no GPUs. A server sees those it was given, in ``CUDA_VISIBLE_DEVICES``.
        cwd: Where it runs; `None`: where this process is now. (Other providers: in a directory of its own.)
        settings: What every `PooledProvider` takes: ``keep_alive``, ``max_concurrent_opens``, ``close_timeout``,
            ``setup_timeout``, ``remember_failures``, ``on_event``.

    Raises:
        RuntimeDirectoryError: The directory in which servers find each other cannot be used.
        ServersUnsupportedError: The system is Windows.
        ValueError: A value cannot be meant, or nothing tells the server its port.
    """

    operational: ClassVar[frozenset[str]] = frozenset({"sleep"})
    can_sleep: ClassVar[bool] = True

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        sleep: Sleep | None = None,
        **settings: Unpack[CommandServerSettings],
    ) -> None:
        own, others = completed(CommandServerSettings, settings, ServerSettings)
        slots = 1 if own["slots_needed"] is None else own["slots_needed"]
        if not slots:
            raise ValueError("slots_needed must be at least 1 for a server of models, not 0")
        check_argument("sleep", sleep, instance_or_none(Sleep, "HTTPSleep(), SleepWith(...), or None"))
        if (sleep is None and others.get("max_sleeping")) or (sleep is not None and "max_sleeping" not in others):
            raise ValueError(
                "sleep= says how a server sleeps, and max_sleeping= how many may (0: none): pass both or neither"
            )
        others.setdefault("gpus", None)
        ready = HTTPReady("/health") if own["ready"] is None else own["ready"]
        super().__init__(ready, **others)
        self._take_command("server", command, own, slots, causes=_CAUSES)
        self._sleep = sleep

    def sleep(self, spec: str, /, **config: Any) -> Sleep | None:
        """How a server is put to sleep and woken up."""
        return self._sleep
