"""What ends a command while it writes a file: the file is as it was before, and nothing else is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from doteval import Result, foreach
from doteval.cli import _export, main
from doteval.cli._whole_file import whole_file
from doteval.evals import run
from doteval.evals._results import report

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def as_in_a_shell() -> Iterator[None]:
    """Signals are handled as they are in a new process, and so again afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    usual = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    for number, handler in usual.items():
        signal.signal(number, handler)
    yield
    after = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == usual


@pytest.fixture
def store(tmp_path: Path) -> Path:
    @foreach("n", [1, 2])
    async def eval_it(n: int) -> Result:
        return Result(n, scores={"s": 1})

    path = tmp_path / "results.db"
    anyio.run(partial(run, eval_it, store=path, experiment="main"))
    return path


@pytest.mark.parametrize(("number", "code"), SIGNALS.items(), ids=str)
@pytest.mark.parametrize(
    ("module", "writer", "words"),
    [
        (_export, "write_jsonl", ["export"]),
        (_export, "write_csv", ["export", "--format", "csv"]),
        (_export, "write_parquet", ["export", "--format", "parquet"]),
        (report, "write_page", ["report"]),
    ],
)
def test_the_file_is_as_it_was(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int, module: Any, writer: str,
    words: list[str],
) -> None:  # fmt: skip
    """And the exit code is what a shell expects."""
    directory = tmp_path / "written"
    directory.mkdir()
    file = directory / "file"
    file.write_text("before")
    names: list[list[str]] = []

    def write(*_: object, **__: object) -> None:
        names.append([each.name for each in directory.iterdir()])
        signal.raise_signal(number)

    monkeypatch.setattr(module, writer, write)
    try:
        found: Any = main([*words, "main", "-o", str(file), "--store", str(store)])
    except SystemExit as exc:
        found = exc.code
    assert found == code
    assert len(names[0]) == 2
    assert [each.name for each in directory.iterdir()] == ["file"]
    assert file.read_text() == "before"


def test_a_second_one_does_not_disturb_the_clean_up(tmp_path: Path) -> None:
    """As of somebody who presses on."""
    file = tmp_path / "file"
    with pytest.raises(SystemExit) as caught, whole_file(str(file)) as part:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGHUP)
            assert part.exists()
    assert caught.value.code == 143
    assert [*tmp_path.iterdir()] == []


def test_what_is_ignored_still_is(tmp_path: Path) -> None:
    """As with ``nohup``."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    file = tmp_path / "file"
    with whole_file(str(file)) as part:
        signal.raise_signal(signal.SIGHUP)
        part.write_text("whole")
    assert file.read_text() == "whole"
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_thread_writes_as_well(tmp_path: Path) -> None:
    """Which cannot handle signals."""
    file = tmp_path / "file"

    def write() -> None:
        with whole_file(str(file)) as part:
            part.write_text("whole")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert file.read_text() == "whole"
