"""What leads to an exception, for tests."""

from __future__ import annotations


def is_no_circle(error: BaseException | None, above: tuple[BaseException, ...] = ()) -> bool:
    """Whether causes and contexts end somewhere."""
    if error is None:
        return True
    if any(error is each for each in above):
        return False
    return all(is_no_circle(each, (*above, error)) for each in (error.__cause__, error.__context__))
