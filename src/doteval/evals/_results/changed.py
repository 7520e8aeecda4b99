"""What becomes of results that are of something else."""

from __future__ import annotations

from typing import Literal, TypeAlias

from .._errors import EvaluationChangedError
from .identity import Identity, changes
from .reading import Stored

Changed: TypeAlias = Literal["error", "rerun", "keep"]
"""What becomes of results that are of something else: a refusal, a new run, or that they are taken for its own."""


def changes_since(before: Stored, identity: Identity, changed: Changed) -> tuple[str, ...]:
    """What has changed since results were stored, where there are any.

    Args:
        before: What is in the store, with all samples that are there.
        identity: What results depend on now.
        changed: What is to become of them; see `run`.

    Raises:
        EvaluationChangedError: They are of something else, and that is an error.
    """
    differences = changes(before.identity, identity) if before.stored else ()
    if differences and changed == "error" and before.stored > before.errors:
        raise EvaluationChangedError(before.name, before.experiment, differences)
    return differences
