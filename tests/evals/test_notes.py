"""What a run writes is known before its first result is kept, and nobody waits for that but the results."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import anyio
import pytest

from doteval import Result, foreach
from doteval.evals import Record, Store, run
from doteval.evals._running import run as running

pytestmark = pytest.mark.concurrency

COUNTS = {"n": 0}
MAIL = EmailMessage()
begins, goes_on = threading.Event(), threading.Event()


@foreach("q", range(4), concurrency=2)
async def counted(q: int, *, is_endless: bool = False) -> Result:
    COUNTS["n"] += 1
    if COUNTS["n"] > 1 and is_endless:
        await anyio.sleep_forever()
    if COUNTS["n"] > 1:
        await anyio.to_thread.run_sync(begins.wait, 60, abandon_on_cancel=True)
        goes_on.set()
    return Result(q, metadata={"mail": bool(MAIL)})


@pytest.fixture(autouse=True)
def slowly(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[threading.Thread]]:
    """The second look ends when a second row has gone on, and tells in which threads all were."""
    COUNTS["n"] = 0
    begins.clear()
    goes_on.clear()
    threads: list[threading.Thread] = []
    look = running.identity_of_run

    def slow_look(*args: Any) -> Any:
        threads.append(threading.current_thread())
        found = look(*args)
        if len(threads) == 2:
            begins.set()
            assert goes_on.wait(60)
        return found

    monkeypatch.setattr(running, "identity_of_run", slow_look)
    yield threads
    goes_on.set()


def states(path: Path) -> list[str]:
    (found,) = Store(path).evaluations("default")
    return [part[0] for label, part in found.identity.items() if label.startswith("the value 'COUNTS', ")]


@pytest.mark.anyio
async def test_rows_go_on_while_it_is_found_out_what_they_write(tmp_path: Path, slowly: list[threading.Thread]) -> None:
    """It is in the store with the first result; the results come in their order, and none is lost."""
    seen: list[tuple[object, list[str]]] = []

    def tell(record: Record) -> None:
        seen.append((record.output, states(tmp_path / "results.db")))

    with anyio.fail_after(60):
        outcome = await run(counted, store=tmp_path / "results.db", on_record=tell)
    assert outcome.summary.rows == 4
    assert seen == [(number, ["~"]) for number in range(4)]
    assert threading.main_thread() not in slowly


@pytest.mark.anyio
async def test_who_cancels_waits_for_no_look_and_loses_nothing(tmp_path: Path) -> None:
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                await anyio.to_thread.run_sync(begins.wait, 60)
                group.cancel_scope.cancel()

            group.start_soon(cancel)
            await run(counted, store=tmp_path / "results.db", is_endless=True)
    store = Store(tmp_path / "results.db")
    (found,) = store.evaluations("default")
    assert [record.output for record in store.records(found)] == [0]
    assert states(tmp_path / "results.db") == ["~"]
