"""Finds the rows of tables and arrays, of whichever library: they are known by what they can do, and not imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_CHUNK = 64


class Rows:
    """The rows of a table or of an array, as often as they are needed.

    Args:
        held: The table or array, which has a length.
        rows: Makes an iterator over its rows.
    """

    def __init__(self, held: Any, rows: Callable[[Any], Iterator[Any]]) -> None:
        self._held = held
        self._rows = rows

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Any]:
        return self._rows(self._held)


def rows_in(dataset: Any) -> Any:
    """What to read instead of a dataset whose items are not its rows; any other dataset is returned as it is.

    A row of a table is a mapping. An array of one dimension holds values, one with named fields mappings, and one of
    more dimensions arrays.
    """
    if isinstance(dataset, type):
        return dataset
    if _can(dataset, "iter_rows") and hasattr(dataset, "columns"):
        return Rows(dataset, _of_polars)
    if _can(dataset, "itertuples") and hasattr(dataset, "columns"):
        return Rows(dataset, _of_pandas)
    if _can(dataset, "to_pylist", "slice"):
        return Rows(dataset, _of_arrow)
    if _can(dataset, "tolist") and hasattr(dataset, "dtype") and getattr(dataset, "ndim", 0) > 0:
        return Rows(dataset, _of_array)
    return dataset


def _can(dataset: Any, *methods: str) -> bool:
    return all(callable(getattr(dataset, name, None)) for name in methods)


def _of_polars(frame: Any) -> Iterator[Any]:
    return iter(frame.iter_rows(named=True))


def _of_pandas(frame: Any) -> Iterator[Any]:
    names = list(frame.columns)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"the table has several columns called {twice[0]!r}")
    for values in frame.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))


def _of_arrow(table: Any) -> Iterator[Any]:
    for start in range(0, len(table), _CHUNK):
        yield from table.slice(start, _CHUNK).to_pylist()


def _of_array(array: Any) -> Iterator[Any]:
    names = getattr(array.dtype, "names", None)
    for item in array:
        if getattr(item, "ndim", None) != 0:
            yield item  # a part of an array of more dimensions, or a value of Python already
        elif names:
            yield dict(zip(names, item.tolist(), strict=True))
        else:
            yield item.tolist()
