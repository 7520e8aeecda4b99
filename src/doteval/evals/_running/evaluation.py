"""``foreach`` and the ``Evaluation`` that it makes of a function."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

from anyio import CapacityLimiter, to_thread

from .._escapes import raise_cancellation_of_row
from .._files import directory_of
from .._result import EVALUATION, Result
from .._results.gates import Gate, Passes, gates_of
from .checks import concurrency_of, seconds_of, whole_number
from .dataset import Dataset, Source
from .declared import Declared, DependsOn
from .retries import Retries, retries_of


class Evaluation:
    """A function that evaluates one row, with the dataset it is run on; `foreach` makes it.

    Called, it evaluates one row, as the function does. pytest takes it for a test function whose arguments are those
    that are no columns, so marks and fixtures work as always.

    Args:
        function: Evaluates one row.
        columns: The arguments that come from the dataset.
        dataset: The rows.
        concurrency: How many rows at once, where nobody says otherwise.
        gates: What scores have to reach.
        epochs: How many samples of each row, where nobody says otherwise.
        row_timeout: How long an attempt of a row may take, likewise, in seconds; 0: as long as it takes.
        retries: When a row is run again, likewise.
        declared: What its results depend on besides, as the user says.

    Raises:
        TypeError: A column is no argument of the function, or the dataset is none.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        columns: tuple[str, ...],
        dataset: Dataset,
        concurrency: int | None,
        gates: tuple[Gate, ...] = (),
        epochs: int = 1,
        row_timeout: float = 0.0,
        retries: Retries | None = None,
        declared: Declared | None = None,
    ) -> None:
        __tracebackhide__ = True  # what is wrong is in the line that is decorated
        functools.update_wrapper(self, function)
        self.function = function
        self.columns = columns
        self.concurrency = concurrency
        self.gates = gates
        self.epochs = epochs
        self.row_timeout = row_timeout
        self.retries = retries_of(retries)
        self.declared = declared or Declared(Path.cwd(), {})
        self.source = Source(self.name, columns, dataset)
        self._instance: object = None
        signature = inspect.signature(function)
        parameters = signature.parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        unknown = [name for name in columns if name not in parameters]
        if unknown and not takes_any:
            raise TypeError(
                f"{self.name}() has no argument {unknown[0]!r}, which is a column of its dataset; "
                f"it has: {', '.join(parameters) or 'none'}"
            )
        self.__signature__ = signature.replace(
            parameters=[parameter for name, parameter in parameters.items() if name not in columns]
        )

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def instance(self) -> object:
        """What it is bound to as a method, or `None`."""
        return self._instance

    @property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """The arguments that are no columns."""
        parameters = dict(self.__signature__.parameters)
        if self._instance is not None:
            del parameters[next(iter(parameters))]
        return parameters

    @property
    def is_async(self) -> bool:
        """Whether the function is ``async``; one that is not is run in worker threads."""
        return inspect.iscoroutinefunction(self.function)

    def __get__(self, instance: object, owner: type | None = None) -> Self:
        """As a method: the evaluation, bound to the instance."""
        if instance is None:
            return self
        bound = copy.copy(self)
        bound._instance = instance
        return bound

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one row, as the function itself does."""
        if self._instance is not None:
            args = (self._instance, *args)
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Evaluation {self.name} for each {', '.join(self.columns)}>"

    def caller(self, limiter: CapacityLimiter) -> Callable[[Mapping[str, Any]], Awaitable[Result]]:
        """What evaluates one row in an event loop.

        Args:
            limiter: Limits the worker threads of a function that is not ``async``.
        """
        is_async = self.is_async

        async def call(arguments: Mapping[str, Any]) -> Result:
            EVALUATION.set(self.name)
            if is_async:
                value = await self(**arguments)
                await raise_cancellation_of_row()
            else:
                (value,) = await to_thread.run_sync(_in_thread, self, arguments, limiter=limiter)
                if inspect.isawaitable(value):
                    value = await value
            if not isinstance(value, Result):
                raise TypeError(
                    f"{self.name}() returned a {type(value).__name__}: return doteval.Result(output, scores=...)"
                )
            if inspect.isawaitable(value.output):
                return Result(await value.output, value.prompt, value.scores, value.metadata)
            return value

        return call


def _in_thread(function: Callable[..., Any], arguments: Mapping[str, Any]) -> tuple[Any]:
    try:
        return (function(**arguments),)  # trio lets no thread return a coroutine
    except GeneratorExit as exc:  # would end the coroutine that waits for it, not only this call
        raise RuntimeError("the evaluation raised GeneratorExit") from exc


def foreach(
    columns: str | Sequence[str],
    dataset: Dataset,
    *,
    concurrency: int | None = None,
    passes: Passes = (),
    epochs: int = 1,
    row_timeout: float = 0.0,
    retries: Retries | None = None,
    depends_on: DependsOn = (),
) -> Callable[[Callable[..., Any]], Evaluation]:
    """Run a function on every row of a dataset, and keep what it returns.

    For example::

        @foreach("prompt,answer", [("2+2?", "4"), ("3+3?", "6")])
        async def eval_sums(prompt, answer, model_client):
            output = await model_client.generate(prompt)
            return Result(output, prompt=prompt, scores={"exact": output == answer})

    pytest collects it in files called ``eval_*.py``; `doteval.evals.run` runs it anywhere else.

    Args:
        columns: The arguments that come from the dataset, as text with commas or as a list.
        dataset: Rows, or what makes them: an iterable, an async iterable, or a function without arguments that returns
            either. It is read lazily. A row is a tuple in the order of the columns, a mapping, or, for a single column,
            the value itself. The rows of a DataFrame or another table are its rows.
        concurrency: How many rows are evaluated at once, where the run does not say so.
        passes: What scores have to reach for the evaluation to pass: gates such as ``"exact >= 0.9"``,
            ``"exact.low >= 0.8"`` (the lower end of the interval) or ``"exact >= baseline - 0.02"``, or the least means
            by score, such as ``{"exact": 0.9}``.
        epochs: How many samples are taken of each row, where the run does not say so. Each is called, kept, and run
            again by itself. What those of a row say together is a score, too: ``"exact.pass@3 >= 0.9"``.
        row_timeout: How many seconds an attempt of a row may take, where the run does not say so; 0: as long as it
            takes. Then it is cancelled, and is a failure with a `RowTimeoutError`; what models said until then, and
            what it cost, is kept. It is not run again, unless `retries` says so. Pauses between attempts do not count.
            What runs in a thread, as functions do that are not ``async``, cannot be ended: it fails when it is over.
        retries: When a row is run again, where the run does not say so; `None` for `Retries()`.
        depends_on: What results depend on that the code does not tell, such as the files of a corpus: a list, or a
            mapping that names its values. A `pathlib.Path` counts with what is in the file, or in all files of the
            directory but for hidden ones and ``__pycache__``, when each run begins; it is seen from the directory of
            the file that calls this. Any other value, such as the text of a version, counts as arguments do. What has
            changed is an `EvaluationChangedError`, as with code.

    Returns:
        A decorator, for ``async def`` and ``def``; the latter is run in worker threads.

    Raises:
        TypeError: The dataset is none, `retries` is none, `depends_on` is neither a list nor a mapping, or the function
            has no argument for a column.
        ValueError: There is no column, one is there twice, `concurrency` or `epochs` is less than 1, `row_timeout` less
            than 0, a gate cannot be meant, or `depends_on` has the path of a file as a text.
    """
    __tracebackhide__ = True
    gates = gates_of(passes)
    given = cast("object", columns.split(",") if isinstance(columns, str) else columns)
    if not isinstance(given, Sequence) or not all(isinstance(name, str) for name in cast("Sequence[object]", given)):
        raise TypeError(f"columns are names of arguments, such as 'prompt,answer', not {columns!r}")
    names = tuple(name.strip() for name in cast("Sequence[str]", given))
    if not names or not all(name.isidentifier() for name in names):
        raise ValueError(f"columns are names of arguments, such as 'prompt,answer', not {columns!r}")
    if len(set(names)) != len(names):
        raise ValueError(f"a column is there twice: {columns!r}")
    concurrency = concurrency_of(concurrency, may_adapt=False)
    epochs, row_timeout = whole_number("epochs", epochs, 1), seconds_of("row_timeout", row_timeout)
    retries = retries_of(retries)
    declared = Declared(directory_of(sys._getframe(1)), {}).more(depends_on)

    def decorate(function: Callable[..., Any]) -> Evaluation:
        __tracebackhide__ = True
        return Evaluation(function, names, dataset, concurrency, gates, epochs, row_timeout, retries, declared)

    return decorate
