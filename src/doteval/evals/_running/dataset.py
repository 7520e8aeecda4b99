"""Reads a dataset lazily, a row at a time, whatever it is."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, replace
from types import FunctionType, MethodType
from typing import Any, TypeAlias, cast

from anyio.lowlevel import checkpoint

from .._digests import Looks, Parts, fingerprint, module_of
from .._errors import DatasetError
from .._files import Lines
from .._identity.code import read
from .._identity.library import is_library_class, is_library_file, is_library_module
from .._identity.looks import attribute_of, attributes_of, class_of, qualified, type_name
from .._identity.members import arguments_of
from .._identity.rows import called_alike, found_in_rows, held_by_function
from .._identity.special import parts_of
from .._identity.templates import held_by_template, is_environment, without_defaults
from .._identity.walk import Walk
from .._kinds import ByKind
from .._results.plain import plain, says_nothing
from .._results.record import Inputs, key_of_id
from .blocking import in_own_thread, read_in_thread
from .frames import Rows as TableRows
from .frames import rows_in
from .fresh import Copies

Rows: TypeAlias = Iterable[Any] | AsyncIterable[Any]
Dataset: TypeAlias = Rows | Callable[[], Rows | Awaitable[Rows]]
"""Rows, or what makes them: an iterable, an async iterable, or a function without arguments that returns either.

The rows of a table (a DataFrame of pandas or polars, a table of pyarrow) are its rows, and not its columns.
"""

_CHUNK = 64
"""How much of a dataset is read between two checkpoints."""
_NAME = "id"
"""The column that a row is known by, where there is one, whether the evaluation takes it or not."""
_NAMELESS = object()
_ONCE = "Pass a function that makes it instead, such as the generator function itself, without calling it."


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row of a dataset.

    Args:
        number: Its place, counted from 0.
        values: What the columns hold.
        inputs: The same as it is kept, whatever the evaluation does to the values.
        sample: Which sample of the row it is, counted from 1.
    """

    number: int
    values: Mapping[str, Any]
    inputs: Inputs
    sample: int = 1

    def samples(self, count: int) -> Iterable[Row]:
        """So many samples of it."""
        return (self,) if count == 1 else (replace(self, sample=number) for number in range(1, count + 1))

    def fresh_values(self) -> dict[str, Any]:
        """The values for one attempt: what it puts into its containers is not there in the next."""
        return fresh(self.values)


@dataclass(frozen=True, slots=True)
class Known:
    """A row, or a sample of one, whose result is there already.

    Args:
        row: The row.
        failed: Whether the result is an error.
    """

    row: Row
    failed: bool


