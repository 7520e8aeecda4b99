"""The command ``doteval``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from . import __version__
from ._errors import ProviderLoadError
from ._registry._registration import Registration, is_fixture, registrations


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; `None` for those of this process.

    Returns:
        The exit code: 0 if all is well, 1 if what was looked at is broken.

    Raises:
        SystemExit: The arguments are not understood (code 2), or only ask for help or the version (code 0).
    """
    parser = argparse.ArgumentParser(prog="doteval", description="Look at what doteval finds on this machine.")
    parser.add_argument("--version", action="version", version=f"doteval {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    providers = commands.add_parser(
        "providers",
        help="list the registered model providers",
        description="Import every registered model provider, and tell which are broken and why. "
        "The exit code is 1 if one is.",
    )
    providers.set_defaults(run=list_providers)
    options = parser.parse_args(arguments)
    code: int = options.run()
    return code


def list_providers() -> int:
    """Print every registered provider with its distribution, entry point and state."""
    rows = [(registration, *_state(registration)) for registration in registrations().values()]
    columns = [(registration.name, registration.distribution, registration.value) for registration, _, _ in rows]
    widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
    for cells, (_, state, problem) in zip(columns, rows, strict=True):
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), state]))
        if problem:
            print(f"    {problem}")
    if not rows:
        print("No provider is registered: install one, for example with pip install 'doteval[openai]'")
    return int(any(state == "broken" for _, state, _ in rows))


def _state(registration: Registration) -> tuple[str, str]:
    """How a provider is, in a word, and what is wrong with it, where something is."""
    try:
        value = registration.load()
    except ProviderLoadError as exc:
        # An SDK that nobody has asked for is not a defect.
        state = "broken" if registration.missing_extra(exc.__cause__) is None else "not installed"
        return state, f"{exc.problem}. {exc.advice}."
    return ("ok (a fixture, for pytest only)" if is_fixture(value) else "ok"), ""
