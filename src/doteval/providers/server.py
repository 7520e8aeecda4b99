"""``ServerProvider``: leases the models of servers that are started with any command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import Unpack

from .._keywords import takes
from .._pool_options import LifecycleOptions
from .._spec import check_spec
from ..servers._description.command import ServerCommand
from ..servers._description.readiness import HTTPReady, Readiness
from ..servers._description.sleeping import Sleep
from . import llamacpp, sglang, transformers, vllm
from ._served.provider import ServerProviderBase
from ._served.settings import ServerSettings

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_LATER = {"port", "host", "directory", "api_key"}
_CAUSES = (*vllm.CAUSES, *sglang.CAUSES, *transformers.CAUSES, *llamacpp.CAUSES)
"""The command may start any of them."""


def placeholders(command: Sequence[str]) -> set[str]:
    """What the braces in a command name that `setup` has to be given."""
    return {name for word in command for name in _PLACEHOLDER.findall(word)} - _LATER - {"spec"}


@takes(ServerSettings, LifecycleOptions, gpus=None)
class ServerProvider(ServerProviderBase):
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
        secret_environment: Environment variables that nobody may see; ``{api_key}`` stands for the server's own key,
            which clients then have to show.
        files: What is written into the server's directory before it starts, by name; ``{api_key}`` as above.
        install_hint: How to install the command, as a sentence, for the message when it is missing.
        slots_needed: How many slots a server takes.
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

    operational: ClassVar[frozenset[str]] = frozenset(
        {"ready", "secret_environment", "install_hint", "slots_needed", "sleep"}
    )
    can_sleep: ClassVar[bool] = True

    def __init__(
        self,
        command: Sequence[str],
        *,
        ready: Readiness | None = None,
        secret_environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        install_hint: str = "",
        slots_needed: int = 1,
        sleep: Sleep | None = None,
        **settings: Unpack[ServerSettings],
    ) -> None:
        if isinstance(command, str):
            raise ValueError(f"command is a list of words such as {command.split()!r}, not one text")
        if slots_needed < 1:
            raise ValueError(f"slots_needed must be at least 1, not {slots_needed!r}")
        if (sleep is not None) is not bool(settings.get("max_sleeping")):
            raise ValueError("sleep= says how a server sleeps, and max_sleeping= how many may: pass both or neither")
        settings.setdefault("gpus", None)
        super().__init__(ready or HTTPReady("/health"), **settings)
        names = (command, (settings.get("environment") or {}).values(), (secret_environment or {}).values())
        texts = [*(text for each in names for text in each), *(files or {}).values()]
        if settings.get("port") is None and not any("{port}" in text for text in texts):
            raise ValueError(
                "command has to say where the server listens: write {port} where the port belongs, also in "
                "environment= or files=, or say with port=... which one it has"
            )
        self._cwd = self._cwd or str(Path.cwd())
        self._template = tuple(command)
        self._secret_environment = dict(secret_environment or {})
        self._files = dict(files or {})
        self._install_hint = install_hint
        self._slots_needed = slots_needed
        self._sleep = sleep

    def command(self, spec: str, /, **config: Any) -> ServerCommand:
        """The command with the model and the configuration filled in.

        Raises:
            TypeError: The command has no place for something in `config`, or needs something that is not in it.
        """
        check_spec(spec)
        names = placeholders(self._template)
        if names != config.keys():
            raise TypeError(
                f"setup() of this ServerProvider takes {', '.join(sorted(names)) or 'no configuration'}, as its "
                f"command has {{name}} for each; it was given {', '.join(sorted(config)) or 'none'}"
            )
        values = {"spec": spec, **{name: str(value) for name, value in config.items()}}

        def fill(word: str) -> str:
            return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), word)

        return ServerCommand(
            kind="server",
            spec=spec,
            argv=tuple(map(fill, self._template)),
            environment=self._environment,
            secret_environment=self._secret_environment,
            files=self._files,
            cwd=self._cwd,
            install_hint=self._install_hint,
            causes=_CAUSES,
        )

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """How many slots a server takes."""
        return self._slots_needed

    def sleep(self, spec: str, /, **config: Any) -> Sleep | None:
        """How a server is put to sleep and woken up."""
        return self._sleep
