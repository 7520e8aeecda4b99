"""Which parameters of an item pytest has counted the values of.

It does so where nobody chose an id and none can be made of the value. ``[cfg0]`` says then where a value stands, and
not which it is; where somebody chose that id, it says which.
"""

from __future__ import annotations

from typing import Any

import pytest

from .._fixturedefs import functions_of
from .items import params_of

_COUNTED = pytest.StashKey[list[str]]()


class Counted:
    """The hook that pytest asks for an id wherever nobody chose one."""

    def __init__(self) -> None:
        self._without_id: dict[tuple[str, int], object] | None = None
        """The values by their parameters and their ``id``, which keeps that theirs, while items are made."""

    @pytest.hookimpl(trylast=True)
    def pytest_make_parametrize_id(self, val: object, argname: str) -> None:
        """Note that neither the user nor another plugin knows one."""
        if self._without_id is not None:
            self._without_id[argname, id(val)] = val

    def functions_of(self, collector: pytest.Module | pytest.Class, name: str, obj: object) -> list[pytest.Function]:
        """The items of an evaluation, each with what is counted of it."""
        without_id: dict[tuple[str, int], object] = {}
        self._without_id = without_id
        try:
            items = functions_of(collector, name, obj)
        finally:
            self._without_id = None
        for item in items:
            item.stash[_COUNTED] = sorted(
                name
                for name, value in params_of(item).items()
                if (name, id(value)) in without_id and not _is_called_so(value, name)
            )
        return items


def counted_of(item: pytest.Function) -> list[str]:
    """The parameters of an item that are counted, sorted."""
    return item.stash.get(_COUNTED, list[str]())


def _is_called_so(value: Any, name: str) -> bool:
    """Whether the id that is made of a value looks as if it was counted."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    text = text if isinstance(text, str) else getattr(value, "__name__", None)
    return isinstance(text, str) and text.startswith(name) and text.removeprefix(name).isdecimal()
