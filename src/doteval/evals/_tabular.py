"""What tables, arrays and tensors hold, of whichever library: known by what they can do, and not imported."""

from __future__ import annotations

import sys
from hashlib import blake2b
from typing import Any

from ._kinds import known_by_kind

_TABLES = ("pandas", "polars", "pyarrow")
_NUMBERS = "biufcmM"
"""The kinds of NumPy's data whose bytes are their values."""
_GROUPED = ("as_index", "dropna", "group_keys", "observed", "sort")
_OF_PANDAS = b"pandas"
"""Under this, pyarrow notes versions of libraries."""


def number_or_text_of(value: Any) -> Any:
    """The number or text of Python that a single value of NumPy's is; `None` where it is none."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic) or value.dtype.kind not in "biufcUS":
        return None
    item = value.item()
    return item if type(item) in (bool, int, float, complex, str, bytes) else None


def held_by_table(value: Any, kind: type[Any]) -> tuple[Any, ...] | None:
    """What a table, an array or a part of one holds, so that it tells it from others; `None` for anything else."""
    match _library_of(kind):
        case "pandas":
            return _of_pandas(value, kind)
        case "polars":
            return _of_polars(value, kind)
        case "pyarrow":
            return _of_arrow(value, kind)
        case _:
            return _of_array(value) if hasattr(kind, "dtype") and hasattr(kind, "shape") else None


def objects_in_table(value: Any, kind: type[Any]) -> tuple[Any, ...] | None:
    """What a table or an array holds that is no plain value; `None` for anything else."""
    library = _library_of(kind)
    if library == "pandas":
        if hasattr(kind, "ngroups"):
            return (value.obj,)
        if hasattr(kind, "itertuples"):
            columns = [value.iloc[:, place] for place in range(value.shape[1])]
            return tuple(column.tolist() for column in columns if column.dtype == object)
        return (value.tolist(),) if hasattr(kind, "tolist") and value.dtype == object else ()
    if library is not None:
        return ()
    if not hasattr(kind, "dtype") or not hasattr(kind, "shape"):
        return None
    return (value.tolist(),) if getattr(value.dtype, "hasobject", False) else ()


def columns_of(value: Any, kind: type[Any]) -> dict[str, Any] | None:
    """The columns of a table, by their names; `None` for anything else, and where two are called the same."""
    if _library_of(kind) not in ("pandas", "polars") or not hasattr(kind, "columns"):
        return None
    found = {str(name): value[name] for name in value.columns}
    return {"": getattr(value, "index", None), **found} if len(found) == len(value.columns) else None


@known_by_kind
def _library_of(kind: Any) -> str | None:
    for each in kind.__mro__:
        library: str = each.__module__.partition(".")[0]
        if library in _TABLES:
            return library
    return None


def _of_array(value: Any) -> tuple[Any, ...] | None:
    told = str(value.dtype), [*value.shape]
    if getattr(value.dtype, "kind", "") in _NUMBERS and hasattr(value, "tobytes") and not hasattr(value, "mask"):
        return *told, blake2b(value.tobytes()).digest()
    return (*told, value.tolist()) if hasattr(value, "tolist") else None


def _of_pandas(value: Any, kind: type[Any]) -> tuple[Any, ...] | None:
    if hasattr(kind, "ngroups"):
        options = [getattr(value, name, None) for name in _GROUPED]
        return "groups", value.obj, {key: [*map(int, places)] for key, places in value.indices.items()}, options
    if hasattr(kind, "itertuples"):
        columns = [_values(value.iloc[:, place]) for place in range(value.shape[1])]
        return "frame", value.attrs, value.index, value.columns, columns
    if hasattr(kind, "iloc") and hasattr(kind, "dtype"):
        return "series", value.attrs, value.name, value.index, *_values(value)
    if hasattr(kind, "get_level_values"):
        return "index", [*value.names], *_values(value)
    if hasattr(kind, "categories") and hasattr(kind, "ordered") and not hasattr(kind, "tolist"):
        return "categories", value.categories, value.ordered
    return ("values", *_values(value)) if hasattr(kind, "dtype") and hasattr(kind, "tolist") else None


def _values(column: Any) -> tuple[Any, ...]:
    """The type of a column of pandas, and its bytes, or each value."""
    dtype = column.dtype
    if type(dtype).__module__.partition(".")[0] == "numpy" and dtype.kind in _NUMBERS:
        return str(dtype), blake2b(column.to_numpy().tobytes()).digest()
    return dtype if hasattr(dtype, "categories") else str(dtype), column.tolist()


def _of_polars(value: Any, kind: type[Any]) -> tuple[Any, ...] | None:
    if hasattr(kind, "get_columns"):
        return "frame", [(column.name, str(column.dtype), column.to_list()) for column in value.get_columns()]
    if hasattr(kind, "to_list") and hasattr(kind, "dtype"):
        return "series", value.name, str(value.dtype), value.to_list()
    return None


def _of_arrow(value: Any, kind: type[Any]) -> tuple[Any, ...] | None:
    if hasattr(kind, "schema") and hasattr(kind, "columns"):
        fields = [(field.name, str(field.type), field.nullable, field.metadata) for field in value.schema]
        metadata: dict[bytes, bytes] = value.schema.metadata or {}
        more = {key: told for key, told in metadata.items() if key != _OF_PANDAS}
        return "frame", fields, more, [_values_of_arrow(column) for column in value.columns]
    if hasattr(kind, "to_pylist") and hasattr(kind, "type"):
        return "values", str(value.type), _values_of_arrow(value)
    return ("value", str(value.type), value.as_py()) if hasattr(kind, "as_py") else None


def _values_of_arrow(column: Any) -> Any:
    """What a column holds, however it is cut into pieces."""
    if column.null_count or str(column.type).rstrip("0123456789") not in ("int", "uint", "float", "double"):
        return column.to_pylist()
    found, width = blake2b(), column.type.bit_width // 8
    for chunk in getattr(column, "chunks", [column]):
        found.update(memoryview(chunk.buffers()[1])[chunk.offset * width :][: len(chunk) * width])
    return found.digest()
