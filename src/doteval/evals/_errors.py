"""What can go wrong with an evaluation as a whole; what goes wrong with one row is recorded with the row."""

from __future__ import annotations

from .. import DotevalError


class DatasetError(DotevalError, ValueError):
    """A dataset, or one row of it, does not fit the evaluation.

    Args:
        evaluation: The evaluation's name.
        problem: What is wrong, as half a sentence; names the row where it is about one.
        advice: What to do about it.
        row: The row's number, counted from 0, where it is about one.
    """

    def __init__(self, evaluation: str, problem: str, advice: str, row: int | None = None) -> None:
        self.evaluation = evaluation
        self.problem = problem
        self.advice = advice
        self.row = row
        super().__init__(f"The dataset of '{evaluation}' does not fit: {problem}. {advice}")


class TooManyErrorsError(DotevalError, AssertionError):
    """More rows of an evaluation failed than were allowed.

    Args:
        evaluation: The evaluation's name.
        errors: How many rows failed.
        rows: How many there are.
        allowed: How many may fail.
        examples: Some of the failures, with the row's number and the traceback.
    """

    def __init__(self, evaluation: str, errors: int, rows: int, allowed: int, examples: tuple[str, ...]) -> None:
        self.evaluation = evaluation
        self.errors = errors
        self.rows = rows
        self.allowed = allowed
        self.examples = examples
        shown = "\n".join(examples)
        more = f"\n... and {errors - len(examples)} more." if errors > len(examples) else ""
        super().__init__(
            f"{errors} of {rows} rows of '{evaluation}' failed; {allowed} may (max_errors).\n\n{shown}{more}"
        )
