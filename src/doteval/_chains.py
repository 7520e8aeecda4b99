"""What an exception leads back to: its causes, its contexts, and the members of groups.

All who follow these go through `walk`, as a chain may be a circle: Python makes one where an exception is raised while
another is handled that was raised from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import cast


def walk(
    error: BaseException, steps: Callable[[BaseException], Iterable[BaseException | None]]
) -> Iterator[BaseException]:
    """An exception and all that steps from it lead to, each once, and before what it leads to itself."""
    seen: dict[int, BaseException] = {}  # they live until it is done, so no other one has the same id
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:
            seen[id(each)] = each
            yield each
            left += [*steps(each)][::-1]


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """What a group holds; nothing, where it is none."""
    return cast("BaseExceptionGroup[BaseException]", error).exceptions if isinstance(error, BaseExceptionGroup) else ()


def is_group(error: BaseException) -> bool:
    """Whether it holds others."""
    return isinstance(error, BaseExceptionGroup)


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """What a group, and the groups in it, hold besides groups; the exception itself, where it is none."""
    return (each for each in walk(error, members_of) if not is_group(each))


def only_one_in(error: BaseException) -> BaseException:
    """What a group, or a group in it, holds where that is one exception only; or the exception itself."""
    *_, last = walk(error, lambda each: members if len(members := members_of(each)) == 1 else ())
    return last


def before(error: BaseException) -> BaseException | None:
    """What Python shows above an exception: what it was raised from, or else while that was handled."""
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


def told_with(error: BaseException) -> Iterator[BaseException]:
    """An exception, and whatever Python shows with it."""
    return walk(error, lambda each: (*members_of(each), before(each)))


def all_behind(error: BaseException) -> Iterator[BaseException]:
    """An exception, and whatever it leads to, be it shown or not."""
    return walk(error, lambda each: (*members_of(each), each.__cause__, each.__context__))
