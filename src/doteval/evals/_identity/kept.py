"""What an object of an installed package is known by that is data: what ``pickle`` would keep of it.

A fitted model, a distribution, an index or an encoder is all that; a client is not, as it has connections, locks and
keys, which are of the moment. Whatever holds something of the moment is itself known by what it says of itself alone.
"""

from __future__ import annotations

import functools
import io
import logging
import random
import re
import types
import weakref
from argparse import Namespace
from collections.abc import Callable, Hashable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum, auto
from itertools import chain
from typing import Any, cast

from .._digests import Looks, Parts, fingerprint
from .._tabular import held_by_table
from .credentials import is_credential
from .library import is_library_class, is_library_file
from .looks import ATOMS, attribute_of, class_of, held_by, maker_of, type_name
from .silence import no_warnings
from .special import is_mock

_PLAIN = (list, tuple, set, frozenset)
_MOST = 200_000
"""How many values that hold others are looked at at most of one object."""
_CLIENTS = frozenset(
    {
        *("_pytest", "aiohttp", "anthropic", "anyio", "asyncio", "boto3", "botocore", "google", "httpcore", "httpx"),
        *("httpx2", "litellm", "mcp", "openai", "pluggy", "pytest", "requests", "socket", "ssl", "starlette"),
        *("subprocess", "threading", "trio", "urllib3"),
    }
)
"""Packages whose objects are of the moment."""
WEIGHTS = frozenset(
    {
        *("flax", "jax", "keras", "llama_cpp", "mlx", "sentence_transformers", "spacy", "tensorflow", "thinc", "torch"),
        *("transformers", "vllm"),
    }
)
"""Packages whose objects may hold more than anybody wants to look at for each run."""
_TELLING = frozenset({"doteval", "jinja2", "pydantic", "pydantic_core"})
"""Packages whose objects say themselves what they are, also where others hold them."""
_SPECIAL = frozenset({"_io.BytesIO", "_io.StringIO", "xml.etree.ElementTree.Element"})
"""Classes whose objects are known by all of what they hold at once."""
_APPLICATIONS = ("starlette.applications", "starlette.routing", "starlette.middleware", "starlette.datastructures")
"""What a client's package has besides clients."""
_GENERATORS = ("numpy.random",)
_PASSING: Mapping[str, frozenset[str]] = {
    "argparse": frozenset({"prog"}),  # the name of the program
    "ipywidgets": frozenset({"_model_id"}),
    "fastapi": frozenset({"_openapi_routes_version", "middleware_stack", "openapi_schema"}),
    "scipy": frozenset({"_has_canonical_format", "_has_sorted_indices"}),
    "starlette": frozenset({"_routes_version", "middleware_stack"}),
    "statsmodels": frozenset({"_nobs_int", "het_scale"}),
    "attr": frozenset({"options"}),  # of a set, in its order; the set is there as well
    "sklearn": frozenset({"_sklearn_version", "_stop_words_id"}),
}
_MEASURED = re.compile(r"(?:^|_)(?:fit|refit|score|predict)_time_?\Z")
"""What libraries call how long something took."""
_CACHE = re.compile(r"cache|memo(?!r)")
_OF_THE_MOMENT = (
    *("_thread.lock", "_thread.RLock", "_thread._local", "_thread._localdummy", "_io.TextIOWrapper", "_io.FileIO"),
    *("_io.BufferedReader", "_io.BufferedWriter", "_io.BufferedRandom"),
)


class MomentaryError(Exception):
    """Something is of the moment."""


class TooMuchError(Exception):
    """There is more than anybody wants to look at."""


class _Sort(Enum):
    """How objects of a class are known within others."""

    CLASS = auto()
    FUNCTION = auto()
    TELLING = auto()
    """By what is known of them anywhere."""
    MOMENTARY = auto()
    STATE = auto()
    MAPPING = auto()
    SET = auto()
    DATA = auto()


@functools.lru_cache(maxsize=512)
def _sort_of(kind: Any) -> _Sort:
    package = kind.__module__.partition(".")[0]
    if issubclass(kind, type):
        return _Sort.CLASS
    if kind is types.FunctionType:
        return _Sort.FUNCTION
    if is_mock(kind) or type_name(kind) in _SPECIAL or package in _TELLING:
        return _Sort.TELLING
    if not is_library_class(kind) or hasattr(kind, "__doteval_identity__"):
        return _Sort.TELLING
    if _is_of_the_moment(kind) or issubclass(kind, weakref.ReferenceType) or hasattr(kind, "get_secret_value"):
        return _Sort.MOMENTARY
    is_iterator = hasattr(kind, "__next__") and not issubclass(kind, io.IOBase)
    if is_state(kind) or package == "comm" or is_iterator or type_name(kind) == "_json.Scanner":
        return _Sort.STATE
    if not kind.__dictoffset__ and not issubclass(kind, (dict, set, frozenset)):  # in no order that lasts
        if issubclass(kind, Mapping):
            return _Sort.MAPPING
        if issubclass(kind, AbstractSet):
            return _Sort.SET
    return _Sort.DATA


def without_measured(value: Any, kind: type[Any]) -> Any:
    """A table of pandas without columns of how long something took; anything else as it is."""
    if not hasattr(kind, "itertuples"):
        return value
    measured = [name for name in value.columns if is_measured(name, value[name])]
    return value.drop(columns=measured) if measured else value


