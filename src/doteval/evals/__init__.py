"""Evaluations: a function that is run on every row of a dataset, many rows at once, with results that are kept.

The parts::

    _result  _evaluators   what users write of a row: what came of it, how good it is
    _identity              what results depend on, so that none is taken for that of something else
    _running               foreach; rows from a dataset, many at once; all of it without pytest
    _results               what is kept of a row and in which store, what rows say together, tables and pages
"""

from __future__ import annotations

from ._errors import (
    ConcurrentRunError,
    DatasetError,
    EvaluationAbortedError,
    EvaluationChangedError,
    GateError,
    StoreError,
    TooManyErrorsError,
)
from ._evaluators import contains, exact_match, json_valid, llm_judge, numeric_close
from ._result import Result, Score
from ._results.reading import Snapshot, Stored
from ._results.record import Record
from ._results.statistics import Aggregate, Summary, summarise
from ._results.store import Store
from ._results.transcript import RecordedRequest
from ._results.usage import ModelUsage
from ._running.dataset import Dataset
from ._running.evaluation import Evaluation, foreach
from ._running.limits import Concurrency
from ._running.outcome import Outcome
from ._running.run import run

__all__ = [
    "Aggregate",
    "Concurrency",
    "ConcurrentRunError",
    "Dataset",
    "DatasetError",
    "Evaluation",
    "EvaluationAbortedError",
    "EvaluationChangedError",
    "GateError",
    "ModelUsage",
    "Outcome",
    "Record",
    "RecordedRequest",
    "Result",
    "Score",
    "Snapshot",
    "Store",
    "StoreError",
    "Stored",
    "Summary",
    "TooManyErrorsError",
    "contains",
    "exact_match",
    "foreach",
    "json_valid",
    "llm_judge",
    "numeric_close",
    "run",
    "summarise",
]


def _name_after_this_package() -> None:
    for name in __all__:
        value: object = globals()[name]
        if isinstance(value, type):
            value.__module__ = __name__


_name_after_this_package()
