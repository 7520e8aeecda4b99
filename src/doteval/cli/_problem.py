"""What a command cannot do, said without a traceback."""

from __future__ import annotations

from .._printed import printable


class Problem(Exception):  # noqa: N818 - it never leaves the command
    """Ends the command.

    Args:
        message: What is wrong and what to do.
        code: The exit code: 2 where the arguments cannot be meant.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(printable(message))
        self.code = code
