"""What an exception holds, for tests: texts, wherever they are, and what led to it."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator, Mapping

import httpx
import httpx2
import pydantic

from doteval._chains import all_behind


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


def locals_of(error: BaseException) -> Iterator[tuple[str, str]]:
    """All text in the local variables of frames of ours that an error has come through, and of what led to it.

    Error trackers send them away: what is in a mapping or a list as it is, of all else what its `repr` shows.
    """
    for each in all_behind(error):
        for frame, line in traceback.walk_tb(each.__traceback__):
            module = str(frame.f_globals.get("__name__"))
            if module.partition(".")[0] == "doteval":
                for name, value in frame.f_locals.items():
                    yield from shown_of(value, f"{module}:{line} {frame.f_code.co_name}: {name}", set())


def shown_of(value: object, place: str, seen: set[int]) -> Iterator[tuple[str, str]]:
    if id(value) in seen:
        return
    seen.add(id(value))
    match value:
        case Mapping():
            for name, held in value.items():
                yield from shown_of(name, place, seen)
                yield from shown_of(held, f"{place}[{name!r}]", seen)
        case list() | tuple() | set() | frozenset():
            for held in value:
                yield from shown_of(held, place, seen)
        case _:
            yield place, repr(value)
