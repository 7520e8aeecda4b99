"""Evaluations: a function that is run on every row of a dataset, many rows at once, with results that are kept.

The parts::

    _result  _evaluation      what users write: Result, foreach
    _dataset  _limits         where rows come from, how many are run at once
    _engine  _arguments       runs the rows; leases a lost model again
    _record  _statistics      what is kept of a row, and what rows say together
    _store  _writer  _commits SQLite; a row is in flight until it is committed
    _evaluators               how good is an output?
    _run                      all of it, without pytest
"""

from __future__ import annotations

from ._dataset import Dataset
from ._errors import DatasetError, TooManyErrorsError
from ._evaluation import Evaluation, foreach
from ._evaluators import contains, exact_match, json_valid, llm_judge, numeric_close
from ._limits import Concurrency
from ._record import Record
from ._result import Result, Score
from ._run import Outcome, run
from ._statistics import Aggregate, Summary, summarise
from ._store import Store, Stored

__all__ = [
    "Aggregate",
    "Concurrency",
    "Dataset",
    "DatasetError",
    "Evaluation",
    "Outcome",
    "Record",
    "Result",
    "Score",
    "Store",
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
