"""What an author's code raises concerns one resource, unless it is meant to end the program."""

from __future__ import annotations

from anyio import get_cancelled_exc_class

from .._chains import leaves_of, only_one_in


def ends_the_program(exc: BaseException) -> bool:
    """Whether it is an interrupt or an exit, or a group with one in it; all else is told to whom it concerns."""
    return any(isinstance(leaf, (KeyboardInterrupt, SystemExit)) for leaf in leaves_of(exc))


def outcome_of(exc: BaseException) -> BaseException | None:
    """What is for whoever waits as it is, such as what `pytest.skip` raises, which is no ``Exception``; or `None`.

    A task group that it has left has made a group of it.
    """
    only = only_one_in(exc)
    is_not = (
        *(BaseExceptionGroup, Exception, GeneratorExit, KeyboardInterrupt, SystemExit),
        get_cancelled_exc_class(),
    )
    return None if isinstance(only, is_not) else only


def as_exception(exc: BaseException, doing: str) -> Exception:
    """The exception, or one in its place that cancels nobody who has it raised.

    Args:
        exc: A cancellation of somebody else's, for example, that came out of a clean-up.
        doing: What it came out of, such as ``"closing 'gpt-4o'"``.
    """
    if isinstance(exc, Exception):
        return exc
    substitute = RuntimeError(f"{doing} ended with {type(exc).__name__}")
    substitute.__cause__ = exc
    return substitute
