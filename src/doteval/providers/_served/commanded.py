"""``CommandedProvider``: what the providers have in common that start servers with a command of the user's."""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, TypedDict, TypeVar

from ..._keywords import Keyword, at_least, instance_or_none, text, texts_or_none
from ...servers._description.causes import Cause
from ...servers._description.command import ServerCommand
from ...servers._description.readiness import Readiness
from .launching import LaunchingProvider
from .template import CommandTemplate, check_words

ModelT = TypeVar("ModelT")


def _words_or_none(value: object) -> None:
    if value is not None:
        check_words(value)


class CommandOptions(TypedDict, total=False):
    """What is about the command."""

    ready: Annotated[
        Readiness | None,
        Keyword(
            "When a server is ready; `None`: when its port accepts connections.",
            check=instance_or_none(Readiness, "a condition such as HTTPReady('/health'), or None"),
            operational=True,
        ),
    ]
    stop_command: Annotated[
        Sequence[str | os.PathLike[str]] | None,
        Keyword(
            "What to run when a server is to end, besides the signal that it gets, with the same braces. It may take "
            "``stop_grace`` seconds, and is run whatever has ended the server or its users.",
            check=_words_or_none,
            operational=True,
        ),
    ]
    secret_environment: Annotated[
        Mapping[str, str] | None,
        Keyword(
            "Environment variables that nobody may see; ``{api_key}`` stands for the server's own key, which clients "
            "then have to show.",
            check=texts_or_none,
            operational=True,
        ),
    ]
    files: Annotated[
        Mapping[str, str] | None,
        Keyword(
            "What is written into the server's directory before it starts, by name; ``{api_key}`` as above.",
            check=texts_or_none,
        ),
    ]
    install_hint: Annotated[
        str,
        Keyword(
            "How to install the command, as a sentence, for the message when it is missing.", "", text, operational=True
        ),
    ]
    slots_needed: Annotated[
        int | None,
        Keyword("How many slots a server takes; `None`: one.", check=at_least(0, "for the default"), operational=True),
    ]


class CommandedProvider(LaunchingProvider[ModelT], Generic[ModelT]):
    """Leases what it makes of servers that it starts with a command."""

    _template: CommandTemplate
    _slots_needed: int

    def _take_command(
        self,
        kind: str,
        command: Sequence[str | os.PathLike[str]],
        options: CommandOptions,
        slots_needed: int,
        *,
        causes: tuple[Cause, ...] = (),
        or_else: str = "",
    ) -> None:
        """Take what to run, when the rest of the constructor is done.

        Args:
            kind: What the server is called in lists.
            command: What to run.
            options: What else is about it; all of them are there.
            slots_needed: How many slots a server takes.
            causes: What is known to keep it from starting.
            or_else: What else to do about a server that nothing tells its port; empty: it has to have one.

        Raises:
            ValueError: The command cannot be meant, or nothing tells the server its port.
        """
        self._slots_needed = slots_needed
        self._template = CommandTemplate(
            kind,
            command,
            stop_command=options["stop_command"],
            environment=self._environment,
            secret_environment=options["secret_environment"],
            files=options["files"],
            install_hint=options["install_hint"],
            cwd=self._cwd,
            causes=causes,
        )
        is_left_to_ready = or_else and options["ready"] is not None
        if not is_left_to_ready and self._terms.port is None and not self._template.names_port:
            raise ValueError(
                "command has to say where the server listens: write {port} where the port belongs, also in "
                f"environment= or files=, or say with port=... which one it has{or_else}"
            )

    def command(self, spec: str, /, **config: Any) -> ServerCommand:
        """The command with the spec and the configuration filled in.

        Raises:
            TypeError: The command has no place for something in `config`, or needs something that is not in it.
        """
        return self._template.filled(type(self).__name__, spec, config)

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """How many slots a server takes."""
        return self._slots_needed
