"""What can go wrong with an evaluation as a whole; what goes wrong with one row is recorded with the row."""

from __future__ import annotations

from .. import DotevalError

_CHANGES_SHOWN = 10
_WIDTH = 80
_LEAST_OF_CAUSE = 30


class DatasetError(DotevalError, ValueError):
    """A dataset, or one row of it, does not fit the evaluation.

    Args:
        evaluation: The evaluation's name; nothing where whoever reads a file does not know for whom.
        problem: What is wrong, as half a sentence; names the row where it is about one.
        advice: What to do about it.
        row: The row's number, counted from 0, where it is about one.
    """

    def __init__(self, evaluation: str, problem: str, advice: str, row: int | None = None) -> None:
        self.evaluation = evaluation
        self.problem = problem
        self.advice = advice
        self.row = row
        whose = f"It is that of '{evaluation}'. " if evaluation else ""
        super().__init__(f"The dataset does not fit: {problem}.\n{whose}{advice}")


class DependencyError(DotevalError, OSError):
    """What an evaluation says that it depends on is not there, or cannot be read.

    Args:
        evaluation: The evaluation's name.
        problem: What is wrong, as half a sentence.
        advice: What to do about it.
    """

    def __init__(self, evaluation: str, problem: str, advice: str) -> None:
        self.evaluation = evaluation
        self.problem = problem
        self.advice = advice
        super().__init__(f"What '{evaluation}' depends on cannot be read: {problem}.\n{advice}")


class JudgeError(DotevalError, ValueError):
    """A judge gave no verdict on an output, which is neither good nor bad for that.

    Args:
        problem: What is wrong, as half a sentence.
        replies: What the judge said.
        votes: What each of these says; `None`: nothing that can be read.
    """

    def __init__(self, problem: str, replies: tuple[str, ...], votes: tuple[bool | float | None, ...]) -> None:
        self.problem = problem
        self.replies = replies
        self.votes = votes
        super().__init__(
            f"There is no verdict: {problem}.\n"
            "Say in the criterion, or in a template, what to reply in such a case; ask for an odd number of votes; or "
            "allow for some of these errors: max_errors=, or --doteval-eval-max-errors in pytest."
        )


class TooManyErrorsError(DotevalError, AssertionError):
    """More rows of an evaluation failed than were allowed.

    Args:
        evaluation: The evaluation's name.
        errors: How many rows failed.
        rows: How many there are.
        allowed: How many may fail.
        examples: Some of the failures, with the row's number and the traceback.
        noun: What is counted: rows, or samples of rows.
        cause: What the first of the failures was, in a line.
    """

    def __init__(
        self,
        evaluation: str,
        errors: int,
        rows: int,
        allowed: int,
        examples: tuple[str, ...],
        noun: str = "rows",
        cause: str = "",
    ) -> None:
        self.evaluation = evaluation
        self.errors = errors
        self.rows = rows
        self.allowed = allowed
        self.examples = examples
        self.cause = cause
        shown = "\n".join(examples)
        more = f"\nand {errors - len(examples)} more." if errors > len(examples) else ""
        super().__init__(
            f"{_with_cause(f'{errors} of {rows} {noun} failed, and {allowed} may', cause)}\n"
            f"'{evaluation}' has not passed. Correct them, or allow more: max_errors=, or --doteval-eval-max-errors in "
            f"pytest.\n\n{shown}{more}"
        )


class EvaluationAbortedError(TooManyErrorsError):
    """An evaluation that cannot pass any more was ended, as its rows all failed in the same way.

    Args:
        evaluation: The evaluation's name.
        errors: How many rows failed.
        rows: How many were run.
        allowed: How many may fail.
        example: The last of the failures, with the row's number and the traceback.
        alike: How many rows have failed in this way, one after the other.
        cause: What that was, in a line.
    """

    def __init__(
        self, evaluation: str, errors: int, rows: int, allowed: int, example: str, alike: int, cause: str = ""
    ) -> None:
        super().__init__(evaluation, errors, rows, allowed, (example,), cause=cause)
        self.alike = alike
        text = (
            f"{_with_cause(f'The last {alike} rows failed alike', cause)}\n"
            f"'{evaluation}' was ended, as {allowed} may fail. Correct it, and run it again: what is done is kept. "
            "abort_after=0, or --doteval-eval-abort 0 in pytest, runs all rows whatever comes of them."
            f"\n\n{example}"
        )
        self.args = (text,)


