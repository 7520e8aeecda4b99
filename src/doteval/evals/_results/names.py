"""What an experiment may be called, and how a part of it is named."""

from __future__ import annotations


def checked_name(experiment: str) -> str:
    """The name of an experiment that is to be made.

    Raises:
        ValueError: It is none.
    """
    if not experiment.strip():
        raise ValueError(f"an experiment needs a name, and {experiment!r} is none")
    if "@" in experiment:
        raise ValueError(
            f"an experiment has no @ in its name, as {experiment!r} has: behind it stands which of its evaluations "
            "are meant, as in NAME@PART"
        )
    return experiment


def parted(name: str) -> tuple[str, str | None]:
    """What ``EXPERIMENT`` or ``EXPERIMENT@PART`` names: the experiment, and the part, which may have more of these."""
    experiment, at, part = name.partition("@")
    return experiment, part if at else None
