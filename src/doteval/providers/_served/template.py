"""``CommandTemplate``: a command of the user's, with names in braces for what is filled in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..._keywords import check_argument
from ..._spec import check_spec
from ...servers._description.causes import Cause
from ...servers._description.command import ServerCommand
from ...servers._description.command_line import NAMED

_OF_MODEL_SERVERS = (
    *("GGML_", "HF_", "HUGGING_FACE_", "LLAMA_", "OLLAMA_", "PYTORCH_", "SGLANG_", "SGL_", "TORCH", "TRANSFORMERS_"),
    "VLLM_",
)
"""How the names of variables begin that most servers of models read, whatever the command is called."""
_LATER = {"port", "host", "directory", "api_key"}


def placeholders(command: Iterable[str]) -> set[str]:
    """What the braces in a command name that `setup` has to be given."""
    return {name for word in command for name in NAMED.findall(word)} - _LATER - {"spec"}


def check_words(words: object) -> None:
    """Raise ``ValueError("must be ...")`` unless it is a command in words."""
    example = repr(words.split() if isinstance(words, str) and words else ["serve", "--port", "{port}"])
    is_list = isinstance(words, Sequence) and not isinstance(words, (str, bytes))
    if not is_list or not all(isinstance(each, (str, os.PathLike)) for each in cast(Sequence[object], words)):
        raise ValueError(f"must be a list of words such as {example}")
    if not words or not all(os.fspath(each) for each in cast(Sequence[str], words)[:1]):
        raise ValueError(f"must name a command, as in {example}")


class CommandTemplate:
    """What to run for a server, and where, as the user has said it.

    Args:
        kind: What the server is called in lists.
        command: What to run.
        stop_command: What to run when it is to end; `None`: nothing.
        environment: Environment variables.
        secret_environment: Those that nobody may see.
        files: What is written into the server's directory.
        install_hint: How to install the command.
        cwd: Where it runs; `None`: where this process is now.
        causes: What is known to keep it from starting.

    Raises:
        ValueError: The command is one text, or empty, or has something in it that is no word.
    """

    def __init__(
        self,
        kind: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        stop_command: Sequence[str | os.PathLike[str]] | None,
        environment: Mapping[str, str],
        secret_environment: Mapping[str, str] | None,
        files: Mapping[str, str] | None,
        install_hint: str,
        cwd: str | None,
        causes: tuple[Cause, ...] = (),
    ) -> None:
        check_argument("command", command, check_words)
        self._kind = kind
        self._command = tuple(os.fspath(word) for word in command)
        self._stop = tuple(os.fspath(word) for word in stop_command or ())
        self._environment = environment
        self._secret_environment = dict(secret_environment or {})
        self._files = dict(files or {})
        self._install_hint = install_hint
        self._cwd = cwd or str(Path.cwd())
        self._causes = causes

    @property
    def names_port(self) -> bool:
        """Whether the server is told its port."""
        values = (*self._environment.values(), *self._secret_environment.values(), *self._files.values())
        return any("{port}" in text for text in (*self._command, *values))

    def filled(self, provider: str, spec: str, config: Mapping[str, Any]) -> ServerCommand:
        """The command with spec and configuration filled in.

        Args:
            provider: The class that `setup` belongs to, for the message.
            spec: What was asked for.
            config: The configuration given to `setup`.

        Raises:
            TypeError: The command has no place for something in `config`, or needs something that is not in it.
        """
        check_spec(spec)
        names = placeholders((*self._command, *self._stop))
        if names != set(config):
            raise TypeError(
                f"setup() of this {provider} takes {', '.join(sorted(names)) or 'no configuration'}, as its "
                f"command has {{name}} for each; it was given {', '.join(sorted(config)) or 'none'}"
            )
        return ServerCommand(
            kind=self._kind,
            spec=spec,
            argv=self._command,
            environment=self._environment,
            secret_environment=self._secret_environment,
            files=self._files,
            cwd=self._cwd,
            install_hint=self._install_hint,
            relevant_environment=_OF_MODEL_SERVERS,
            causes=self._causes,
            stop=self._stop,
            values={"spec": spec, **{name: str(value) for name, value in config.items()}},
        )