def fresh(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values whose containers are copies."""
    copies = Copies()
    return {name: copies.of(value) for name, value in values.items()}


def has_name(inputs: Inputs) -> bool:
    """Whether a row is known by its column ``id``."""
    return inputs.base.startswith(f"{_NAME} ")


def is_repeated(inputs: Inputs) -> bool:
    """Whether a row before it has the same column ``id``."""
    return has_name(inputs) and inputs.key != inputs.base


_SPECIAL = frozenset({"_struct.Struct", "numpy.ufunc"})
"""Classes whose objects ``pickle`` knows by a name, or not at all."""


class _Code(Looks):
    """What is known of functions and classes that are in rows.

    Args:
        dataset: What is read, or makes what is.
    """

    def __init__(self, dataset: object) -> None:
        self._dataset = dataset
        self._names: ByKind[str] = ByKind()
        self._modules: dict[str, str] = {}
        """Those of the classes that are known by their names alone."""
        self._alike = self._found() if isinstance(dataset, Iterator) else None  # the others are as they were when read

    def name(self, kind: type[Any]) -> str:
        """What a class is called: the user's may move to another module, and so only those of one name have theirs."""
        if kind not in self._names:
            self._names[kind] = super().name(kind) if is_library_class(kind) else self._name_of_users(kind)
        return self._names[kind]

    def _name_of_users(self, kind: type[Any]) -> str:
        if self._alike is None:
            self._alike = self._found()
        module, name = module_of(kind), kind.__qualname__
        told = self._alike.get((module, name))
        if told is None:  # one that only the rows tell of may come
            told = "" if self._modules.setdefault(name, module) == module else module
        return f"{told}.{name}"

    def _found(self) -> Mapping[tuple[str, str], str]:
        return called_alike(found_in_rows(self._dataset).classes)

    def is_library(self, kind: type[Any]) -> bool:
        """Whether a class is not the user's own."""
        return is_library_module(kind.__module__)

    def of(self, value: object) -> str:
        """A fingerprint."""
        return Walk(follows_classes=False).digest(value)

    def known(self, value: Any, kind: type[Any]) -> str | Parts | None:
        """What a function does and holds; what it reads counts as what the evaluation reads does."""
        if issubclass(kind, type) and not is_library_class(value):
            return Parts(f"class {self.name(value)}", arguments_of(value))
        if kind is MethodType and getattr(class_of(value.__self__), value.__name__, None) is not value.__func__:
            return Parts("made a method", (value.__func__, value.__self__))
        if is_environment(kind):
            return Parts(self.name(kind), (without_defaults(value, attributes_of(value)),))
        template = held_by_template(value, kind)
        if template is not None:
            return Parts(type_name(kind), template)
        if type_name(kind) in _SPECIAL:
            return Parts(type_name(kind), parts_of(value, kind) or ())
        if kind is not FunctionType:
            wrapped = attribute_of(value, "__wrapped__") if callable(value) and self.is_library(kind) else None
            return Parts(f"wrapped {type_name(kind)}", (wrapped,)) if callable(wrapped) else None
        code = value.__code__
        does = qualified(value) if is_library_file(code.co_filename) else f"{value.__qualname__} {read(code).does}"
        return Parts(f"function {does}", held_by_function(value))


def _is_empty(name: object) -> bool:
    """Whether a column ``id`` holds nothing, as in an empty cell; then the row is known by its values."""
    return not name.strip() if isinstance(name, str) else says_nothing(plain(name))


class _Keys:
    """Tells what rows are known by, in the order in which they are read.

    The first row of an id is known by that, so an edited one is the same row; those after it are by their values, too.

    Args:
        dataset: What is read, or makes what is.
    """

    def __init__(self, dataset: object) -> None:
        self._code = _Code(dataset)
        self._seen: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        """The values of the first row of each id."""

    def inputs(self, number: int, values: Mapping[str, Any], name: object) -> Inputs:
        """The values of a row as they are kept, with its key.

        Args:
            number: The row's place.
            values: What its columns hold.
            name: What its column ``id`` holds, or `_NAMELESS`.
        """
        inputs = Inputs(number, values, fingerprint(values, self._code))
        digest = inputs.digest
        if name is not _NAMELESS and not _is_empty(name):
            inputs.base = inputs.key = key_of_id(name, self._code)
            inputs.name = str(name) if isinstance(name, (str, int, float)) else None
            of_values, inputs.unknown = inputs.unknown, fingerprint(name, self._code).unknown
            if inputs.base not in self._first:
                self._first[inputs.base] = digest
                return inputs
            inputs.key, inputs.again = f"{inputs.base} {digest}", int(self._first[inputs.base] == digest)
            if inputs.again or inputs.key in self._seen:
                inputs.unknown = inputs.unknown or of_values
        count = self._seen[inputs.key]
        self._seen[inputs.key] += 1
        inputs.again += count
        inputs.key += f" {count + 1}" if count else ""
        return inputs


class Source:
    """A dataset that is read as often as it is needed.

    Args:
        evaluation: The evaluation's name, for messages.
        columns: What the values of a row are called.
        dataset: The rows.
    """

    def __init__(self, evaluation: str, columns: tuple[str, ...], dataset: Dataset) -> None:
        self._evaluation = evaluation
        self._columns = columns
        self._dataset: Any = rows_in(dataset)
        self._used = False
        given: object = self._dataset
        if isinstance(given, (str, bytes, Mapping)) or not (callable(given) or _is_rows(given)):
            raise TypeError(
                f"the dataset of '{evaluation}' is an iterable of rows, an async iterable, or a function without "
                f"arguments that returns one, not a {type(dataset).__name__}"
            )

    @property
    def size(self) -> int | None:
        """How many rows there are, where that can be known without reading them."""
        try:
            return len(self._dataset)
        except Exception:  # of a stream it may raise anything, where `for` reads it
            return None

    @property
    def can_be_read_once(self) -> bool:
        """Whether it is an iterator: what was read of it before is gone."""
        return hasattr(self._dataset, "__next__") or hasattr(self._dataset, "__anext__")

    @property
    def origin(self) -> str:
        """Where to look if it is not what it should be."""
        return str(self._dataset.path) if isinstance(self._dataset, Lines) else "what makes the dataset"

    @property
    def function(self) -> Callable[..., object] | None:
        """What makes the rows, where the dataset is a function."""
        return None if _is_rows(self._dataset) else cast("Callable[..., object]", self._dataset)

    @property
    def dataset(self) -> object:
        """What is read, or makes what is."""
        return self._dataset

    @property
    def is_at_hand(self) -> bool:
        """Whether all rows are there, in memory or in a file, and none is still to be made, as of another's result."""
        return type(self._dataset) in (list, tuple, range) or isinstance(self._dataset, (TableRows, Lines))

    def look(self) -> Iterator[Row] | None:
        """Read it without an event loop; `None` where that cannot be, or could not be done again afterwards."""
        rows = cast("object", self._dataset)
        function = self.function
        if function is not None:
            if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                return None
            rows = function()
            if inspect.iscoroutine(rows):
                rows.close()
            rows = rows_in(rows)
        elif isinstance(rows, Iterator) or (isinstance(rows, Lines) and not rows.path.is_file()):  # a pipe, for one
            return None
        if not isinstance(rows, Iterable):
            return None
        keys, values = _Keys(self._dataset), cast("Any", rows)
        return (self._row(number, value, keys) for number, value in enumerate(values))

    async def read(self) -> AsyncGenerator[Row]:
        """Read it, a row at a time; a plain iterable that is no sequence is read in a thread of its own.

        Raises:
            DatasetError: A row does not fit the columns, the dataset can only be read once and was, or it is in a file
                that cannot be read.
        """
        try:
            rows, keys = await self._rows(), _Keys(self._dataset)
            number = 0
            if isinstance(rows, AsyncIterable):
                async with _closing(rows):  # also where the run ends early
                    async for value in rows:
                        yield self._row(number, value, keys)
                        number += 1
            elif isinstance(rows, Sequence):
                for value in rows:
                    if number % _CHUNK == 0:
                        await checkpoint()
                    yield self._row(number, value, keys)
                    number += 1
            else:
                async with aclosing(read_in_thread(rows)) as values:
                    async for value in values:
                        yield self._row(number, value, keys)
                        number += 1
        except DatasetError as exc:
            if exc.evaluation:
                raise
            raise DatasetError(self._evaluation, exc.problem, exc.advice, exc.row) from exc

    async def _rows(self) -> Rows:
        dataset: Any = self._dataset
        if not _is_rows(dataset):
            is_async = inspect.iscoroutinefunction(dataset) or inspect.isasyncgenfunction(dataset)
            dataset = dataset() if is_async else await in_own_thread(dataset)
            if inspect.isawaitable(dataset):
                dataset = await dataset
            dataset = rows_in(dataset)
            if not _is_rows(dataset):
                raise DatasetError(
                    self._evaluation,
                    f"the function that makes it returned a {type(dataset).__name__}",
                    "Return an iterable or an async iterable of rows.",
                )
        elif self.can_be_read_once:
            if self._used:
                raise DatasetError(self._evaluation, "it is an iterator, and was read before", _ONCE)
            self._used = True
        rows: Rows = dataset
        return rows

    def _row(self, number: int, value: Any, keys: _Keys) -> Row:
        values = self._values(number, value)
        given = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else values
        return Row(number, values, keys.inputs(number, values, given.get(_NAME, _NAMELESS)))

    def _values(self, number: int, value: Any) -> Mapping[str, Any]:
        columns = self._columns
        if len(columns) > 1 and getattr(value, "ndim", None) == 1:
            value = value.tolist()  # a row of an array
        if isinstance(value, Mapping):
            fields = cast("Mapping[object, Any]", value)
            missing = [name for name in columns if name not in fields]
            if missing:
                raise self._unfit(number, f"has no {_listed(missing)}; it has {_listed(map(str, fields))}")
            return {name: fields[name] for name in columns}
        if isinstance(value, tuple) or (len(columns) > 1 and isinstance(value, list)):
            cells = cast("Sequence[Any]", value)
            if len(cells) != len(columns):
                raise self._unfit(number, f"has {len(cells)} values for {len(columns)} columns")
            return dict(zip(columns, cells, strict=True))
        if len(columns) != 1:
            raise self._unfit(number, f"is a single {type(value).__name__} for {len(columns)} columns")
        return {columns[0]: value}

    def _unfit(self, number: int, problem: str) -> DatasetError:
        return DatasetError(
            self._evaluation,
            f"row {number} {problem}",
            f"Its columns are {_listed(self._columns)}: give each row as a tuple in that order, or as a mapping.",
            number,
        )


def _closing(rows: AsyncIterable[Any]) -> AbstractAsyncContextManager[object]:
    if inspect.isasyncgen(rows):
        return aclosing(rows)
    return nullcontext()


def _is_rows(value: object) -> bool:
    return isinstance(value, (Iterable, AsyncIterable))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"
