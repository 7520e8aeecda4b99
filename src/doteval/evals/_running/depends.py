"""What the results of an evaluation depend on: its code, its model, its arguments."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from inspect import ismethod
from pathlib import Path
from typing import Any, cast

from ... import ModelProviders
from .._identity.code import read, says_where, texts_in
from .._identity.library import is_library_file, project_of
from .._identity.looks import class_of, has_more, own_text_of, type_name
from .._identity.walk import Bound, Walk
from .._results.identity import NO_RANGES, PYTHON, Identity
from .declared import Contents, Declared
from .evaluation import Evaluation
from .files_read import FilesRead

_MODEL = "the model"
_NOTHING = object()
"""The default of an argument that the evaluation takes without naming it."""


def identity_of(
    evaluation: Evaluation,
    *,
    models: Mapping[str, Mapping[str, Any]],
    values: Iterable[tuple[str, object]] = (),
    functions: Iterable[tuple[str, object]] = (),
    where_read: Iterable[tuple[Collection[str], str, object]] = (),
    declared: Declared | None = None,
    bound: Bound | None = None,
) -> Identity:
    """Fingerprints of all that the results of an evaluation depend on.

    Args:
        evaluation: The evaluation.
        models: What is known of its models without opening them, by what they are called.
        values: What else it is given, by what it is called.
        functions: What makes what else it is given.
        where_read: What counts where code reads one of some attributes: these, what it is called, and what it is.
        declared: What the user says that they depend on, where that is more than the evaluation itself says.
        bound: What variables were bound to when it was looked first: it is filled then.
    """
    with _telling(evaluation):
        walk = Walk(project=project_of(evaluation.function), bound=bound)
        walk.show(PYTHON, sys.implementation.cache_tag or sys.implementation.name)
        if not says_where(evaluation.function):
            walk.show(NO_RANGES, "1")
        walk.add_function("its code", evaluation.function)
        if evaluation.instance is not None:
            walk.add("what it is a method of", evaluation.instance)
        if evaluation.source.function is not None:
            walk.add_function_of_rows("the function that makes the dataset", evaluation.source.function)
        else:
            walk.add_rows(evaluation.source.dataset)
        for name, settings in models.items():
            walk.add_settings(name, settings)
        for name, value in (*values, *(declared or evaluation.declared).others):
            walk.add(name, value)
        for name, function in functions:
            walk.add_function(name, function, makes=True)
        for attributes, name, value in where_read:
            if walk.reads(attributes):
                walk.add(name, value)
        return walk.parts


@contextmanager
def _telling(evaluation: Evaluation) -> Generator[None]:
    """Whatever is raised says what it was raised for."""
    try:
        yield
    except BaseException as exc:
        exc.add_note(f"This was raised while doteval found out what the results of '{evaluation.name}' depend on.")
        raise


def contents_of(evaluation: Evaluation, declared: Declared, store: Path | None) -> Contents | None:
    """What the files and directories hold that the user says results depend on; `None` where there are none.

    Args:
        evaluation: The evaluation.
        declared: What the user says.
        store: Where results are kept, which is no part of a directory.
    """
    return Contents(declared, evaluation.name, project_of(evaluation.function), store) if declared.paths else None


def files_of(
    function: object, others: Callable[[], Iterable[FilesRead]] = tuple, before: FilesRead | None = None
) -> FilesRead:
    """What notes the files that are read for an evaluation's function, or for a fixture's.

    Args:
        function: The function, of whose project they are.
        others: Gives what notes other files that it depends on.
        before: What has noted those of the same function when it was called before.
    """
    return FilesRead(project_of(function), others, before)


def fingerprints(evaluation: Evaluation, values: Mapping[str, object]) -> Identity:
    """Fingerprints of values that an evaluation is given, by what they are called."""
    with _telling(evaluation):
        walk = Walk(project=project_of(evaluation.function))
        for name, value in values.items():
            walk.add(name, value)
        return walk.parts


def texts_beside(attribute: str, function: object) -> list[str] | None:
    """The texts in a function of the user's; `None` where it does not read that attribute of anything."""
    code = getattr(function, "__code__", None)
    if code is None or is_library_file(code.co_filename):
        return None
    known = read(code)
    return [*texts_in(code.co_consts)] if attribute in known.attributes | known.own_attributes else None


def identity_of_run(
    evaluation: Evaluation,
    argument: str | None,
    model: Any,
    arguments: Mapping[str, object],
    declared: Declared | None = None,
    bound: Bound | None = None,
) -> Identity:
    """The same, of what `run` is given.

    Args:
        evaluation: The evaluation.
        argument: The argument that gets the model, where there is one.
        model: The model, what leases it, or its spec.
        arguments: The other arguments.
        declared: What the user says that the results depend on, where that is more than the evaluation itself says.
        bound: What variables were bound to when it was looked first; see `identity_of`.
    """
    models: dict[str, Mapping[str, Any]] = {}
    defaults = {name: parameter.default for name, parameter in evaluation.arguments.items()}
    values: list[tuple[str, object]] = [
        (f"the argument '{name}'", _with_its_state(value))
        for name, value in arguments.items()
        if value is not defaults.get(name, _NOTHING) and not _is_same_text_or_number(value, defaults.get(name))
    ]
    if argument is not None:
        known = _known_of(model)
        if known is None:
            values.append((_MODEL, model))
        else:
            models[_MODEL] = known
    return identity_of(evaluation, models=models, values=values, declared=declared, bound=bound)


def _with_its_state(value: object) -> object:
    """A value; of what makes random numbers, its state, which is that of its seed as long as nobody has asked it."""
    kind = class_of(value)
    if issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom):
        return type_name(kind), cast("random.Random", value).getstate()
    if kind.__module__.startswith("numpy.random"):
        generator: Any = getattr(value, "bit_generator", getattr(value, "_bit_generator", value))
        return type_name(kind), generator.state
    return value


def _is_same_text_or_number(one: object, other: object) -> bool:
    """Whether nothing tells one from the other; 0.0 and -0.0 are only equal, and NaN is not even that."""
    kind = class_of(one)
    is_told = kind is class_of(other) and isinstance(one, (str, int, float))
    return is_told and own_text_of(one, kind) == own_text_of(other, kind) and not (has_more(one) or has_more(other))


def spec_of(model: Any) -> str:
    """What a model is called that `run` is given; nothing where it has no name."""
    if isinstance(model, str):
        return model
    known = _known_of(model)
    spec = None if known is None else known.get("spec")
    return spec if isinstance(spec, str) else ""


def _known_of(model: Any) -> Mapping[str, Any] | None:
    """What is known of a model without opening it; `None` where it is a value like any other."""
    if isinstance(model, str):
        return ModelProviders().identity(model)
    given: object = model
    if isinstance(given, partial):
        return _known_of_setup(model)
    identity = getattr(type(given), "__doteval_identity__", None)
    return None if identity is None else cast("Mapping[str, Any]", identity(model))


def _known_of_setup(leases: Any) -> Mapping[str, Any] | None:
    """The same, of ``partial(provider.setup, ...)``."""
    if not ismethod(leases.func) or leases.func.__name__ != "setup":
        return None
    identity = getattr(leases.func.__self__, "identity", None)
    return cast("Mapping[str, Any]", identity(*leases.args, **leases.keywords)) if ismethod(identity) else None