def is_of_the_moment(kind: type[Any]) -> bool:
    """Whether objects of a class hold something of the moment, or are of what a process has for the moment."""
    return _sort_of(cast("Hashable", kind)) in (_Sort.MOMENTARY, _Sort.STATE)


def is_state(kind: type[Any]) -> bool:
    """Whether a class is of what a process has for the moment, of which nothing counts: the environment, say."""
    if issubclass(kind, logging.Logger):
        return True
    if not is_library_class(kind):
        return False
    if kind.__module__ in ("tempfile", "threading") or type_name(kind) == "os._Environ":
        return True
    return kind.__module__.startswith(_GENERATORS) or issubclass(kind, random.Random)


def is_measured(name: object, value: object) -> bool:
    """Whether a value, by its name, is how long something took, which is never the same."""
    if not isinstance(name, str) or _MEASURED.search(name) is None:
        return False
    return class_of(value) is float or hasattr(class_of(value), "dtype")


def kept_of(
    value: object,
    kind: type[Any],
    describe: Callable[[object], object],
    is_written: Callable[[object], bool],
) -> str | None:
    """A fingerprint of what an object of an installed package is made of; `None` where that is of the moment.

    Args:
        value: The object.
        kind: Its class.
        describe: Says what something is that is no object of a package, or says so itself.
        is_written: Whether code writes something of what a container holds.

    Raises:
        TooMuchError: It holds too much.
    """
    package = kind.__module__.partition(".")[0]
    if package in _TELLING or _is_of_the_moment(kind) or isinstance(attribute_of(value, "_fingerprint"), str):
        return None
    try:
        with no_warnings():
            found = fingerprint(value, _Kept(value, describe, is_written))
    except MomentaryError:
        return None
    return None if found.unknown else found.digest


def _is_of_the_moment(kind: type[Any]) -> bool:
    package = kind.__module__.partition(".")[0]
    if package in WEIGHTS or type_name(kind) in _OF_THE_MOMENT:
        return True
    return package in _CLIENTS and not kind.__module__.startswith(_APPLICATIONS)


class _Kept(Looks):
    """What is known of the parts of an object.

    Args:
        whole: The object.
        describe: Says what else there is.
        is_written: Whether code writes something of what a container holds.
    """

    def __init__(
        self, whole: object, describe: Callable[[object], object], is_written: Callable[[object], bool]
    ) -> None:
        self._whole = whole
        self._describe = describe
        self._is_written = is_written
        self._left = _MOST

    def is_library(self, kind: type[Any]) -> bool:
        return is_library_class(kind)

    def of(self, value: object) -> str:
        raise MomentaryError  # it cannot be taken apart

    def is_passing(self, name: object, value: object, kind: type[Any]) -> bool:
        """Also what a library remembers so as to be faster, and its version."""
        if kind is Namespace:
            return False
        if (
            is_measured(name, value)
            or super().is_passing(name, value, kind)
            or name in _PASSING.get(kind.__module__.partition(".")[0], ())
        ):
            return True
        return class_of(value) not in ATOMS and isinstance(name, str) and _CACHE.search(name) is not None

    def known(self, value: Any, kind: type[Any]) -> str | Parts | None:
        self._left -= 1
        if self._left < 0:
            raise TooMuchError
        if kind in _PLAIN:
            return self._own(value) if self._is_written(value) else None
        if kind is dict:
            held = cast("dict[object, object]", value)
            if any(each is not None and is_credential(name, each) for name, each in held.items()):
                raise MomentaryError
            return self._own(value) if self._is_written(value) else self._mapping(held)
        if value is self._whole:
            return None
        match _sort_of(cast("Hashable", kind)):
            case _Sort.CLASS:
                return type_name(value) if self.is_library(value) else self._own(value)
            case _Sort.FUNCTION:
                return self._function(value)
            case _Sort.TELLING:
                return self._own(value)
            case _Sort.MOMENTARY:
                raise MomentaryError
            case _Sort.STATE:
                return f"state {type_name(kind)}"
            case _Sort.MAPPING:
                return Parts(type_name(kind), chain.from_iterable(value.items()), 2)
            case _Sort.SET:
                return Parts(type_name(kind), value, 1)
            case _Sort.DATA:
                table = held_by_table(value, kind)
                if table is not None:
                    return Parts(f"table {type_name(kind)}", table)
                wrapped = attribute_of(value, "__wrapped__") if callable(value) else None
                return Parts(f"wrapped {type_name(kind)}", (wrapped,)) if callable(wrapped) else None

    def _mapping(self, held: dict[object, object]) -> Parts | None:
        """A mapping without what is of the moment; `None` where there is nothing such in it."""
        left = [pair for pair in held.items() if not is_measured(*pair)]
        return Parts("dict", chain.from_iterable(left), 2) if len(left) < len(held) else None

    def _own(self, value: object) -> str:
        return repr(self._describe(value))

    def _function(self, function: types.FunctionType) -> str | Parts:
        if not is_library_file(function.__code__.co_filename):
            return self._own(function)
        cells = [held_by(cell) for cell in function.__closure__ or ()]
        return Parts(f"made {maker_of(function)}", (attribute_of(function, "__wrapped__"), *cells))
