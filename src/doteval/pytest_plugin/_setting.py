"""``Setting``: one value that a user can set, on the command line or in the ini file."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeVar, cast

import pytest

from ._short_names import PREFIX

_NumberT = TypeVar("_NumberT", int, float)

_OURS = "doteval_"
_TEXT_OR_NUMBER: Any = str | int | float if pytest.version_tuple >= (9, 2) else "string"
"""What stands in ``[tool.pytest]``, where values have types; pytest before 9.2 can only be told of one."""


def refuse_empty_values(config: pytest.Config) -> None:
    """No option of ours is given nothing, as where a variable is not set: it would go for one that is not there.

    Raises:
        pytest.UsageError: One is.
    """
    options: dict[str, object] = vars(config.option)
    for name, given in options.items():
        values = cast("list[object]", given) if isinstance(given, list) else [given]
        if name.startswith(_OURS) and any(isinstance(value, str) and not value.strip() for value in values):
            option = f"{PREFIX}{name.removeprefix(_OURS).replace('_', '-')}"
            raise pytest.UsageError(f"{option} is given nothing, as where a variable of a script is not set")


class OptionGroup(Protocol):
    """What pytest has for options that stand together in its help; its class has no public name."""

    def addoption(self, *opts: str, **attrs: object) -> None:
        """Declare an option."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them; the command line wins over the ini file.

    Args:
        name: What it is called in the ini file, after ``doteval_``; on the command line, after ``--doteval-``, it is
            written with hyphens.
        metavar: What is given, in the help.
        help: What it does, in the help.
    """

    name: str
    metavar: str
    help: str

    @property
    def option(self) -> str:
        """What it is called on the command line."""
        return f"{PREFIX}{self.name.replace('_', '-')}"

    @property
    def ini(self) -> str:
        """What it is called in the ini file, and in pytest's configuration."""
        return f"doteval_{self.name}"

    def declare(self, parser: pytest.Parser, group: OptionGroup) -> None:
        """Have pytest know it.

        Args:
            parser: Takes what is for the ini file.
            group: Takes what is for the command line.
        """
        group.addoption(self.option, metavar=self.metavar, dest=self.ini, help=self.help)
        parser.addini(self.ini, f"like {self.option}", type=_TEXT_OR_NUMBER, default="")

    def given(self, config: pytest.Config) -> str:
        """The text that was given; empty where there is none."""
        text: str = config.getoption(self.ini) or str(config.getini(self.ini))
        return text

    def choice(self, config: pytest.Config, choices: Collection[str]) -> str:
        """The choice that was made; empty where there is none.

        Raises:
            pytest.UsageError: There is no such choice.
        """
        text = self.given(config)
        if text and text not in choices:
            self.refuse(text, f"one of {', '.join(choices)},")
        return text

    def number(self, config: pytest.Config, kind: type[_NumberT], least: int, expected: str = "") -> _NumberT | None:
        """The number that was given; `None` where there is none.

        Args:
            config: The run's configuration.
            kind: What kind of number it is.
            least: The least that is allowed.
            expected: What it should be, for the message.

        Raises:
            pytest.UsageError: It is no such number.
        """
        text = self.given(config)
        if not text:
            return None
        try:
            number = kind(text)
        except ValueError:
            number = kind(-1)
        if not number >= least:
            self.refuse(text, expected or f"a number, {least} or more,")
        return number

    def refuse(self, text: str, expected: str) -> NoReturn:
        """Say that it should be something else.

        Raises:
            pytest.UsageError: Always.
        """
        raise pytest.UsageError(f"{self.option} (ini: {self.ini}) is {expected} not {text!r}")
