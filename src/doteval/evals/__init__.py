"""Evaluations: a function that is run on every row of a dataset, many rows at once, with results that are kept.

The parts::

    _result  _verdict      what users write of a row: what came of it, how good it is and why
    _evaluators  _files    what they need for that: functions that say how good an output is; datasets in files
    _identity              what results depend on, so that none is taken for that of something else
    _running               foreach; rows from a dataset, many at once; all of it without pytest
    _results               what is kept of a row and in which store, what rows say together, tables and pages
"""

from __future__ import annotations

from ._errors import (
    ConcurrentRunError,
    DatasetError,
    DependencyError,
    EvaluationAbortedError,
    EvaluationChangedError,
    EvaluationWarning,
    GateError,
    JudgeError,
    RowTimeoutError,
    StoreError,
    TooManyErrorsError,
)
from ._evaluators.choices import choice
from ._evaluators.json_text import json_valid
from ._evaluators.judge import llm_judge
from ._evaluators.scales import Scale
from ._evaluators.schemas import matches_schema
from ._evaluators.texts import contains, exact_match, numeric_close
from ._files import csv, jsonl
from ._result import Result, Score
from ._results.reading import Snapshot, Stored
from ._results.record import Record
from ._results.runs import StoredRun
from ._results.statistics import Aggregate, Summary, summarise
from ._results.store import Store
from ._results.transcript import RecordedRequest
from ._results.upkeep import copy, delete, rename
from ._results.usage import ModelUsage
from ._running.dataset import Dataset
from ._running.declared import DependsOn
from ._running.evaluation import Evaluation, foreach
from ._running.limits import Concurrency
from ._running.outcome import Outcome
from ._running.rescore import rescore
from ._running.retries import Retries
from ._running.run import run
from ._running.scoring import Scorer
from ._verdict import Verdict

__all__ = [
    "Aggregate",
    "Concurrency",
    "ConcurrentRunError",
    "Dataset",
    "DatasetError",
    "DependencyError",
    "DependsOn",
    "Evaluation",
    "EvaluationAbortedError",
    "EvaluationChangedError",
    "EvaluationWarning",
    "GateError",
    "JudgeError",
    "ModelUsage",
    "Outcome",
    "Record",
    "RecordedRequest",
    "Result",
    "Retries",
    "RowTimeoutError",
    "Scale",
    "Score",
    "Scorer",
    "Snapshot",
    "Store",
    "StoreError",
    "Stored",
    "StoredRun",
    "Summary",
    "TooManyErrorsError",
    "Verdict",
    "choice",
    "contains",
    "copy",
    "csv",
    "delete",
    "exact_match",
    "foreach",
    "json_valid",
    "jsonl",
    "llm_judge",
    "matches_schema",
    "numeric_close",
    "rename",
    "rescore",
    "run",
    "summarise",
]


def _name_after_this_package() -> None:
    for name in __all__:
        value: object = globals()[name]
        if isinstance(value, type):
            value.__module__ = __name__


_name_after_this_package()
