"""``ServerOptions``: from keyword arguments to the command line of a server, checked before anything is started.

A server takes a minute to say that it does not like an option, so what can be seen to be wrong is refused here. And
what doteval decides itself, such as the port, or what it has to know, such as how many GPUs are used, cannot come in
through ``extra_args``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from ..._keywords import Keyword, fields_of
from .settings import ServerSettings
from .values import Words, whole

_CHOSEN = {
    "doteval chooses where the server listens": ("--host",),
    "doteval chooses a free port; pass port=... to choose it": ("--port",),
}
SPEC = "the model is the spec"
API_KEY = "doteval makes a key for each server, which handle.model.server.api_key tells"
PLAIN_HTTP = "the server is reached from this machine only, by plain HTTP"
CONFIG_FILE = "write the options of the file as keyword arguments, and the rest into extra_args"
"""Why servers cannot be given some options."""

_NUMBER = re.compile(r"-\.?\d")


class Option(Keyword):
    """An option of a server that is a keyword argument of the same name; `None` leaves it to the server.

    It stands in the annotation of a field, behind one of the types in ``values``.

    Args:
        doc: What it means, for the reader.
        also: What else the server calls it.
        has_no: Whether ``--no-its-name`` turns it off; otherwise it is left out.
    """

    def __init__(self, doc: str, *also: str, has_no: bool = False) -> None:
        super().__init__(doc)
        self.also = also
        self.has_no = has_no


@dataclass(frozen=True, slots=True)
class Flag:
    """How an option is written.

    Args:
        names: What the server calls it; the first is written, the others mean the same.
        words: Checks a value and makes words of it. It raises ``ValueError("must be ...")``.
        has_no: Whether ``--no-...`` turns it off.
    """

    names: tuple[str, ...]
    words: Callable[[Any], Words]
    has_no: bool = False

    def arguments(self, keyword: str, value: object) -> list[str]:
        """What to write for `value`; nothing for `None`."""
        if value is None:
            return []
        try:
            words = self.words(value)
        except ValueError as exc:
            raise ValueError(f"{keyword} {exc}, not {value!r}") from None
        if isinstance(words, bool):
            return [self.names[0]] if words else [f"--no-{self.names[0].removeprefix('--')}"] if self.has_no else []
        return [self.names[0], *words]

    def read(self, word: str, rest: list[str]) -> Any:
        """The value that a command line gives; what of the rest belongs to it is taken.

        Args:
            word: The option, with its value where that is in the same word.
            rest: The words after it.

        Raises:
            ValueError: It cannot have this value.
        """
        name, equals, text = word.partition("=")
        if not equals and self.accepts(True) and isinstance(self.words(True), bool):
            return name in self.names or not name.startswith("--no-")
        texts = [text] if equals else []
        while rest and not equals and (not rest[0].startswith("-") or _NUMBER.match(rest[0])):
            texts.append(rest.pop(0))
        for value in _meanings(texts):
            if self.accepts(value):
                return value
        for count in range(1, len(texts)):  # what follows may belong to nothing
            for value in _meanings(texts[:-count]):
                if self.accepts(value):
                    rest[:0] = texts[-count:]
                    return value
        try:
            self.words(" ".join(texts))
        except ValueError as exc:
            raise ValueError(f"{name} {exc}, not {' '.join(texts)!r}") from None
        raise ValueError(f"{name} needs a value")

    def accepts(self, value: object) -> bool:
        """Whether the option can have this value."""
        try:
            self.words(value)
        except ValueError:
            return False
        return True


def _meanings(texts: Sequence[str]) -> Iterator[object]:
    """What words may mean, the plainest first: a text, what JSON says, numbers, or names with values."""
    if len(texts) == 1:
        yield texts[0]
        yield {"on": True, "off": False}.get(texts[0])
        for decoded in (texts[0], f"[{texts[0]}]"):
            with suppress(ValueError):
                yield json.loads(decoded)
    with suppress(ValueError):
        yield [json.loads(text) for text in texts]
    pairs = [text.partition("=") for text in texts]
    if all(equals for _, equals, _ in pairs):
        yield {name: value for name, _, value in pairs}


class ServerOptions:
    """All options of one server that doteval knows.

    Args:
        server: What the server is called, for messages.
        declaration: The ``TypedDict`` whose fields they are, after `ServerSettings`.
        refused: Why others cannot be given, as half a sentence that says what to do instead; and their names.
        abbreviates: Whether the server takes ``--por`` for ``--port``, as those do that use argparse.
        flags: What this server calls the options, where that is not their name; it has no other ones then.
        words: How it writes values, where that is not as declared.
    """

    def __init__(
        self,
        server: str,
        declaration: type,
        refused: Mapping[str, Sequence[str]],
        *,
        abbreviates: bool,
        flags: Mapping[str, str] | None = None,
        words: Mapping[str, Callable[[Any], Words]] | None = None,
    ) -> None:
        self.server = server
        self.declaration = declaration
        self._reasons = {**_CHOSEN, **refused}
        self._abbreviates = abbreviates
        self._renamed = flags
        self._rewritten = words or {}

    @cached_property
    def keywords(self) -> frozenset[str]:
        """The keyword arguments that are about the server: the options, and where it is installed."""
        return frozenset(fields_of(self.declaration, ServerSettings))

    @property
    def names(self) -> frozenset[str]:
        """The keyword arguments that are options."""
        return frozenset(self._flags)

    @cached_property
    def _flags(self) -> dict[str, Flag]:
        """How each option is written, by its keyword argument."""
        found: dict[str, Flag] = {}
        for name, field in fields_of(self.declaration).items():
            option = field.keyword
            if isinstance(option, Option) and (self._renamed is None or name in self._renamed):
                own = (f"--{name.replace('_', '-')}", *option.also) if self._renamed is None else (self._renamed[name],)
                found[name] = Flag(own, self._rewritten.get(name) or field.before[0], option.has_no)
        return found

    @cached_property
    def _refused(self) -> dict[str, str]:
        known = {flag: f"pass {name}=... instead" for name, option in self._flags.items() for flag in option.names}
        decided = {flag: reason for reason, flags in self._reasons.items() for flag in flags}
        return {_canonical(flag): reason for flag, reason in {**decided, **known}.items()}

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
        words = [word for name, flag in self._flags.items() for word in flag.arguments(name, settings.get(name))]
        return [*words, *self._checked(extra_args)]

    def read(self, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """Keyword arguments for the options on a command line that have one, and all other words.

        Where one is there twice, the last one counts.

        Args:
            words: As somebody writes them who knows the server's command line.

        Raises:
            ValueError: An option cannot have its value.
        """
        known: dict[str, Any] = {}
        others: list[str] = []
        flags = {name: (keyword, flag) for keyword, flag in self._flags.items() for name in map(_canonical, flag.names)}
        flags["--port"] = "port", Flag(("--port",), whole())
        rest = list(words)
        while rest:
            word = rest.pop(0)
            keyword, flag = flags.get(_canonical(word)) or ("", None)
            if flag is None:
                others.append(word)
            else:
                known[keyword] = flag.read(word, rest)
        return known, others

    def value(self, keyword: str, text: str) -> Any:
        """The value that a text means for an option.

        Args:
            keyword: The keyword argument of the option.
            text: What somebody writes: as the server takes it, or as JSON.

        Raises:
            ValueError: It can have no such value.
        """
        flag = self._flags[keyword]
        for value in _meanings([text]):
            if flag.accepts(value):
                return value
        return flag.arguments(keyword, text)

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
            words = self._flags[name].arguments(name, settings.get(name))
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
