"""What results have cost that are not there any more, as others have taken their places: it was paid all the same.

Of each evaluation the usage of such rows is kept: of those that failed and were run again, that the dataset has not any
more, and of all that was started over. So is that of rows that were in flight when a run ended; where it was killed, it
is only known that there may have been some.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from .usage import LARGEST, ModelUsage

SCHEMA = (
    """
    CREATE TABLE gone (
        evaluation INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
        usage_by_model TEXT NOT NULL  -- of one row, or of several
    )
    """,
    "CREATE INDEX gone_of ON gone (evaluation)",
    """
    CREATE TRIGGER replaced BEFORE INSERT ON rows BEGIN
        INSERT INTO gone SELECT evaluation, usage_by_model FROM rows
        WHERE evaluation = NEW.evaluation AND key = NEW.key AND sample = NEW.sample AND usage_by_model != '[]';
    END
    """,
)


def usage_in(connection: sqlite3.Connection, table: str, where: str, *values: object) -> list[ModelUsage]:
    """What rows of a table have cost together, by model and role.

    Args:
        connection: Where.
        table: Which table: ``rows`` or ``gone``.
        where: Which of its rows.
        values: Those of `where`.
    """
    count = len(ModelUsage._fields)
    # A sum of integers is an error where it overflows; one of floats is exact as far as a count goes.
    each = (f"total(json_extract(value, '$[{place}]'))" for place in range(2, count))
    sums = ", ".join(f"CAST(min({total}, {LARGEST}) AS INTEGER)" for total in each)
    columns = f"json_extract(value, '$[0]'), json_extract(value, '$[1]'), {sums}"
    select = f"SELECT {columns} FROM {table}, json_each(usage_by_model) WHERE {where} GROUP BY 1, 2"  # noqa: S608 - names of our own
    return [ModelUsage(*row) for row in connection.execute(select, values)]


def usage_gone(connection: sqlite3.Connection, evaluation: int) -> list[ModelUsage]:
    """What results of an evaluation have cost that are not there any more."""
    return usage_in(connection, "gone", "evaluation = ?", evaluation)


def keep_usage(
    connection: sqlite3.Connection, evaluation: int, before: int, keys: Collection[str] | None = None
) -> None:
    """Rows are going to be removed: keep what they have cost.

    Args:
        connection: Where.
        evaluation: The evaluation with which it is kept.
        before: The evaluation that they are of.
        keys: What the rows are known by; `None`: all, and with them what is gone of that evaluation already, and what
            a run may have cost that is at it.
    """
    if keys is None:
        add_unknown(connection, evaluation, "id = ?", before)
        found = usage_in(connection, "rows", "evaluation = ?", before) + usage_gone(connection, before)
    else:
        among = "evaluation = ? AND rows.key IN (SELECT each.value FROM json_each(?) AS each)"
        found = usage_in(connection, "rows", among, before, json.dumps([*keys]))
    if found:
        add_usage(connection, evaluation, found)


def add_usage(connection: sqlite3.Connection, evaluation: int, usage: Sequence[ModelUsage]) -> None:
    """What an evaluation has cost besides."""
    connection.execute("INSERT INTO gone VALUES (?, ?)", (evaluation, json.dumps(usage)))


def add_unknown(connection: sqlite3.Connection, evaluation: int, where: str, *values: object) -> None:
    """What runs may have cost, besides what is kept of them, that could not say that they have ended.

    Args:
        connection: Where.
        evaluation: The evaluation with which it is kept.
        where: Which evaluations these were at.
        values: Those of `where`.
    """
    select = f"SELECT 1 FROM evaluations WHERE run IS NOT NULL AND {where}"  # noqa: S608 - names of our own
    for _ in connection.execute(select, values).fetchall():
        add_usage(connection, evaluation, [ModelUsage(None, None, 0, 0, 1, 0, 0, 0, 0, 0)])
