"""``InstalledServerProvider``: what the providers of the well-known servers have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import Unpack

from ...servers._description.command import ServerCommand
from ...servers._description.readiness import Readiness
from .provider import ServerProviderBase
from .settings import ServerSettings


class InstalledServerProvider(ServerProviderBase):
    """A provider that knows the options of its server.

    Args:
        ready: When the server is ready.
        options: The options of the server, which `setup` takes, too; `None` values leave it to the server.
        settings: What every provider of servers takes.

    Raises:
        ValueError: An option cannot be meant.
        TypeError: An option is of the wrong type.
    """

    def __init__(self, ready: Readiness, options: Mapping[str, Any], **settings: Unpack[ServerSettings]) -> None:
        super().__init__(ready, **settings)
        self._options = dict(options)
        self._make_command("any-model", **self._options)  # what cannot be meant is refused now

    def command(self, spec: str, /, **config: Any) -> ServerCommand:
        """What to run for `spec`, with the options of `config` in place of those given to the constructor.

        Raises:
            SpecError: `spec` cannot name a model.
            ValueError: An option cannot be meant.
            TypeError: There is no such keyword argument.
        """
        command = self._make_command(spec, **self._merged(config))
        return replace(command, environment={**self._environment, **command.environment}, cwd=self._cwd)

    def _merged(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._options, **config}

    @abstractmethod
    def _make_command(self, spec: str, **options: Any) -> ServerCommand:
        """What to run, apart from what every provider of servers takes."""
