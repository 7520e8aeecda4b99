"""``ServerCommand``: what to run for a server, how two of them are told apart, and how one is shown without secrets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..._spec import check_spec
from .causes import Cause
from .command_line import PLACEHOLDER, distinctive, likely_secrets, shown, with_values
from .named_files import files_of

LOOPBACK = "127.0.0.1"

_KIND = re.compile(r"[a-z0-9][a-z0-9_-]*")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_TAKEN_FILES = ("server.log", "server.log.1", "tmp")
_NOT_INHERITED = ("PYTEST_", "COV_")
_STOPPER = str(Path(__file__).parent.parent / "_stopper.py")


class CommandMissingError(FileNotFoundError):
    """The command of a server is not installed.

    Args:
        command: What was looked for.
        places: The directories it was looked for in.
        install_hint: How to install it.
    """

    def __init__(self, command: str, places: Sequence[str], install_hint: str) -> None:
        self.command = command
        self.places = tuple(places)
        self.install_hint = install_hint
        self.problem = (
            f"the command {command!r} is not installed: there is no executable file of this name in "
            f"{', '.join(self.places) or 'PATH, which is empty'}"
        )
        advice = install_hint or "Install it, or give the whole path of the executable"
        super().__init__(f"{self.problem}. {advice.rstrip('.')}.")


@dataclass(frozen=True, slots=True, repr=False)
class FilledCommand:
    """A command with everything filled in, ready to be started.

    Args:
        argv: What to run; the first is an absolute path.
        environment: All of the process's environment.
        files: What to write into the server's own directory before, readable by the owner only: name and content.
        cwd: Where to run it.
        secrets: What no message may show.
        own: The names in `environment` that the command itself sets.
        stop: What to run when it is to end; empty: nothing but a signal ends it.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    files: Mapping[str, str]
    cwd: str
    secrets: frozenset[str]
    own: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()

    def ended_within(self, seconds: float) -> tuple[str, ...]:
        """What to run so that the stop command is run when it is to end, and may take so many seconds."""
        if not self.stop:
            return self.argv
        return (sys.executable, "-I", "-S", _STOPPER, f"{seconds:g}", str(len(self.stop)), *self.stop, *self.argv)

    def shown(self) -> str:
        """The command as one would type it, without secrets."""
        return shown({name: self.environment[name] for name in self.own}, self.argv, self.secrets)

    def __repr__(self) -> str:
        return f"<FilledCommand {self.shown()}>"


