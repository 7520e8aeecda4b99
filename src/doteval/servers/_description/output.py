"""What a server prints, as it may be shown: its last lines, without colours, secrets and what is too much."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ..._secrets import masked

LINES = 50
"""How many of the last lines of output are shown."""

WIDTH = 400
"""How much of one line is shown, in characters: vLLM puts all the architectures it knows into one."""

_BEFORE = 80
"""How much of a long line is shown before what must be seen in it, in characters."""

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]{0,1000}(?:\x07|\x1b\\|$)|[ -/]*[0-~])"  # colours, titles
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_TOKEN = re.compile(r"\b(?:hf_|sk-)[A-Za-z0-9_-]{16,}")
"""What is a key by its looks, wherever the server has it from."""


def plain(text: str) -> str:
    """`text` without what colours it on a terminal."""
    return _ESCAPE.sub("", text)


def cleaned(tail: Sequence[str], secrets: Collection[str] = (), width: int | None = WIDTH) -> list[str]:
    """The last lines as they may be shown: without secrets, control characters and what is too much.

    Args:
        tail: The last lines of output; more than `LINES` are too many.
        secrets: What must not be shown.
        width: How much of a line is shown, in characters.
    """
    secrets = {line for secret in secrets for line in (secret, *_long_lines(secret))}
    lines = [_line(line, secrets, width) for text in tail for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines[-LINES:]


def excerpt(line: str, match: str, secrets: Collection[str] = ()) -> str:
    """One line as it may be shown, and of a long one what is around a match.

    Args:
        line: The line, as it was printed.
        match: What in it must be seen.
        secrets: What must not be shown.
    """
    shown = "".join(cleaned([line], secrets, width=None)).strip()
    if len(shown) <= WIDTH:
        return shown
    start = max(0, shown.find(match) - _BEFORE)
    return f"{'… ' * (start > 0)}{shown[start : start + WIDTH]}{' …' * (start + WIDTH < len(shown))}"


def _line(line: str, secrets: Collection[str], width: int | None) -> str:
    line = plain(line).rstrip("\r").rpartition("\r")[2]  # of a progress bar, what a terminal shows last
    line = "".join(char for char in line.expandtabs(4) if char.isprintable()).rstrip()
    line = _TOKEN.sub("***", masked(line, secrets))  # before it is cut, or half a secret would remain
    if width is not None and len(line) > width:
        return f"{line[:width]} … ({len(line) - width} more characters)"
    return line


def _long_lines(secret: str) -> list[str]:
    """What can be seen of a secret with several lines, such as a private key, where only one of them is looked at."""
    return [line for line in secret.splitlines() if len(line) >= 8]
