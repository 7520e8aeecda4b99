"""``CommandProvider``: leases servers of any kind that are started with a command."""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, cast, overload

from typing_extensions import TypeVar, Unpack

from .._keywords import check_argument, completed, function_or_none, takes
from .._pool_options import LifecycleOptions
from ..servers._contract import Server, ServerLease
from ..servers._description.readiness import PortOpen
from ._served.commanded import CommandedProvider, CommandOptions
from ._served.launch_settings import LaunchSettings

ModelT = TypeVar("ModelT", default=Server)


class CommandSettings(CommandOptions, LaunchSettings, total=False):
    """What a `CommandProvider` takes."""


@takes(CommandSettings, LifecycleOptions, gpus=None)
class CommandProvider(CommandedProvider[ModelT], Generic[ModelT]):
    """Leases servers that it starts with a command of yours: a browser, a database, a server of embeddings.

    ::

        command = ["redis-server", "--port", "{port}", "--dir", "{directory}"]
        async with CommandProvider(command) as provider:
            async with provider.setup("cache") as handle:
                print(handle.model.host, handle.model.port)

    A server is started once and shared by everything that asks for the same: tasks, event loops and, unless `share`
    says otherwise, all processes of this user. It ends when nobody is connected to it any more, whatever they died of.
    For a server of chat models there is `ServerProvider`.

    The arguments up to `slots_needed` are about the command; the others are the same for all providers of servers.

    Args:
        command: What to run, in the foreground. In it ``{spec}`` stands for what `setup` is asked for, ``{port}``,
            ``{host}`` and ``{directory}`` for what is chosen, and any other name in braces for what `setup` is given
            under that name.
        model: Makes of a `Server` that is ready what is leased: it returns an async context manager, which is entered
            for each server and left before that ends. `None`: the `Server` itself is leased.
        secret_environment: Environment variables that nobody may see; ``{api_key}`` stands for the server's own key.
        slots_needed: How many slots a server takes; `None`: one where `gpus` or `capacity` is given, else none, and
            then there may be any number at once.
        gpus: ``"auto"`` for all that this process may use, a list of some of them, or `None` (here the default) for
            slots that are no GPUs. A server sees those it was given, in ``CUDA_VISIBLE_DEVICES``.
        cwd: Where it runs; `None`: where this process is now.
        settings: What every `PooledProvider` takes: ``keep_alive``, ``max_concurrent_opens``, ``close_timeout``,
            ``setup_timeout``, ``remember_failures``, ``on_event``.

    Raises:
        RuntimeDirectoryError: The directory in which servers find each other cannot be used.
        ServersUnsupportedError: The system is Windows.
        ValueError: A value cannot be meant, or nothing tells the server the port that is waited for.
    """

    @overload
    def __init__(
        self: CommandProvider[Server],
        command: Sequence[str | os.PathLike[str]],
        *,
        model: None = None,
        **settings: Unpack[CommandSettings],
    ) -> None: ...

    @overload
    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        model: Callable[[Server], AbstractAsyncContextManager[ModelT]],
        **settings: Unpack[CommandSettings],
    ) -> None: ...

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        model: Callable[[Server], AbstractAsyncContextManager[ModelT]] | None = None,
        **settings: Unpack[CommandSettings],
    ) -> None:
        own, others = completed(CommandSettings, settings, LaunchSettings)
        others.setdefault("gpus", None)
        has_slots = others["gpus"] is not None or others.get("capacity") is not None
        slots = own["slots_needed"] if own["slots_needed"] is not None else int(has_slots)
        if not slots and has_slots:
            raise ValueError("gpus= and capacity= are of no use with slots_needed=0: leave out one of the two")
        if not slots and others.get("gpu_fraction", 1) != 1:
            raise ValueError("gpu_fraction= is a part of slots, and the servers take none: pass gpus= or capacity= too")
        check_argument("model", model, function_or_none)
        ready = PortOpen() if own["ready"] is None else own["ready"]
        super().__init__(ready, slots > 0, **others)
        without_port = "; for a server without a port, say with ready=... when it is ready"
        self._take_command("command", command, own, slots, or_else=without_port)
        self._make_model = model

    @asynccontextmanager
    async def model(self, lease: ServerLease, spec: str, /, **config: Any) -> AsyncGenerator[ModelT]:
        """The server, or what is made of it."""
        if self._make_model is None:
            yield cast(ModelT, lease.server)
        else:
            async with self._make_model(lease.server) as model:
                yield model