def _with_cause(told: str, cause: str) -> str:
    """What is told, and why, in a line that a terminal has room for."""
    if not cause:
        return f"{told}."
    room = max(_LEAST_OF_CAUSE, _WIDTH - len(told) - 2)
    return f"{told}: {cause if len(cause) <= room else f'{cause[: room - 1]}…'}"


class GateError(DotevalError, AssertionError):
    """The scores of an evaluation are not what they have to be.

    Args:
        evaluation: The evaluation's name.
        shortfalls: Which gates are not reached, and why, each as half a sentence.
    """

    def __init__(self, evaluation: str, shortfalls: tuple[str, ...]) -> None:
        self.evaluation = evaluation
        self.shortfalls = shortfalls
        first, *others = shortfalls  # which come first, as the line that pytest ends with has no room for more
        more = "".join(f"\n- {shortfall}" for shortfall in others)
        super().__init__(
            f"{first}.\n'{evaluation}' has not passed{f', for other reasons, too:{more}' if more else '.'}"
        )


class RowTimeoutError(DotevalError, TimeoutError):
    """An attempt of a row took too long.

    Args:
        seconds: How long it may take.
        waited: How long its requests waited to be sent, all together, as others had all places of ``max_concurrency``.
    """

    def __init__(self, seconds: float, waited: float = 0.0) -> None:
        self.seconds = seconds
        self.waited = waited
        told = f" Its requests waited for {waited:.3g} s before they were sent, for max_concurrency=." if waited else ""
        super().__init__(
            f"An attempt took longer than {seconds:g} s, and was cancelled.{told}\n"
            "Give it more time: row_timeout=, or --doteval-eval-row-timeout in pytest."
        )


class ConcurrentRunError(DotevalError, RuntimeError):
    """Two runs of one evaluation would mix their results.

    Args:
        evaluation: The evaluation's name.
        problem: What the other run is or did, as half a sentence.
        advice: What to do about it.
    """

    def __init__(self, evaluation: str, problem: str, advice: str) -> None:
        self.evaluation = evaluation
        self.problem = problem
        self.advice = advice
        super().__init__(f"'{evaluation}' {problem}.\n{advice}")


class EvaluationChangedError(DotevalError, RuntimeError):
    """The results of an evaluation that are in the store are of something else.

    Args:
        evaluation: The evaluation's name.
        experiment: The experiment they are in.
        changes: What has changed, each as half a sentence.
    """

    def __init__(self, evaluation: str, experiment: str, changes: tuple[str, ...]) -> None:
        self.evaluation = evaluation
        self.experiment = experiment
        self.changes = changes
        first, *others = changes or ("they have changed",)  # what comes first is in the line that pytest ends with
        shown = "".join(f"\n- {change}" for change in others[: _CHANGES_SHOWN - 1])
        more = f"\n- and {len(changes) - _CHANGES_SHOWN} more" if len(changes) > _CHANGES_SHOWN else ""
        besides = f", for other reasons, too:{shown}{more}" if others else "."
        super().__init__(
            f"{first}: the results of '{evaluation}' are of something else{besides}\n"
            f"Give this run another experiment than '{experiment}', or choose what becomes of them:\n"
            'changed="rerun" throws them away, "keep" takes them for its own; --doteval-eval-changed in pytest.'
        )


class EvaluationWarning(UserWarning):
    """What is odd about the results of an evaluation, each of `Outcome.warnings`: at the call of `run`, and in pytest.

    ``warnings.simplefilter("error", EvaluationWarning)``, or ``-W error::doteval.evals.EvaluationWarning`` of pytest,
    makes it an error; the results are kept by then. It is raised where nothing else is, and else in the notes of that.
    What only tells of what ``allow_new``, or ``changed``, was given for is no error then either.
    """


class StoreError(DotevalError, OSError):
    """The file of a store cannot be read or written, or holds something else.

    Args:
        path: The file.
        problem: What is wrong with it, as half a sentence.
        advice: What to do about it.
    """

    def __init__(self, path: str, problem: str, advice: str) -> None:
        self.path = path
        self.problem = problem
        self.advice = advice
        super().__init__(f"{path} {problem}.\n{advice}")
