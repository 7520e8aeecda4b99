"""What is printed for people: text, and nothing that a terminal would obey, whatever a model or a file has said."""

from __future__ import annotations

import sys
from typing import TextIO

_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""They have what follows shown in another order than it stands in."""
_OBEYED = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *_DIRECTIONS)
_IN_A_LINE = {code: repr(chr(code))[1:-1] for code in _OBEYED}
_IN_LINES = {code: escape for code, escape in _IN_A_LINE.items() if chr(code) not in "\n\t"}


class Styled(str):
    """Text that is printable, with styles of ours in it."""

    __slots__ = ()


def printable(text: str) -> str:
    """A text as it may be printed: what a terminal would obey as its escape, but for ends of lines and tabs."""
    return text.translate(_IN_LINES)


def in_a_line(text: str) -> str:
    """The same, in one line."""
    return text.translate(_IN_A_LINE)


def text_of(value: object) -> str:
    """What an exception, say, tells of itself; where its author's ``__str__`` is broken, that."""
    try:
        return str(value)
    except Exception as exc:
        return f"<its text failed with {type(exc).__name__}>"


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, and an ellipsis where more of it is left out."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def say(*texts: str, file: TextIO | None = None) -> None:
    """Print texts for people, each on a line of its own, at once.

    Args:
        texts: What is said; only what is `Styled` may have codes for the terminal in it.
        file: Where to; `None`: the standard output.
    """
    lines = (text if isinstance(text, Styled) else printable(text) for text in texts)
    print("\n".join(lines), file=sys.stdout if file is None else file, flush=True)
