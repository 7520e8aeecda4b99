"""Files that an evaluation reads while it runs: one that has changed is told when its results are answered."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from doteval.evals import Outcome, run
from doteval.evals._running.files_read import FilesRead, changed_files

SOURCE = """
from pathlib import Path
import anyio
from doteval import Result, foreach

@foreach("q", [("a",), ("b",)])
async def eval_it(q):
    return Result(await ask(q))
"""
ASKS = {
    "open": "async def ask(q):\n    with open(HERE / 'told.txt') as file: return file.read()",
    "a path": "async def ask(q):\n    return (HERE / 'told.txt').read_text()",
    "async": "async def ask(q):\n    return await anyio.Path(HERE / 'told.txt').read_text()",
    "a thread": "async def ask(q):\n    return await anyio.to_thread.run_sync((HERE / 'told.txt').read_text)",
    "below": "async def ask(q):\n    return (HERE / 'more' / 'told.txt').read_text()",
}


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    yield
    sys.modules.pop("eval_reading", None)


def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    (place / "more").mkdir(parents=True, exist_ok=True)
    (place / "pyproject.toml").touch()
    return place


async def answered(place: Path, source: str, **options: Any) -> Outcome:
    module = sys.modules["eval_reading"] = ModuleType("eval_reading")
    vars(module)["HERE"] = place
    exec(compile(SOURCE + source, place / "eval_reading.py", "exec"), vars(module))
    return await run(module.eval_it, store=place.parent / "results.db", **options)


@pytest.mark.anyio
@pytest.mark.parametrize("way", ASKS)
async def test_whoever_gets_an_old_answer_is_told_that_a_file_has_changed(tmp_path: Path, way: str) -> None:
    """However the rows read it, and until it is as it was, or all is run again."""
    place = project(tmp_path)
    file = place / ("more/told.txt" if way == "below" else "told.txt")
    file.write_text("brief")
    assert not (await answered(place, ASKS[way])).warnings
    same = await answered(place, ASKS[way])
    assert (same.answered, same.warnings) == (True, ())
    for change in (lambda: file.write_text("long"), file.unlink):
        change()
        outcome = await answered(place, ASKS[way])
        assert outcome.answered
        assert f"the file {file.relative_to(place)} was read, and has changed since" in " ".join(outcome.warnings)
    file.write_text("brief")
    assert not (await answered(place, ASKS[way])).warnings
    file.write_text("long")
    fresh = await answered(place, ASKS[way], fresh=True)
    assert ([record.output for record in fresh.records], fresh.warnings) == (["long", "long"], ())
    assert not (await answered(place, ASKS[way])).warnings
    moved = tmp_path / "elsewhere" / "checkout"
    shutil.copytree(place, moved)
    shutil.copy(tmp_path / "results.db", moved.parent)
    there = await answered(moved, ASKS[way])
    assert (there.answered, there.warnings) == (True, ())


@pytest.mark.anyio
async def test_whoever_goes_on_is_told_as_well(tmp_path: Path) -> None:
    """Of what was read for the rows that are there; what is read for the others does not make up for it."""
    place = project(tmp_path)
    (place / "told.txt").write_text("brief")
    source = ASKS["open"].replace(
        "async def ask(q):\n", "async def ask(q):\n    if q == 'b' and FAILS: raise ValueError\n"
    )
    first = await answered(place, f"FAILS = True\n{source}")
    assert first.summary.errors == 1
    (place / "told.txt").write_text("long")
    for _ in range(2):
        outcome = await answered(place, f"FAILS = False\n{source}", changed="keep")
        assert [record.output for record in outcome.records] == ["brief", "long"]
        assert any("told.txt was read" in each for each in outcome.warnings)


@pytest.mark.anyio
async def test_what_a_run_writes_or_makes_is_its_own_affair(tmp_path: Path) -> None:
    place = project(tmp_path)
    source = """
async def ask(q):
    with open(HERE / 'log.txt', 'a') as file: file.write(q)
    (HERE / 'made.txt').write_text(q)
    kept = HERE / '.cache'
    kept.mkdir(exist_ok=True)
    (kept / 'it').write_text(q)
    return (HERE / 'log.txt').read_text() + (HERE / 'made.txt').read_text() + (kept / 'it').read_text()
