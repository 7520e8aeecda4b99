"""Text for a terminal: columns that stand under each other, short times and sizes."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """The rows as lines, their columns two spaces apart.

    Args:
        rows: The cells; the last one of a row may be as long as it likes.
        right: The numbers of the columns that stand to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def short_time(seconds: float) -> str:
    """A time in the largest unit that fits, such as ``"3m"``."""
    for limit, unit, size in ((100, "s", 1), (100 * 60, "m", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{max(0, seconds) // size:.0f}{unit}"
    return f"{seconds // 86400:.0f}d"


def short_size(size: int) -> str:
    """A size such as ``"2.6 GiB"``."""
    for unit in ("KiB", "MiB"):
        size_in_unit = size / (1024 if unit == "KiB" else 1024**2)
        if size_in_unit < 1000:
            return f"{size_in_unit:.0f} {unit}"
    return f"{size / 1024**3:.1f} GiB"
