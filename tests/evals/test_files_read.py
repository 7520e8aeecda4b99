"""Files that an evaluation reads while it runs: one that has changed is told when its results are answered."""

from __future__ import annotations

import glob
import importlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from contextvars import copy_context
from importlib.machinery import FileFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from doteval.evals import Outcome, Record, Store, run
from doteval.evals._running import files_read
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
    "an executor": "async def ask(q):\n    return await in_a_thread((HERE / 'told.txt').read_text)",
    "over a link": "async def ask(q): return (HERE.with_name('link') / 'told.txt').read_text()",
    "below": "async def ask(q):\n    return (HERE / 'more' / 'told.txt').read_text()",
}


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    yield
    sys.modules.pop("eval_reading", None)


async def in_a_thread(function: Callable[[], Any]) -> Any:
    """In one that knows nothing of whoever has asked."""
    made: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: made.append(function())).result(60)
    return made[0]


def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    (place / "more").mkdir(parents=True, exist_ok=True)
    (place / "pyproject.toml").touch()
    return place


async def answered(place: Path, source: str, **options: Any) -> Outcome:
    module = sys.modules["eval_reading"] = ModuleType("eval_reading")
    vars(module).update(HERE=place, in_a_thread=in_a_thread)
    exec(compile(SOURCE + source, place / "eval_reading.py", "exec"), vars(module))
    return await run(module.eval_it, store=place.parent / "results.db", **options)


@pytest.mark.anyio
@pytest.mark.parametrize("way", ASKS)
async def test_whoever_gets_an_old_answer_is_told_that_a_file_has_changed(tmp_path: Path, way: str) -> None:
    """However the rows read it, and until it is as it was, or all is run again."""
    place = project(tmp_path)
    file = place / ("more/told.txt" if way == "below" else "told.txt")
    file.write_text("brief")
    (tmp_path / "link").symlink_to(place)
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
    "a directory": (lambda path: fails(path.parent.read_text), False),
    "gone": (lambda path: (path.read_text(), path.unlink()), False),
    "made anew": (lambda path: (path.read_text(), path.unlink(), path.write_text("2")), False),
    "put in its place": (lambda path: (path.read_text(), path.with_name("new.py").replace(path)), False),
    "moved": (lambda path: (path.read_text(), path.rename(path.with_name("new.py"))), False),
    "cut": (lambda path: (path.read_text(), os.truncate(path, 0)), False),
    "another of that name is gone": (lambda path: (path.read_text(), removed(path)), True),
    "others write it": (lambda path: (path.read_text(), outside(path.write_text, "2")), True),
    "others remove it": (lambda path: (path.read_text(), outside(path.unlink)), False),
    "others make it": (
        lambda path: (outside(path.unlink), fails(path.read_text), outside(path.write_text, "2")),
        False,
    ),
}


def fails(function: Callable[[], object]) -> None:
    with pytest.raises((FileNotFoundError, IsADirectoryError)):
        function()


def removed(path: Path) -> None:
    """A directory with a file of the same name, seen from where it is."""
    there = path.parents[3] / "temporary"
    there.mkdir()
    (there / path.name).touch()
    with chdir(path.parent):
        shutil.rmtree(there)


def outside(function: Callable[..., object], *args: object) -> None:
    """In a thread that nobody watches, as another process does."""
    in_thread(function, *args)


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
    file.with_name("new.py").touch()
    read, is_read = WAYS[way]
    files = FilesRead(str(place))
    with files.watching():
        read(file)
    begun = files.noted()
    assert not is_read or [*begun] == [*files.noted(is_over=True)]
    (tmp_path / "outside").write_text("1")
    with files.watching():
        (tmp_path / "outside").read_text()
    found = files.noted(is_over=True)
    assert [*found] == ([f"the file {name}"] if is_read and name in {"data.json", "more/data"} else [])
    assert changed_files(found, str(place)) == ((f"the file {name}",) if found and way == "others write it" else ())
    if found:
        file.write_text("3")
        assert changed_files(found, str(place)) == (f"the file {name}",)
        assert changed_files(found, None) == ()


