"""``InstalledServerProvider``: what the providers of the well-known servers have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from ..._keywords import check_argument, path_or_none, unexpected_in_setup
from ..._spec import check_spec
from ...servers._description.causes import Cause
from ...servers._description.command import ServerCommand
from ...servers._description.readiness import HTTPReady, Readiness
from .executable import Executable
from .options import ServerOptions
from .paths import local, looks_like_path
from .provider import ServerProviderBase


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledServer:
    """A well-known server: how it is started.

    Args:
        kind: What it is called in lists of servers.
        options: Its options.
        start: How the command line begins, up to the model; takes the spec, ``python`` and ``executable``.
        more: Words that it always needs.
        name_option: The option that says what requests call the model; `None`: there is none.
        environment: Environment variables.
        secret_environment: Those that nobody may see.
        files: What is written into the server's directory.
        install_hint: How to install it.
        relevant_environment: Beginnings of the names of environment variables that change what it does.
        causes: What is known to keep it from starting.
        is_file: Whether a spec can be nothing but a path, which has to exist then.
    """

    kind: str
    options: ServerOptions
    start: Callable[[str, Executable | None, Executable | None], Sequence[str]]
    more: Sequence[str] = ()
    name_option: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    secret_environment: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    install_hint: str
    relevant_environment: tuple[str, ...]
    causes: tuple[Cause, ...]
    is_file: Callable[[str], bool] = looks_like_path

    def command(
        self,
        spec: str,
        *,
        python: Executable | None = None,
        executable: Executable | None = None,
        extra_args: Sequence[str] = (),
        **settings: Any,
    ) -> ServerCommand:
        """What to run to serve a model, under the name that was asked for, also where that is a path.

        Args:
            spec: The model.
            python: The Python that has the server installed.
            executable: The server's own command.
            extra_args: Options that have no keyword argument.
            settings: Those that have one.

        Raises:
            SpecError: `spec` cannot name a model.
            ValueError: An option cannot be meant.
            TypeError: There is no such keyword argument.
        """
        check_spec(spec)
        if self.name_option is not None:
            settings = {
                self.name_option: spec,
                **{name: value for name, value in settings.items() if value is not None},
            }
        return ServerCommand(
            kind=self.kind,
            spec=spec,
            argv=(
                *self.start(spec, python, executable),
                *("--host", "{host}", "--port", "{port}"),
                *self.more,
                *self.options.arguments(settings, extra_args),
            ),
            environment=self.environment,
            secret_environment=self.secret_environment,
            files=self.files,
            install_hint=self.install_hint,
            relevant_environment=self.relevant_environment,
            needs=(str(Path(local(spec)).absolute()),) if self.is_file(spec) else (),
            causes=self.causes,
        )


class InstalledServerProvider(ServerProviderBase):
    """A provider that knows the options of its server; `setup` takes them, too.

    Raises:
        ValueError: A value cannot be meant.
        TypeError: `extra_args` is not a list of strings, or there is no such keyword argument.
        ServersUnsupportedError: The system is Windows.
    """

    server: ClassVar[InstalledServer]
    """The server; where there are several, the one that has all options."""
    ready: ClassVar[Readiness] = HTTPReady("/health") & HTTPReady("/v1/models", with_api_key=True)
    """When the server is ready."""

    def __init__(self, **options: Any) -> None:
        self._options = {name: options.pop(name) for name in self.server.options.keywords & options.keys()}
        for name in ("python", "executable"):
            check_argument(name, self._options.get(name), path_or_none)
        super().__init__(self.ready, **options)
        self._make_command("any-model", **self._options)  # what cannot be meant is refused now

    def slots(self, spec: str, /, **config: Any) -> int:
        """How many slots the server takes.

        Raises:
            TypeError: There is no such keyword argument.
        """
        if unknown := config.keys() - self.server.options.keywords:
            raise unexpected_in_setup(type(self), unknown, self.server.options.keywords)
        return super().slots(spec, **config)

    def command(self, spec: str, /, **config: Any) -> ServerCommand:
        """What to run for `spec`, with the options of `config` in place of those given to the constructor.

        Raises:
            SpecError: `spec` cannot name a model.
            ValueError: An option cannot be meant.
            TypeError: There is no such keyword argument.
        """
        command = self._make_command(spec, **self._merged(config))
        return replace(command, environment={**self._environment, **command.environment}, cwd=self._cwd)

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model."""
        option = self.server.name_option
        return (option and self._merged(config).get(option)) or spec

    def _merged(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._options, **config}

    def _make_command(self, spec: str, **options: Any) -> ServerCommand:
        """What to run, apart from what every provider of servers takes."""
        return self.server.command(spec, **options)
