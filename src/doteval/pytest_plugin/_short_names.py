"""The short names of our options: ``--model`` for ``--doteval-model``, wherever ``--model`` is not somebody else's.

A name can be declared once in a run of pytest, and whoever comes second ends it before the first test. So we declare
names that nobody else has, and none that a suite or a plugin may have. What was typed is read before pytest takes it
in, when all plugins and conftest files have declared what is theirs: a name that is still free, and with ``--doteval-``
in front is one of ours, gets that in front.

It is done twice. Which conftest files are loaded at first depends on the paths on the command line, and pytest takes
the value of an option that it does not know for a path.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path

import pytest

PREFIX = "--doteval-"
SHORTER = "; --doteval-NAME may be typed --NAME where nobody else declares that"
"""What pytest's help says of all of our options."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Around all others: what they declare is theirs."""
    with suppress(pytest.UsageError):  # whoever declares what is typed may make sense of it yet
        paths: list[str] = parser.parse_known_args(_lengthened(args, parser)).file_or_dir
        early_config.known_args_namespace.file_or_dir = paths
    try:
        return (yield)
    finally:
        args[:] = _lengthened(args, parser)


def _lengthened(args: Iterable[str], parser: pytest.Parser) -> list[str]:
    """The command line with our long names in the place of short ones that are free."""
    found: list[str] = []
    rest = map(os.fspath, args)
    for argument in rest:
        if argument == "--":
            return [*found, argument, *rest]
        found += _from_file(argument, parser) or [_long(argument, parser)]
    return found


def _long(argument: str, parser: pytest.Parser) -> str:
    name, equals, value = argument.partition("=")
    if not name.startswith("--") or name.startswith(PREFIX):
        return argument
    long = f"{PREFIX}{name.removeprefix('--')}"
    return f"{long}{equals}{value}" if _is_known(long, parser) and not _is_known(name, parser) else argument


def _is_known(name: str, parser: pytest.Parser) -> bool:
    """Whether an option was declared so far."""
    try:
        return name not in parser.parse_known_and_unknown_args([name])[1]
    except (pytest.UsageError, SystemExit):
        return True  # it wants a value, or to do something at once


def _from_file(argument: str, parser: pytest.Parser) -> list[str]:
    """What stands in the file of an ``@file``, one argument a line, if anything in it has a short name of ours."""
    if not argument.startswith("@"):
        return []
    try:
        lines = Path(argument[1:]).read_text(sys.getfilesystemencoding(), "surrogateescape").splitlines()
    except OSError:
        return []  # pytest says what is wrong with it
    lengthened = _lengthened(lines, parser)
    return [] if lengthened == lines else lengthened
