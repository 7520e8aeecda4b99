"""``CommandProvider``: leases servers of any kind that are started with a command."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, Generic, cast, overload

from typing_extensions import TypeVar, Unpack

from .._keywords import takes
from .._pool_options import LifecycleOptions
from ..servers._contract import Server, ServerLease
from ..servers._description.command import ServerCommand
from ..servers._description.readiness import PortOpen, Readiness
from ._served.launch_settings import LaunchSettings
from ._served.launching import LaunchingProvider
from ._served.template import CommandTemplate

ModelT = TypeVar("ModelT", default=Server)


@takes(LaunchSettings, LifecycleOptions, gpus=None)
class CommandProvider(LaunchingProvider[ModelT], Generic[ModelT]):
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
        ready: When a server is ready; `None`: when its port accepts connections.
        stop_command: What to run when a server is to end, besides the signal that it gets, with the same braces. It
            may take ``stop_grace`` seconds, and is run whatever has ended the server or its users.
        secret_environment: Environment variables that nobody may see; ``{api_key}`` stands for the server's own key.
        files: What is written into the server's directory before it starts, by name; ``{api_key}`` as above.
        install_hint: How to install the command, as a sentence, for the message when it is missing.
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

    operational: ClassVar[frozenset[str]] = frozenset(
        {"ready", "stop_command", "secret_environment", "install_hint", "slots_needed"}
    )

    @overload
    def __init__(
        self: CommandProvider[Server],
        command: Sequence[str],
        *,
        model: None = None,
        ready: Readiness | None = None,
        stop_command: Sequence[str] | None = None,
        secret_environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        install_hint: str = "",
        slots_needed: int | None = None,
        **settings: Unpack[LaunchSettings],
    ) -> None: ...

    @overload
    def __init__(
        self,
        command: Sequence[str],
        *,
        model: Callable[[Server], AbstractAsyncContextManager[ModelT]],
        ready: Readiness | None = None,
        stop_command: Sequence[str] | None = None,
        secret_environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        install_hint: str = "",
        slots_needed: int | None = None,
        **settings: Unpack[LaunchSettings],
    ) -> None: ...

    def __init__(
        self,
        command: Sequence[str],
        *,
        model: Callable[[Server], AbstractAsyncContextManager[ModelT]] | None = None,
        ready: Readiness | None = None,
        stop_command: Sequence[str] | None = None,
        secret_environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        install_hint: str = "",
        slots_needed: int | None = None,
        **settings: Unpack[LaunchSettings],
    ) -> None:
        settings.setdefault("gpus", None)
        has_slots = settings.get("gpus") is not None or settings.get("capacity") is not None
        if slots_needed is None:
            slots_needed = int(has_slots)
        elif slots_needed < 0:
            raise ValueError(f"slots_needed must be 0 or more, or None, not {slots_needed!r}")
        elif not slots_needed and has_slots:
            raise ValueError("gpus= and capacity= are of no use with slots_needed=0: leave out one of the two")
        if not slots_needed and settings.get("gpu_fraction", 1) != 1:
            raise ValueError("gpu_fraction= is a part of slots, and the servers take none: pass gpus= or capacity= too")
        super().__init__(ready or PortOpen(), slots_needed > 0, **settings)
        self._template = CommandTemplate(
            "command",
            command,
            stop_command=stop_command,
            environment=self._environment,
            secret_environment=secret_environment,
            files=files,
            install_hint=install_hint,
            cwd=self._cwd,
        )
        if ready is None and settings.get("port") is None and not self._template.names_port:
            raise ValueError(
                "command has to say where the server listens: write {port} where the port belongs, also in "
                "environment= or files=, or say with port=... which one it has; for a server without a port, say with "
                "ready=... when it is ready"
            )
        self._make_model = model
        self._slots_needed = slots_needed

    def command(self, spec: str, /, **config: Any) -> ServerCommand:
        """The command with the spec and the configuration filled in.

        Raises:
            TypeError: The command has no place for something in `config`, or needs something that is not in it.
        """
        return self._template.filled(type(self).__name__, spec, config)

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """How many slots a server takes."""
        return self._slots_needed

    @asynccontextmanager
    async def model(self, lease: ServerLease, spec: str, /, **config: Any) -> AsyncGenerator[ModelT]:
        """The server, or what is made of it."""
        if self._make_model is None:
            yield cast(ModelT, lease.server)
        else:
            async with self._make_model(lease.server) as model:
                yield model
