"""``Keyword``: a keyword argument that is declared once, as a field of a ``TypedDict``.

A field says its type to the type checkers, by ``**options: Unpack[...]``, and the rest in a `Keyword`. From both come
the defaults, the checks, and what readers see: `takes` writes the signature and the section ``Args`` of a class.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, TypeAlias, TypeVar, cast, get_args, get_origin, get_type_hints

KindT = TypeVar("KindT", bound=type)
DeclarationT = TypeVar("DeclarationT")
Check: TypeAlias = Callable[[Any], object]
"""Raises ``ValueError("must be ...")`` for a value that cannot be meant."""

_WIDTH = 116
_INDENT = "    "
_RAISES = "\n\nRaises:\n"
_DECLARATION = "__declaration__"


class Keyword:
    """What a keyword argument is, besides its type.

    Args:
        doc: What it means, for the reader.
        default: What holds where it is not given.
        check: Looks at a value.
        operational: Whether it is only about how work is done: no answer of a model depends on it.
    """

    def __init__(
        self, doc: str, default: object = None, check: Check | None = None, *, operational: bool = False
    ) -> None:
        self.doc = doc
        self.default = default
        self.operational = operational
        self._check = check

    def check(self, name: str, value: object) -> None:
        """Raise ValueError if `value` cannot be meant."""
        if self._check is not None:
            check_argument(name, value, self._check)


def check_argument(name: str, value: object, check: Check) -> None:
    """Raise a ValueError that names the argument if its value cannot be meant."""
    try:
        check(value)
    except ValueError as exc:
        raise ValueError(f"{name} {exc}, not {value!r}") from None
    except TypeError:
        raise ValueError(f"{name} cannot be {value!r}") from None


# ---------------------------------------------------------------- what is declared


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a declaration.

    Args:
        type: What type checkers see.
        keyword: The rest.
        before: What else stands in its annotation, before the keyword.
    """

    type: Any
    keyword: Keyword
    before: tuple[Any, ...]


def fields_of(declaration: type, passed_on: type | None = None) -> dict[str, Field]:
    """The keywords that a ``TypedDict`` declares, by name.

    Args:
        declaration: The ``TypedDict``.
        passed_on: Another one, whose keywords are somebody else's and left out.
    """
    others = {} if passed_on is None else _read(passed_on)
    return {name: field for name, field in _read(declaration).items() if name not in others}


@cache
def _read(declaration: type) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for name, hint in get_type_hints(declaration, include_extras=True).items():
        type_, *before, keyword = get_args(hint) if get_origin(hint) is Annotated else (hint, None)
        if not isinstance(keyword, Keyword):
            raise TypeError(f"{declaration.__name__}.{name} is not declared as Annotated[..., Keyword(...)]")
        found[name] = Field(type_, keyword, tuple(before))
    return found


def operational_names(kind: type) -> frozenset[str]:
    """Of what a class and its bases are declared to take, the names of what no answer of a model depends on."""
    declared = (vars(each).get(_DECLARATION) for each in kind.__mro__)
    return frozenset(
        name
        for declaration in declared
        if declaration is not None
        for name, field in _read(declaration).items()
        if field.keyword.operational
    )


def completed(
    declaration: type[DeclarationT], given: Mapping[str, Any], passed_on: type | None = None
) -> tuple[DeclarationT, dict[str, Any]]:
    """The keywords of a declaration, checked, with the defaults of those that are not given; and the others.

    Args:
        declaration: The ``TypedDict``.
        given: Keyword arguments.
        passed_on: The keywords in it that belong to the others.

    Raises:
        ValueError: A value cannot be meant.
    """
    own = fields_of(declaration, passed_on)
    values = {name: given.get(name, field.keyword.default) for name, field in own.items()}
    for name, value in values.items():
        own[name].keyword.check(name, value)
    return cast(DeclarationT, values), {name: value for name, value in given.items() if name not in own}


# ---------------------------------------------------------------- what readers see


def takes(declaration: type, passed_on: type | None = None, **defaults: object) -> Callable[[KindT], KindT]:
    """Give a class the signature and the documentation of the keywords that its ``__init__`` takes with ``**``.

    What the section ``Args`` of the docstring says itself is not said again. A section ``Raises`` that is not there is
    that of the base.

    Args:
        declaration: The ``TypedDict`` in which they are declared.
        passed_on: Those in it that are documented elsewhere; its own docstring says what they are.
        defaults: Defaults that are others here.
    """
    own = fields_of(declaration, passed_on)

    def declare(kind: KindT) -> KindT:
        init = vars(kind)["__init__"]
        signature = inspect.signature(init)
        *parameters, others = signature.parameters.values()
        parameters += [
            inspect.Parameter(
                name, others.KEYWORD_ONLY, default=defaults.get(name, field.keyword.default), annotation=field.type
            )
            for name, field in own.items()
        ]
        docs = {name: field.keyword.doc for name, field in own.items()}
        if passed_on is not None:
            parameters.append(others)
            docs[others.name] = passed_on.__doc__ or ""
        vars(init)["__signature__"] = signature.replace(parameters=parameters)
        setattr(kind, _DECLARATION, declaration)
        if kind.__doc__:
            kind.__doc__ = _with_args(inspect.cleandoc(kind.__doc__), docs, inspect.getdoc(kind.__base__) or "")
        return kind

    return declare


