"""Times and sizes, short enough for a column."""

from __future__ import annotations


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