@pytest.mark.parametrize(
    ("lists", "is_listed"),
    [
        (lambda docs: [path.read_text() for path in docs.glob("*.md")], True),
        (lambda docs: [path.read_text() for path in docs.iterdir() if path.suffix == ".md"], True),
        (lambda docs: [(docs / name).read_text() for name in os.listdir(docs) if name.endswith(".md")], True),  # noqa: PTH208
        (lambda docs: [Path(path).read_text() for path in glob.glob(f"{docs}/*.md")], True),  # noqa: PTH207
        (lambda docs: [(Path(at) / name).read_text() for at, _, names in os.walk(docs) for name in names], True),
        (lambda docs: [os.listdir(docs), importlib.invalidate_caches()], False),  # noqa: PTH208
        (lambda docs: (docs / "a.md").read_text(), False),
        (lambda docs: [(docs / "a.md").read_text(), FileFinder(str(docs)).find_spec("none")], False),
        (lambda docs: [[path.read_text() for path in docs.glob("*.md")], (docs / "made.md").touch()], False),
    ],
)
def test_new_files_of_a_kind_that_was_looked_for_are_told(
    tmp_path: Path, lists: Callable[[Path], object], *, is_listed: bool
) -> None:
    """Where rows list a directory, and read such files of it; not for what they have written there."""
    place = project(tmp_path)
    for name in ("a.md", "b.md", "c.txt", ".d.md"):
        (place / "more" / name).write_text(name)
    files = FilesRead(str(place))
    with files.watching():
        lists(place / "more")
    found = files.noted(is_over=True)
    (place / "more" / "e.json").touch()
    (place / "more" / ".f.md").touch()
    assert changed_files(found, str(place)) == ()
    (place / "more" / "new.md").touch()
    assert changed_files(found, str(place)) == (("the list of more/*.md",) if is_listed else ())
    shutil.rmtree(place / "more")
    assert ("the list of more/*.md" in changed_files(found, str(place))) is is_listed


