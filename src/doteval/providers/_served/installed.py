"""``InstalledServerProvider``: what the providers of the well-known servers have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ...servers._description.command import ServerCommand
from ...servers._description.readiness import HTTPReady, Readiness
from .options import ServerOptions
from .provider import ServerProviderBase


class InstalledServerProvider(ServerProviderBase):
    """A provider that knows the options of its server; `setup` takes them, too.

    Raises:
        ValueError: An option cannot be meant.
        TypeError: An option is of the wrong type, or there is none of that name.
    """

    server_options: ClassVar[ServerOptions]
    """The options of the server."""
    make_command: ClassVar[Callable[..., ServerCommand]]
    """Says what to run for a spec and the options, apart from what every provider of servers takes."""
    ready: ClassVar[Readiness] = HTTPReady("/health") & HTTPReady("/v1/models", with_api_key=True)
    """When the server is ready."""
    name_option: ClassVar[str] = "served_model_name"
    """The option that says what requests call the model."""

    def __init__(self, **options: Any) -> None:
        self._options = {name: options.pop(name) for name in self.server_options.keywords & options.keys()}
        super().__init__(self.ready, **options)
        self.make_command("any-model", **self._options)  # what cannot be meant is refused now

    def command(self, spec: str, /, **config: Any) -> ServerCommand:
        """What to run for `spec`, with the options of `config` in place of those given to the constructor.

        Raises:
            SpecError: `spec` cannot name a model.
            ValueError: An option cannot be meant.
            TypeError: There is no such keyword argument.
        """
        command = self.make_command(spec, **self._merged(config))
        return replace(command, environment={**self._environment, **command.environment}, cwd=self._cwd)

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model."""
        return self._merged(config).get(self.name_option) or spec

    def _merged(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._options, **config}
