"""No warnings for whoever looks at things, and all for everybody else, though the filters are the process's."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, cast

_looks: ContextVar[bool] = ContextVar("doteval_looks", default=False)


class _WhereSomebodyLooks:
    """Stands for the pattern of a filter: it matches each message in the threads where somebody looks, else none."""

    def match(self, _text: str) -> bool:
        return _looks.get()

    def __reduce__(self) -> tuple[Any, ...]:
        return re.compile, ("(?!)",)  # a process that gets a copy of the filters is another one


_FILTER: Any = ("ignore", _WhereSomebodyLooks(), Warning, None, 0)


@contextmanager
def no_warnings() -> Generator[None]:
    """No warnings in this thread, so that whoever makes them into errors finds the same.

    ``warnings.catch_warnings`` puts back all filters as they were when it began: of two threads whose blocks overlap,
    the one that ends last puts back those of the other. Here each adds a filter and takes one away, and nobody else's
    are touched, also where others change theirs meanwhile.
    """
    if getattr(sys.flags, "context_aware_warnings", False):  # then the block is this thread's alone
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        return
    before = _looks.set(True)
    filters = cast("list[Any]", warnings.filters)  # else others may be in their place in the end
    filters.insert(0, _FILTER)
    try:
        yield
    finally:
        _looks.reset(before)
        with suppress(ValueError):  # somebody has taken away all
            filters.remove(_FILTER)