def test_the_names_of_a_directory_are_gone_through_once_for_each_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is noted, with one more file each time, and by whomever."""
    place = project(tmp_path)
    for number in range(20):
        (place / f"{number}.md").write_text("")
        (place / f"{number}.txt").write_text("")
    gone_through: list[str] = []
    digest = files_read._digest_of_names
    monkeypatch.setattr(
        files_read, "_digest_of_names", lambda names, suffix: gone_through.append(suffix) or digest(names, suffix)
    )
    fixtures = FilesRead(str(place))
    files = FilesRead(str(place), lambda: [fixtures])
    with fixtures.watching():
        os.listdir(place)  # noqa: PTH208
    for number in range(20):
        with files.watching():
            (place / f"{number}.md").read_text()
            (place / f"{number}.txt").read_text()
        assert {"the list of ./*.md", "the list of ./*.txt"} <= {*files.noted()}
    assert sorted(gone_through) == [".md", ".txt"]


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
    assert [*outer.noted(is_over=True)] == ["the file one"]
    assert [*inner.noted(is_over=True)] == ["the file two"]
    assert nothing.noted(is_over=True) == {}
    assert [*FilesRead(str(place), lambda: [outer, inner]).noted(is_over=True)] == ["the file one", "the file two"]
    assert FilesRead(str(tmp_path), lambda: [outer]).noted(is_over=True) == {}
    with outer.watching():
        (place / "one").write_text("two")
    again = FilesRead(str(place), before=outer)  # such as that of a fixture that is set up again
    (tmp_path / "link").symlink_to(place)
    linked = FilesRead(str(tmp_path / "link"))
    for files in (again, linked):
        with files.watching():
            (place / "one").read_text()
    assert again.noted() == {}
    assert changed_files(linked.noted(), str(tmp_path / "link")) == ()
    assert [*linked.noted()] == ["the file one"]


@pytest.mark.parametrize("size", [1, 2**20 + 1, 65 * 2**20])
def test_a_file_counts_as_it_was_when_it_was_first_read(tmp_path: Path, size: int) -> None:
    """Also where another process writes it before the run is over, however large it is."""
    place = project(tmp_path)
    with (place / "data").open("wb") as file:
        file.truncate(size)
    files, fixtures = FilesRead(str(place)), FilesRead(str(place))
    files._others = lambda: [fixtures]
    with fixtures.watching():
        (place / "data").open().close()
    (place / "data").write_bytes(b"2" * size)
    os.utime(place / "data", (1, 1))
    for watched in (files, fixtures):
        with watched.watching():
            (place / "data").open().close()
    for found in (files.noted(), files.noted(is_over=True)):
        assert changed_files(found, str(place)) == ("the file data",)
    again = FilesRead(str(place))
    with again.watching():
        (place / "data").open().close()
    begun, over = again.noted(), again.noted(is_over=True)
    assert changed_files(begun, str(place)) == changed_files(over, str(place)) == ()
    os.utime(place / "data", (2, 2))
    assert bool(changed_files(over, str(place))) is (size > 64 * 2**20)


@pytest.mark.anyio
async def test_what_was_read_is_in_the_store_with_the_first_result_of_it(tmp_path: Path) -> None:
    """Whoever is killed loses no more of it than of its rows; what a row before has not read is noted with that."""
    place, seen = project(tmp_path), list[set[str]]()
    for name in ("a", "b"):
        (place / name).write_text(name)

    def look(record: Record) -> None:
        (found,) = Store(tmp_path / "results.db").evaluations("default")
        seen.append({label for label, part in found.identity.items() if part.startswith("@")})

    await answered(place, "async def ask(q):\n    return (HERE / q).read_text()", on_record=look, concurrency=1)
    assert len(seen) == 2
    assert "the file a" in seen[0]
    assert seen[1] == {"the file a", "the file b"}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_of_too_many_files_it_is_said_that_some_are_not_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not of those that are written, are none, or are named in depends_on."""
    monkeypatch.setattr(files_read, "MOST", 3)
    place = project(tmp_path)
    for name in ("a", "b", "c", "d", "more/e"):
        (place / name).write_text(name)
    reads = "[(HERE / name).read_text() for name in [%s]]"
    expected = {
        "'a', 'b', 'c'": None,
        "'a', 'b', 'c', 'a'": None,
        "'a', 'b', 'c', 'more/e', 'd'": "the file d",
        "'a', 'b', 'c', 'more/e'": "the file more/e",
    }
    for names, told in expected.items():
        outcome = await answered(place, f"async def ask(q):\n    return {reads % names}", fresh=True)
        found = [each for each in outcome.warnings if "more files were read than the" in each]
        assert len(found) == (told is not None)
        assert told is None or f"such as {told}. Name their directory in depends_on" in found[0]
        assert (await answered(place, f"async def ask(q):\n    return {reads % names}", changed="keep")).answered
    for ask, options in {
        reads % "'a', 'b', 'c'" + " + [(HERE / name).exists() or (HERE / name).open('w').close() for name in 'xy']": {},
        reads % "'a', 'b', 'c'" + " + [list((HERE / name).iterdir()) for name in ('more', 'more')]": {},
        reads % "'a', 'b', 'c', 'more/e'": {"depends_on": [place / "more"]},
    }.items():
        outcome = await answered(place, f"async def ask(q):\n    return {ask}", fresh=True, **options)
        assert outcome.warnings == ()
        assert outcome.summary.errors == 0
    ask = "[list((HERE / name).iterdir()) for name in ('more', '.', 'more/1', 'more/2')]"
    for name in "12":
        (place / "more" / name).mkdir()
    (warning,) = (await answered(place, f"async def ask(q):\n    return {ask}", fresh=True)).warnings
    assert "such as the list of more/2/*" in warning


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_many_files_are_not_written_anew_with_each_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly all of them are in the store at any time, and in the end all are."""
    place, count, seen = project(tmp_path), 400, list[int]()
    for number in range(count):
        (place / f"{number}.txt").touch()
    written: list[int] = []
    note_written = Store.note_written

    def noting(self: Store, evaluation: Any, after: Any) -> None:
        written.append(len(after))
        note_written(self, evaluation, after)

    def look(record: Record) -> None:
        if record.number % 50 == 49:
            (found,) = Store(tmp_path / "results.db").evaluations("default")
            seen.append(sum(label.startswith("the file ") for label in found.identity))

    monkeypatch.setattr(Store, "note_written", noting)
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", SOURCE.replace('[("a",), ("b",)]', f"range({count})"))
    ask = "async def ask(q):\n    return (HERE / f'{q}.txt').read_text()"
    await answered(place, ask, on_record=look, concurrency=1)
    assert all(noted >= 0.97 * 50 * number for number, noted in enumerate(seen, 1))
    assert sum(written) < 60 * count
    (found,) = Store(tmp_path / "results.db").evaluations("default")
    assert sum(label.startswith("the file ") for label in found.identity) == count


def test_threads_of_nobody_are_those_of_the_only_run(tmp_path: Path) -> None:
    """But not its own, which has the event loop and the rest of the program; of two, nobody knows whose they are."""
    place = project(tmp_path)
    for name in ("own", "sole", "both", "after", "dataset"):
        (place / name).write_text(name)
    one, other = FilesRead(str(place)), FilesRead(str(place))

    def reads(name: str) -> None:
        in_thread((place / name).read_text)

    with one.watching():  # so that somebody listens
        pass
    context = copy_context()
    with one.running():
        (place / "own").read_text()
        context.run((place / "own").read_text)
        in_thread(copy_context().run, (place / "dataset").read_text)
        reads("sole")
        with other.running():
            reads("both")
    reads("after")
    assert [*one.noted()] == ["the file sole"]
    assert other.noted() == {}


def test_a_large_file_is_known_by_its_size_and_time(tmp_path: Path) -> None:
    place = project(tmp_path)
    with (place / "large").open("wb") as file:
        file.truncate(65 * 2**20)
    files = FilesRead(str(place))
    with files.watching():
        (place / "large").open("rb").close()
    found = files.noted(is_over=True)
    assert changed_files(found, str(place)) == ()
    os.utime(place / "large", (1, 1))
    assert changed_files(found, str(place)) == ("the file large",)


def test_what_is_odd_goes_to_whoever_opens_it() -> None:
    files = FilesRead("/project")
    with files.watching():
        for path in ("\0", "\udcff", -1, 10**9, b"\xff\xff"):
            with pytest.raises((OSError, ValueError)):
                open(path)  # noqa: PTH123, SIM115
    assert files.noted(is_over=True) == {}