def _with_args(text: str, docs: Mapping[str, str], base: str) -> str:
    """A docstring in the style of Google, with entries added to its section ``Args``."""
    if _RAISES not in text:
        text += "".join(base.partition(_RAISES)[1:])
    text, raises, errors = text.partition(_RAISES)
    told, args, entries = text.partition("\n\nArgs:\n")
    said = set(re.findall(rf"^{_INDENT}(\w+):", entries, re.MULTILINE))
    lines = [
        textwrap.fill(
            " ".join(f"{name}: {doc}".split()),
            _WIDTH,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT * 2,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, doc in docs.items()
        if name not in said
    ]
    return "".join([told, args or "\n\nArgs:\n", "\n".join([*([entries] if entries else []), *lines]), raises, errors])


# ---------------------------------------------------------------- what a class takes


def names_taken(factory: Callable[..., object]) -> set[str]:
    """The names of what it takes; where a class passes keywords on to its base, those of the base as well."""
    if not isinstance(factory, type):
        return set(inspect.signature(factory).parameters)
    found: set[str] = set()
    for kind in factory.__mro__:
        if "__init__" in vars(kind):
            parameters = inspect.signature(kind).parameters.values()
            found.update(parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD)
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
                break
    return found


def names_needed(factory: Callable[..., object]) -> set[str]:
    """The names of what has to be given to it."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a signature that says too little
        return set()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {each.name for each in parameters if each.default is each.empty and each.kind in by_name}


def unexpected(kind: type, names: Collection[str]) -> TypeError:
    """The error for keyword arguments that a class does not take, with those that may have been meant."""
    return _unexpected(kind.__name__, names, names_taken(kind))


def unexpected_in_setup(kind: type, names: Collection[str], known: Collection[str]) -> TypeError:
    """The error for keyword arguments that ``setup()`` of a provider does not take.

    Args:
        kind: The provider's class.
        names: Those that it does not take.
        known: Those that it does.
    """
    of_all = sorted(names_taken(kind).intersection(names))
    if of_all:
        return TypeError(
            f"{kind.__name__}.setup() has no keyword argument {', '.join(of_all)}: that is the same for all models of "
            f"the provider, so it is given to {kind.__name__}(...)"
        )
    return _unexpected(f"{kind.__name__}.setup()", names, known)


def unexpected_in_request(model: str, names: Collection[str], known: Collection[str]) -> TypeError:
    """The error for keyword arguments of a request that the SDK does not take, with those that may have been meant.

    Args:
        model: Whom it asks.
        names: Those that it does not take.
        known: Those that it does.
    """
    body = ", ".join(f"{name!r}: ..." for name in sorted(names))
    error = _unexpected(f"a request to '{model}'", names, known)
    return TypeError(f"{error}\nWhat the server knows and the SDK does not is given as extra_body={{{body}}}.")


def _unexpected(who: str, names: Collection[str], known: Collection[str]) -> TypeError:
    from difflib import get_close_matches  # noqa: PLC0415  # only for a message

    meant = [name for wrong in sorted(names) for name in get_close_matches(wrong, sorted(known))]
    advice = f"did you mean {' or '.join(meant)}?" if meant else f"there are {', '.join(sorted(known))}"
    return TypeError(f"{who} has no keyword argument {', '.join(sorted(names))}; {advice}")


# ---------------------------------------------------------------- checks


def seconds(value: object) -> None:
    """A number of seconds, and not `None`."""
    if not as_number(value) >= 0:
        raise ValueError("is a number of seconds, 0 or more")


def seconds_or_none(value: object) -> None:
    """A number of seconds; or `None`, where that means something."""
    if value is not None:
        seconds(value)


def more_than_zero_or_none(value: object) -> None:
    """A number of seconds that is not 0; or `None`, where that means something."""
    if value is not None and not as_number(value) > 0:
        raise ValueError("is a number of seconds, more than 0, or None for never")


def as_number(value: object) -> float:
    """A number; "not a number" where it is none, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        return math.nan
    try:
        return float(value)
    except (OverflowError, ValueError):
        return math.nan


def at_least(least: int, or_none: str = "") -> Check:
    """A whole number of at least `least`; or `None`, if `or_none` says what it means."""

    def check(value: object) -> None:
        if value is None and or_none:
            return
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
            raise ValueError(f"must be a whole number of at least {least}{f', or None {or_none}' if or_none else ''}")

    return check


def function_or_none(value: object) -> None:
    """Something that can be called."""
    if value is not None and not callable(value):
        raise ValueError("must be a function")


def switch_or_none(value: object) -> None:
    """On, off, or `None`."""
    if value is not None and not isinstance(value, bool):
        raise ValueError("must be True, False or None")


def text(value: object) -> None:
    """A text, which may be empty."""
    if not isinstance(value, str):
        raise ValueError("must be a text")


def texts_or_none(value: object) -> None:
    """A mapping of texts to texts."""
    if value is not None and not (
        isinstance(value, Mapping)
        and all(isinstance(each, str) for pair in cast(Mapping[object, object], value).items() for each in pair)
    ):
        raise ValueError("must be a mapping of texts to texts, such as {'NAME': 'value'}")


def path_or_none(value: object) -> None:
    """A path that is not empty."""
    path = os.fsdecode(cast(str, value)) if isinstance(value, (str, os.PathLike)) else ""
    if value is not None and not path:
        raise ValueError("must be a path")


def mapping_or_none(value: object) -> None:
    """A mapping by names."""
    if value is not None and not (
        isinstance(value, Mapping) and all(isinstance(each, str) for each in cast(Mapping[object, object], value))
    ):
        raise ValueError("must be a mapping by names, such as {'temperature': 0}")


def instance_or_none(kind: type, what: str) -> Check:
    """An instance of a class, which is called `what`."""

    def check(value: object) -> None:
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"must be {what}")

    return check
