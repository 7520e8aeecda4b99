"""``ServerOptions``: from keyword arguments to the command line of a server, checked before anything is started.

A server takes a minute to say that it does not like an option, so what can be seen to be wrong is refused here. And
what doteval decides itself, such as the port, or what it has to know, such as how many GPUs are used, cannot come in
through ``extra_args``.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, cast

from ..._keywords import Keyword, keywords_of
from .settings import ServerSettings

Values: TypeAlias = Sequence[str] | bool
"""What follows a flag; `True`: nothing does, `False`: the option is turned off."""

SPEC = "the model is the spec"
API_KEY = "doteval makes a key for each server, which handle.model.server.api_key tells"
PLAIN_HTTP = "the server is reached from this machine only, by plain HTTP"
CONFIG_FILE = "write the options of the file as keyword arguments, and the rest into extra_args"
"""Why servers cannot be given some options."""

_NUMBER = re.compile(r"-\.?\d")
_PATH = re.compile(r"[.]{0,2}/|~")


class Option(Keyword):
    """An option of a server that has a keyword argument; `None` leaves it to the server.

    Args:
        values: Checks a value and makes words of it. It raises ``ValueError("must be ...")``.
        doc: What it means, for the reader.
        also: What else the server calls it.
        flag: What is written; `None`: the keyword argument's name, as ``--its-name``.
        has_no: Whether ``--no-its-name`` turns it off; otherwise it is left out.
    """

    def __init__(
        self,
        values: Callable[[Any], Values],
        doc: str = "",
        *also: str,
        flag: str | None = None,
        has_no: bool = False,
    ) -> None:
        super().__init__(doc)
        self._values = values
        self._also = also
        self._flag = flag
        self._has_no = has_no

    def flags(self, name: str) -> tuple[str, ...]:
        """What the server calls it; the first is written, the others mean the same."""
        return (self._flag or f"--{name.replace('_', '-')}", *self._also)

    def arguments(self, name: str, value: object) -> list[str]:
        """What to write for `value`; nothing for `None`."""
        if value is None:
            return []
        try:
            values = self._values(value)
        except ValueError as exc:
            raise ValueError(f"{name} {exc}, not {value!r}") from None
        flag, *_ = self.flags(name)
        if isinstance(values, bool):
            return [flag] if values else [f"--no-{flag.removeprefix('--')}"] if self._has_no else []
        return [flag, *values]


def as_declared(option: Option) -> Option:
    """The option itself."""
    return option


class ServerOptions:
    """All options of one server that doteval knows.

    Args:
        server: What the server is called, for messages.
        declaration: The ``TypedDict`` whose fields they are, after `ServerSettings`.
        refused: Those that cannot be given, besides host and port, each with what to do instead, as half a sentence.
        abbreviates: Whether the server takes ``--por`` for ``--port``, as those do that use argparse.
        option: What this server calls a declared option; `None`: it does not have it.
    """

    def __init__(
        self,
        server: str,
        declaration: type,
        refused: Mapping[str, str],
        *,
        abbreviates: bool,
        option: Callable[[Any], Option | None] = as_declared,
    ) -> None:
        self.server = server
        self.declaration = declaration
        self._given_refused = {
            "--host": "doteval chooses where the server listens",
            "--port": "doteval chooses a free port; pass port=... to choose it",
            **refused,
        }
        self._abbreviates = abbreviates
        self._option = option

    @cached_property
    def keywords(self) -> frozenset[str]:
        """The keyword arguments that are about the server: the options, and where it is installed."""
        return frozenset(keywords_of(self.declaration, ServerSettings))

    @property
    def names(self) -> frozenset[str]:
        """The keyword arguments that are options."""
        return frozenset(self._options)

    @cached_property
    def _options(self) -> dict[str, Option]:
        declared = keywords_of(self.declaration).items()
        own = {name: self._option(keyword) for name, keyword in declared if isinstance(keyword, Option)}
        return {name: option for name, option in own.items() if option is not None}

    @cached_property
    def _refused(self) -> dict[str, str]:
        known = {
            flag: f"pass {name}=... instead" for name, option in self._options.items() for flag in option.flags(name)
        }
        return {_canonical(flag): reason for flag, reason in {**self._given_refused, **known}.items()}

    def arguments(self, settings: Mapping[str, object], extra_args: Sequence[str] = ()) -> list[str]:
        """The command line, in the same order whatever the order of `settings`, so that equal servers are one.

        Args:
            settings: The keyword arguments; `None` leaves an option to the server.
            extra_args: What comes after, as it is.

        Raises:
            ValueError: A value cannot be meant, or `extra_args` has what cannot be given there.
            TypeError: There is no such keyword argument, or `extra_args` is not a sequence of strings.
        """
        given = {name for name, value in settings.items() if value is not None}
        if unknown := sorted(given - self.names):
            raise TypeError(
                f"{self.server} has no keyword argument {', '.join(unknown)}; "
                f"there are {', '.join(sorted(self.names))}. "
                "Every other option of the server goes into extra_args=['--option', 'value']."
            )
        words = [word for name, option in self._options.items() for word in option.arguments(name, settings.get(name))]
        return [*words, *self._checked(extra_args)]

    def slots(self, settings: Mapping[str, object], *sizes: str) -> int:
        """The product of the parallel sizes: so many slots, mostly GPUs, the server needs at once.

        Args:
            settings: The keyword arguments.
            sizes: Which of them are parallel sizes.

        Raises:
            ValueError: One of them is not a whole number.
        """
        found = 1
        for name in sizes:
            words = self._options[name].arguments(name, settings.get(name))
            found *= int(words[-1]) if words else 1
        return found

    def _checked(self, extra_args: Sequence[str]) -> Sequence[str]:
        check_words("extra_args", extra_args)
        if extra_args and not extra_args[0].startswith("-"):
            raise ValueError(f"extra_args must begin with an option, not with {extra_args[0]!r}")
        for word in extra_args:
            if not word.startswith("-") or _NUMBER.match(word):
                continue
            flag = _canonical(word)
            for refused, reason in self._refused.items():
                if flag == refused or (self._abbreviates and len(flag) > 2 and refused.startswith(flag)):
                    raise ValueError(f"extra_args of {self.server} cannot hold {word.partition('=')[0]}: {reason}")
        return extra_args


def check_words(name: str, words: object) -> None:
    """Raise TypeError unless `words` is a sequence of strings, and not one string."""
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise TypeError(f"{name} must be a list of strings such as ['--option', 'value'], not {words!r}")
    for word in cast(Sequence[object], words):
        if not isinstance(word, str):
            raise TypeError(f"{name} must be strings, as on a command line; {word!r} is a {type(word).__name__}")


def _canonical(word: str) -> str:
    """The name of an option without its value, its negation, and underscores."""
    flag = word.partition("=")[0].replace("_", "-")
    return "--" + flag.removeprefix("--no-") if flag.startswith("--no-") else flag


# ---------------------------------------------------------------- the values an option may have


def text(value: object) -> Values:
    """A word that cannot be taken for an option."""
    return [_word(value)]


def model(value: object) -> Values:
    """The name of a model, or the path of one, made absolute."""
    return [local(_word(value))]


def file(value: object) -> Values:
    """A path, made absolute: the server runs in a directory of its own."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(cast("str | os.PathLike[str]", value)):
        raise ValueError("must be a path")
    return [str(Path(cast("str | os.PathLike[str]", value)).expanduser().absolute())]


