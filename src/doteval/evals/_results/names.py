"""What an experiment may be called."""

from __future__ import annotations


def checked_name(experiment: str) -> str:
    """The name of an experiment that is to be made.

    Raises:
        ValueError: It is none.
    """
    if not experiment.strip():
        raise ValueError(f"an experiment needs a name, and {experiment!r} is none")
    return experiment