@dataclass(frozen=True, slots=True, repr=False)
class ServerCommand:
    """What to run, before a port is chosen.

    ``{port}``, ``{host}`` and ``{directory}`` (the server's own) are filled in later, in `argv`, `stop`, `environment`,
    `secret_environment`, `files` and `cwd`. ``{api_key}`` is, too, but only in `secret_environment` and `files`,
    because every user of the machine can read a command line. All other braces stay as they are.

    Args:
        kind: What it is, such as ``"vllm"``: small letters, digits, ``-`` and ``_``.
        spec: The model it serves.
        argv: The command and its arguments. The command is a path or a name to be looked up on ``PATH``.
        environment: Variables in addition to the inherited ones.
        secret_environment: The same, for values that nobody may see.
        files: What to write into the server's own directory, for nobody else to read: name and content.
        cwd: Where to run it; the default is the server's own directory.
        install_hint: How to install the command, as a sentence.
        relevant_environment: How the names of those inherited variables begin that make a difference to the server,
            such as ``"VLLM_"``: with other values it is another server.
        needs: Files and directories of this machine without which it cannot start, such as the model.
        causes: What is known to keep such a server from starting, and is said where it prints that; the first that
            fits is taken, and before what is known of all servers.
        stop: What to run when it is to end, besides the signal that it gets; empty: nothing.
        values: What else is filled in, in `argv` and `stop`, by its name in braces; braces in a value are no names.

    Raises:
        SpecError: `spec` cannot name a model.
        ValueError: Something else cannot be meant; the message says what to do instead.
    """

    kind: str
    spec: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    secret_environment: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None
    install_hint: str = ""
    relevant_environment: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    stop: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        check_spec(self.spec)
        if isinstance(self.argv, str):
            raise ValueError(f"argv must be a sequence of arguments, not one text: {shlex.split(self.argv)!r}")
        for name in ("argv", "stop"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.cwd is not None and not self.cwd.startswith("{directory}"):
            object.__setattr__(self, "cwd", str(Path(self.cwd).expanduser().absolute()))
        for name in ("environment", "secret_environment", "files", "values"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        if not _KIND.fullmatch(self.kind):
            raise ValueError(
                f"kind must be of small letters, digits, '-' and '_', as it names files; not {self.kind!r}"
            )
        if not self.argv or not self.argv[0]:
            raise ValueError("argv must name a command")
        for name in self.files:
            if not _FILE.fullmatch(name) or name in _TAKEN_FILES:
                raise ValueError(
                    f"{name!r} cannot be a file of a server: use a plain name other than {', '.join(_TAKEN_FILES)}"
                )
        if twice := sorted(self.environment.keys() & self.secret_environment.keys()):
            raise ValueError(f"{', '.join(twice)} is both in environment and in secret_environment: keep one of them")
        self._refuse_visible_keys()

    def _refuse_visible_keys(self) -> None:
        """Where others can look, the API key must not be."""
        for argument in (*self.argv, *self.stop):
            if "{api_key}" in argument:
                raise ValueError(
                    f"{{api_key}} cannot be on the command line ({argument!r}), which every user of the machine can "
                    "read. Hand it over with secret_environment={'NAME': '{api_key}'}, or with "
                    "files={'key': '{api_key}'} and the path '{directory}/key' on the command line; "
                    "a server that takes neither runs without a key."
                )
        for name, value in self.environment.items():
            if "{api_key}" in value:
                raise ValueError(f"{name} holds the API key: move it from environment to secret_environment")

    @property
    def words(self) -> tuple[str, ...]:
        """The command and its arguments with all that is known before a port is chosen."""
        return with_values(self.argv, self.values)

    @property
    def takes_api_key(self) -> bool:
        """Whether the server is given a key."""
        return any("{api_key}" in text for text in (*self.secret_environment.values(), *self.files.values()))

    def resolved(self) -> str:
        """The absolute path of the command: from ``PATH``, or from beside the running Python.

        The latter finds what is installed in a virtual environment that nobody activated.

        Raises:
            CommandMissingError: There is none.
        """
        return self._found(self.words[0])

    def _found(self, command: str) -> str:
        if os.sep in command:
            path = Path(
                self.cwd or "", Path(command).expanduser()
            ).absolute()  # not resolved: the python of an environment is a link
            if not path.is_file() or not os.access(path, os.X_OK):
                raise CommandMissingError(path.name, [str(path.parent)], self.install_hint)
            return str(path)
        search = self.environment.get("PATH", os.environ.get("PATH", os.defpath))
        beside = [str(Path(sys.executable).parent)] if sys.executable else []
        places = list(dict.fromkeys([*filter(None, search.split(os.pathsep)), *beside]))
        found = shutil.which(command, path=os.pathsep.join(places))
        if found is None:
            raise CommandMissingError(command, places, self.install_hint)
        return str(Path(found).absolute())

    def named_files(self) -> list[tuple[str, int, int]]:
        """The files of a local model that it names, and programs such as ``server.py``, as `files_of` has them."""
        return files_of(self.words, self.cwd)

    def key(self, *extra: object) -> str:
        """A digest of everything that makes the server what it is; the same in every process with the same settings.

        That includes the files that it names, as `named_files` sees them.

        Args:
            extra: What else makes a difference; anything that JSON can hold, or a path.

        Raises:
            CommandMissingError: The command is not installed.
            TypeError: JSON cannot hold something in `extra`.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(self.relevant_environment)
            and name not in self.environment
            and name not in self.secret_environment
        }
        identity = [
            self.kind,
            self.spec,
            self.resolved(),
            self.argv[1:],
            dict(self.environment),
            dict(self.secret_environment),
            dict(self.files),
            self.cwd,
            inherited,
            self.named_files(),
            self._stop(),
            dict(self.values),
            extra,
        ]
        return hashlib.sha256(json.dumps(identity, sort_keys=True, default=os.fspath).encode()).hexdigest()

    def filled(
        self, *, port: int, api_key: str, directory: str | os.PathLike[str], host: str = LOOPBACK
    ) -> FilledCommand:
        """The command for this port and this directory, with all of its environment.

        What is inherited is everything but the variables of pytest and of coverage measurement, which would make a
        server that outlives a test believe that it is one.

        Args:
            port: Where to listen.
            api_key: What clients have to show.
            directory: The server's own directory.
            host: The address to listen at.

        Raises:
            CommandMissingError: The command is not installed.
        """
        directory = os.fspath(directory)
        values = {"port": str(port), "host": host, "directory": directory, "api_key": api_key}

        def fill(text: str) -> str:
            return PLACEHOLDER.sub(lambda found: values[found[1]], text)

        own = {name: fill(value) for name, value in {**self.environment, **self.secret_environment}.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        all_values = {**self.values, **values}
        argv = (self.resolved(), *with_values(self.argv[1:], all_values))
        stop = (*self._stop()[:1], *with_values(self.stop[1:], all_values))
        files = {name: fill(content) for name, content in self.files.items()}
        return FilledCommand(
            argv=argv,
            environment={**inherited, "PYTHONUNBUFFERED": "1", "TMPDIR": str(Path(directory, "tmp")), **own},
            files=files,
            cwd=fill(self.cwd) if self.cwd else directory,
            secrets=frozenset(
                {api_key, *(own[name] for name in self.secret_environment)}.union(
                    likely_secrets(inherited | own, (*argv, *stop)),
                    distinctive(content.strip() for content in files.values() if "\n" not in content.strip()),
                )
                - {""}
            ),
            own=tuple(own),
            stop=stop,
        )

    def _stop(self) -> tuple[str, ...]:
        return (self._found(*with_values(self.stop[:1], self.values)), *self.stop[1:]) if self.stop else ()

    def shown(self) -> str:
        """The command as one would type it, without secrets; where placeholders are, they still are."""
        secrets = {*self.secret_environment.values(), *likely_secrets(self.environment, self.words)}
        return shown({**self.environment, **self.secret_environment}, self.words, secrets - {""})

    def __repr__(self) -> str:
        return f"<ServerCommand {self.kind}: {self.shown()}>"