def file_or_text(value: object) -> Values:
    """The path of a file that exists, or what is not a path, such as a template or a name."""
    if isinstance(value, os.PathLike) or (isinstance(value, str) and is_path(value)):
        return file(cast("str | os.PathLike[str]", value))
    return text(value)


def whole(least: int = 1) -> Callable[[object], Values]:
    """A whole number of at least `least`."""

    def values(value: object) -> Values:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number of at least {least}")
        return [str(value)]

    return values


def number(least: float = -math.inf) -> Callable[[object], Values]:
    """A number of at least `least`."""

    def values(value: object) -> Values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
            raise ValueError(f"must be a number of at least {least:g}" if math.isfinite(least) else "must be a number")
        return [str(value)]

    return values


def share(value: object) -> Values:
    """A part of a whole."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ValueError("must be a number above 0 and at most 1, such as 0.9")
    return [str(value)]


def switch(value: object) -> Values:
    """On or off, without a word."""
    return _truth(value)


def shares(value: object) -> Sequence[str]:
    """Two or more parts of a whole, in any proportion."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(cast(Sequence[object], value)) < 2:
        raise ValueError("must be a list of two or more numbers")
    return [word for part in cast(Sequence[object], value) for word in cast(Sequence[str], number(0)(part))]


def yes_or_no(value: object) -> Values:
    """On or off, in words."""
    return ["true" if _truth(value) else "false"]


def on_or_off(value: object) -> Values:
    """On or off, in the words of llama-server."""
    return ["on" if _truth(value) else "off"]


def json_object(value: object) -> Values:
    """A mapping, as JSON."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping")
    try:
        return [json.dumps(dict(cast(Mapping[str, object], value)), sort_keys=True)]
    except TypeError as exc:
        raise ValueError(f"must hold only what JSON can hold ({exc})") from None


def named_files(value: object) -> Values:
    """Names with a path each."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError("must be a mapping of names to paths")
    pairs = cast(Mapping[object, object], value).items()
    return [f"{_word(name)}={local(_word(target))}" for name, target in pairs]


def _word(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or value.startswith("-"):
        raise ValueError("must be a text that does not begin with '-'")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


# ---------------------------------------------------------------- models and paths


def is_path(spec: str) -> bool:
    """Whether a text names a file or directory, by its looks or because there is one."""
    return _PATH.match(spec) is not None or ("{" not in spec and len(spec) < 1024 and Path(spec).exists())


def local(spec: str) -> str:
    """A model's name as it is, its path made absolute: the server runs in a directory of its own."""
    return str(Path(spec).expanduser().absolute()) if is_path(spec) else spec