"""
    assert not (await answered(place, source)).warnings
    for name in ("log.txt", "made.txt", ".cache/it"):
        (place / name).write_text("another")
    outcome = await answered(place, source)
    assert (outcome.answered, outcome.warnings) == (True, ())


WAYS: dict[str, tuple[Callable[[Path], object], bool]] = {
    "open": (lambda path: path.open().close(), True),
    "binary": (lambda path: path.open("rb").close(), True),
    "descriptor": (lambda path: os.close(os.open(path, os.O_RDONLY)), True),
    "bytes": (lambda path: os.close(os.open(os.fsencode(path), os.O_RDONLY)), True),
    "relative": (lambda path: open(os.path.relpath(path)).close(), True),  # noqa: PTH123
    "json": (lambda path: json.loads(path.read_text()), True),
    "copied": (lambda path: shutil.copy(path, path.with_name("copy")), True),
    "thread with its context": (lambda path: in_thread(copy_context().run, path.read_text), True),
    "thread without": (lambda path: in_thread(path.read_text), False),
    "read and written": (lambda path: (path.read_text(), path.write_text("2")), False),
    "updated": (lambda path: path.open("r+").close(), False),
    "appended": (lambda path: path.open("a").close(), False),
    "not there": (lambda path: fails(path.with_name("none").read_text), False),
    "a directory": (lambda path: fails(path.parent.read_text), False),
    "gone": (lambda path: (path.read_text(), path.unlink()), False),
}


def fails(function: Callable[[], object]) -> None:
    with pytest.raises((FileNotFoundError, IsADirectoryError)):
        function()


def in_thread(function: Callable[..., object], *args: object) -> None:
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["data.json", "more/data", "code.py", ".env", ".hidden/data", "__pycache__/data"])
def test_which_files_are_noted(tmp_path: Path, way: str, name: str) -> None:
    """Data of the project, and not code, nor what is hidden, nor what is written."""
    place = project(tmp_path)
    file = place / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("1")
    read, is_read = WAYS[way]
    files = FilesRead(str(place))
    with files.watching():
        read(file)
    (tmp_path / "outside").write_text("1")
    with files.watching():
        (tmp_path / "outside").read_text()
    found = files.parts()
    assert [*found] == ([f"the file {name}"] if is_read and name in {"data.json", "more/data"} else [])
    assert changed_files(found, str(place)) == ()
    if found:
        file.write_text("2")
        assert changed_files(found, str(place)) == (f"the file {name}",)
        assert changed_files(found, None) == ()


def test_nobody_is_watched_outside_of_the_block(tmp_path: Path) -> None:
    """Each block has its own, one within another; where there is no project, nothing is noted."""
    place = project(tmp_path)
    for name in ("one", "two", "three"):
        (place / name).write_text(name)
    outer, inner, nothing = FilesRead(str(place)), FilesRead(str(place)), FilesRead(None)
    with outer.watching_all():
        (place / "one").read_text()
        with inner.watching_all(), nothing.watching(), nothing.watching_all():
            (place / "two").read_text()
    (place / "three").read_text()
    assert [*outer.parts()] == ["the file one"]
    assert [*inner.parts()] == ["the file two"]
    assert nothing.parts() == {}
    assert [*FilesRead(str(place), lambda: [outer, inner]).parts()] == ["the file one", "the file two"]
    assert FilesRead(str(tmp_path), lambda: [outer]).parts() == {}


def test_a_large_file_is_known_by_its_size_and_time(tmp_path: Path) -> None:
    place = project(tmp_path)
    with (place / "large").open("wb") as file:
        file.truncate(65 * 2**20)
    files = FilesRead(str(place))
    with files.watching():
        (place / "large").open("rb").close()
    found = files.parts()
    assert changed_files(found, str(place)) == ()
    os.utime(place / "large", (1, 1))
    assert changed_files(found, str(place)) == ("the file large",)


def test_what_is_odd_goes_to_whoever_opens_it() -> None:
    files = FilesRead("/project")
    with files.watching():
        for path in ("\0", "\udcff", -1, 10**9, b"\xff\xff"):
            with pytest.raises((OSError, ValueError)):
                open(path)  # noqa: PTH123, SIM115
    assert files.parts() == {}
