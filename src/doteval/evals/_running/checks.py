"""Whether what `run` and `foreach` are given can be meant, before anything is done with it."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from ... import ModelProvider, ModelProviders, ReplyCache, Setup
from .._results.changed import Changed
from .._results.gates import Gate
from .._results.plain import storable
from .._results.store import Store

_CACHE_MODES = ("on", "read", "write", "off")


def whole_number(name: str, value: object, least: int | None) -> int:
    """A whole number, also one of another library.

    Args:
        name: What it is of.
        value: What was given.
        least: How small it may be.

    Raises:
        ValueError: It is none, or less.
    """
    bound = "" if least is None else f", at least {least}"
    if not isinstance(value, bool):
        try:
            number = operator.index(cast("Any", value))
        except TypeError:
            pass
        else:
            if least is None or number >= least:
                return number
    raise ValueError(f"{name} must be a whole number{bound}, not {value!r}")


def whole_number_or_none(name: str, value: object, least: int | None) -> int | None:
    """The same, where nothing need be given."""
    return None if value is None else whole_number(name, value, least)


def seconds_of(name: str, value: object) -> float:
    """A number of seconds.

    Raises:
        ValueError: It is none.
    """
    number: float | None = None
    if not isinstance(value, (bool, str, bytes)):
        try:
            number = float(cast("Any", value))
        except (TypeError, ValueError, OverflowError):
            number = None
    if number is None or not number >= 0:
        raise ValueError(f"{name} must be a number of seconds, 0 or more, not {value!r}")
    return number


def concurrency_of(value: object, *, may_adapt: bool) -> Any:
    """How many rows at once.

    Raises:
        ValueError: That is no number of rows.
    """
    if value is None or (may_adapt and isinstance(value, str) and value == "adaptive"):
        return value
    try:
        return whole_number("concurrency", value, 1)
    except ValueError:
        other = ", or 'adaptive'" if may_adapt else ""
        raise ValueError(f"concurrency must be a number of rows, at least 1{other}, not {value!r}") from None


def arguments_of(given: object) -> Mapping[str, Any]:
    """Arguments of an evaluation, by name.

    Raises:
        TypeError: They are none.
    """
    if given is None:
        return {}
    arguments = cast("Mapping[object, Any]", given)
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in arguments):
        raise TypeError(f"arguments are those of the evaluation by name, such as {{'seed': 3}}, not {given!r}")
    return cast("Mapping[str, Any]", given)


def check_kinds(
    *,
    store: object,
    experiment: object,
    name: object,
    fresh: object,
    changed: object,
    row: object,
    shuffle: object,
    baseline: object,
    allow_new: object,
    cache: object,
    transcripts: object,
    on_record: object,
    tags: object,
    model: object,
) -> None:
    """Each of these arguments of `run` is something that can be meant.

    Raises:
        TypeError: One is of another kind.
        ValueError: One is none of those that there are.
    """
    if isinstance(model, (ModelProvider, ModelProviders, Setup)):
        kind = cast("object", model).__class__.__name__
        raise TypeError(
            f"model= is a {kind}, which is no model: pass a spec, a handle, a model, or "
            "partial(provider.setup, 'gpt-4o')"
        )
    if store is not None and not isinstance(store, (Store, Path, str)):
        raise TypeError(f"store is a doteval.evals.Store, or the path of its file, not {store!r}")
    for label, text in (("experiment", experiment), ("name", name), ("baseline", baseline)):
        if not isinstance(text, str) and not (text is None and label == "name"):
            raise TypeError(f"{label} is a text, not {text!r}")
    for label, flag in (("fresh", fresh), ("shuffle", shuffle), ("allow_new", allow_new), ("transcripts", transcripts)):
        if not isinstance(flag, bool):
            raise TypeError(f"{label} is True or False, not {flag!r}")
    if not isinstance(changed, str) or changed not in get_args(Changed):
        raise ValueError(f"changed is one of {', '.join(map(repr, get_args(Changed)))}, not {changed!r}")
    if row is not None and not isinstance(row, str):
        try:
            whole_number("row", row, None)
        except ValueError:
            raise ValueError(f"row is what the column 'id' of a row holds, or its number, not {row!r}") from None
    is_mode = isinstance(cache, str) and cache in _CACHE_MODES
    if cache is not None and not is_mode and not isinstance(cache, ReplyCache):
        raise ValueError(f"cache is a ReplyCache, or one of {', '.join(map(repr, _CACHE_MODES))}, not {cache!r}")
    if on_record is not None and not callable(on_record):
        raise TypeError(f"on_record is a function that is given a record, not {on_record!r}")
    if inspect.iscoroutinefunction(on_record):
        raise TypeError("on_record is called and not awaited: it must not be an async function")
    if tags is not None and not isinstance(tags, Mapping):
        raise TypeError(f"tags are texts by name, such as {{'branch': 'main'}}, not {tags!r}")


def check_baseline(experiment: str, baseline: str, *, fresh: bool, changed: Changed) -> None:
    """A run does not throw away what it is to be compared with.

    Raises:
        ValueError: It would.
    """
    if storable(baseline) == storable(experiment) and (fresh or changed == "rerun"):
        what = "to start over" if fresh else "to throw away what has changed"
        raise ValueError(
            f"'{experiment}' is the baseline and the experiment of this run, and {what} may cost you the baseline: "
            "name another experiment, or no baseline"
        )


def unused_baseline(baseline: str, gates: Iterable[Gate]) -> str:
    """What is to be said of a baseline with which no gate compares; nothing where one does."""
    if not baseline or any(gate.has_baseline for gate in gates):
        return ""
    return f"no gate compares with the baseline '{storable(baseline)}': write one such as 'exact >= baseline - 0.02'"
