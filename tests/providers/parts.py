"""What an exception holds, for tests: texts, wherever they are, and what led to it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import httpx
import httpx2
import pydantic


def is_no_circle(error: BaseException | None, above: tuple[BaseException, ...] = ()) -> bool:
    """Whether causes and contexts end somewhere."""
    if error is None:
        return True
    if any(error is each for each in above):
        return False
    return all(is_no_circle(each, (*above, error)) for each in (error.__cause__, error.__context__))


def parts_of(value: object, place: str = "error", seen: set[int] | None = None) -> Iterator[tuple[str, str]]:
    """All text that is somewhere in an exception, with where it is; what led to it, and what that keeps, included."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    match value:
        case str():
            yield place, value
        case bytes():
            yield place, value.decode("latin-1")
        case BaseException():
            yield f"str({place})", str(value)
            yield f"repr({place})", repr(value)
            for name in ("args", "__cause__", "__context__", "__notes__", "__dict__", "object", "doc"):
                yield from parts_of(getattr(value, name, None), f"{place}.{name}", seen)
            try:
                yield f"pickled {place}", pickle.dumps(value).decode("latin-1")
            except Exception:  # it cannot be pickled, so nobody does
                return
        case pydantic.BaseModel() | httpx2.Headers() | httpx.Headers():
            yield from parts_of(dict(value), place, seen)
        case httpx2.Request() | httpx.Request() | httpx2.Response() | httpx.Response():
            yield from parts_of({**vars(value), "extensions": None}, place, seen)
        case httpx2.URL() | httpx.URL():
            yield place, str(value)
        case dict():
            for name, held in value.items():
                yield from parts_of(name, place, seen)
                yield from parts_of(held, f"{place}[{name!r}]", seen)
        case list() | tuple() | set():
            for index, held in enumerate(value):
                yield from parts_of(held, f"{place}[{index}]", seen)
        case _:
            yield place, repr(value)
