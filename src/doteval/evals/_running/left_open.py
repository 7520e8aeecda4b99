"""What is said of requests that go on when their rows have ended."""

from __future__ import annotations


def told_of_requests_left_open(count: int, name: str) -> str:
    """A warning of requests that nobody knows the cost of."""
    return (
        f"{count:,} request{'' if count == 1 else 's'} of rows of '{name}' had not ended when the rows had, so nobody "
        "knows what they cost. Wait for the tasks and threads that a row starts, and close streams that are left "
        "early: 'async with aclosing(...)' does that for a generator."
    )
