"""What the user says that results depend on: files and directories by what is in them, and any values."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
from collections import ChainMap, UserList, UserString, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, ClassVar

import anyio
import pytest
from pydantic import BaseModel, PrivateAttr

from doteval import ReplyCache, Result, foreach
from doteval._replies.file import Use
from doteval.evals import DependencyError, Evaluation, EvaluationChangedError, Outcome, Store, rescore, run
from doteval.evals._results.identity import PYTHON, changes
from doteval.evals._running import contents
from doteval.evals._running.contents import directory_of
from doteval.evals._running.declared import Declared


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about files."""
    return "trio"


SOURCE = """
from pathlib import Path
from doteval import Result, foreach

@foreach("q", [("a",), ("b",)], depends_on=%s)
async def eval_it(q):
    return Result(q)
"""


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    yield
    sys.modules.pop("eval_declared", None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("doteval.evals._results.declared._LISTED", 9)
    place = tmp_path / "project"
    (place / "evals").mkdir(parents=True)
    (place / "pyproject.toml").touch()
    corpus = place / "corpus"
    (corpus / "deep").mkdir(parents=True)
    for name in ("a.md", "b.md", "deep/c.md", ".hidden", "__pycache__"):
        (corpus / name).write_text("one")
    (place / "data.txt").write_text("one")
    return place


def evaluation(place: Path, depends_on: str) -> Evaluation:
    file = place / "evals" / "eval_declared.py"
    file.write_text(SOURCE % depends_on)
    module = sys.modules["eval_declared"] = ModuleType("eval_declared")
    module.__file__ = str(file)
    exec(compile(file.read_text(), file, "exec"), vars(module))
    return module.eval_it


async def outcome(place: Path, depends_on: str, **options: Any) -> Outcome:
    return await run(evaluation(place, depends_on), store=place.parent / "results.db", **options)


def change(name: str, text: str = "two") -> Callable[[Path], object]:
    return lambda place: (place / name).write_text(text)


WAYS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a file": ("[Path('../data.txt')]", change("data.txt"), "the file data.txt has changed"),
    "a name": ("{'data': Path('../data.txt')}", change("data.txt"), "the file data.txt has changed"),
    "in a value": ("[('v', [Path('../data.txt')])]", change("data.txt"), "the file data.txt has changed"),
    "absolute": ("[Path(__file__).parent / '../data.txt']", change("data.txt"), "the file data.txt has changed"),
    "a directory": ("[Path('../corpus')]", change("corpus/a.md"), "the directory corpus has changed: a.md"),
    "below": ("[Path('../corpus')]", change("corpus/deep/c.md"), "the directory corpus has changed: deep/c.md"),
    "more": ("[Path('../corpus')]", change("corpus/z.md"), "the directory corpus has changed: z.md (new)"),
    "fewer": ("[Path('../corpus')]", lambda place: (place / "corpus/b.md").unlink(), "b.md (gone)"),
    "another name": (
        "[Path('../corpus')]",
        lambda place: (place / "corpus/b.md").rename(place / "corpus/d.md"),
        "the directory corpus has changed: b.md (gone), d.md (new)",
    ),
    "many": (
        "[Path('../corpus')]",
        lambda place: [(place / f"corpus/{number}").touch() for number in range(5)],
        "0 (new), 1 (new), 2 (new) and 2 more",
    ),
    "very many": (
        "[Path('../corpus')]",
        lambda place: [
            *((place / f"corpus/{number}").touch() for number in range(20)),
            os.utime(place / "corpus/7", (2e9, 2e9)),
        ],
        "the directory corpus has changed (3 files then and 23 now; written last: 7, ",
    ),
    "all of it": ("[Path('..')]", change("data.txt"), "the directory . has changed: data.txt"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_what_has_changed_is_an_error_that_names_it(place: Path, way: str) -> None:
    """And once it is as it was, or is adopted, it is none."""
    depends_on, edit, told = WAYS[way]
    await outcome(place, depends_on)
    before = place.parent / "before"
    shutil.copytree(place, before)
    assert (await outcome(place, depends_on)).answered
    edit(place)
    with pytest.raises(EvaluationChangedError) as caught:
        await outcome(place, depends_on)
    assert len(caught.value.changes) == 1
    assert told in caught.value.changes[0]
    kept = await outcome(place, depends_on, changed="keep")
    assert kept.answered
    assert told in " ".join(kept.warnings)
    assert (await outcome(place, depends_on)).warnings == ()
    shutil.rmtree(place)
    shutil.copytree(before, place)
    rerun = await outcome(place, depends_on, changed="rerun")
    assert not rerun.answered
    assert (await outcome(place, depends_on)).answered


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("['v1']", "['v2']", "the dependency 1 has changed"),
        ("{'index': 'v1'}", "{'index': 'v2'}", "the dependency 'index' has changed"),
        ("[1, {'a': [1]}]", "[1, {'a': [2]}]", "the dependency 2 has changed"),
        ("{'x': float('nan')}", "{'x': None}", "the dependency 'x' has changed"),
        ("()", "['v1']", "the dependency 1 is new"),
        ("[]", "[Path('../data.txt')]", "depends_on names the file data.txt, and did not"),
        ("[Path('../data.txt')]", "[]", "depends_on names the file data.txt no more"),
        ("[Path('../data.txt')]", "[Path('../corpus/a.md')]", "depends_on names the file data.txt no more"),
        ("['\\udcff', 10**30, 'x' * 10**6]", "['\\udcfe', 10**30, 'x' * 10**6]", "the dependency 1 has changed"),
    ],
)
async def test_values_count_as_arguments_do(place: Path, before: str, now: str, told: str) -> None:
    await outcome(place, before)
    assert (await outcome(place, before)).answered
    with pytest.raises(EvaluationChangedError, match="are of something else") as caught:
        await outcome(place, now)
    assert told in caught.value.changes


def test_directories_that_link_to_each_other_are_read_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ways lead to them; what is in them counts, and where each link leads."""
    packages = [place / "packages" / f"p{number}" for number in range(12)]
    for package in packages:
        (package / "deps").mkdir(parents=True)
        (package / "it.txt").write_text(package.name)
        for other in packages:
            (package / "deps" / other.name).symlink_to(f"../../{other.name}")
    (place / "outside").mkdir()
    (place / "outside" / "it.txt").write_text("out")
    for name in ("out", "b-out"):
        (packages[3] / "deps" / name).symlink_to("../../../outside")
    link, entered, scandir = packages[5] / "deps" / "p6", list[str](), os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: entered.append(path) or scandir(path))
    found = [directory_of(str(place / "packages"))]
    assert len(entered) == len({*entered}) == 1 + 2 * len(packages) + 1
    assert directory_of(str(place / "packages")) == found[0]
    (packages[7] / "it.txt").write_text("another")
    found.append(directory_of(str(place / "packages")))
    (place / "outside" / "it.txt").write_text("another")
    found.append(directory_of(str(place / "packages")))
    link.unlink()
    link.symlink_to("../../p7")
    found.append(directory_of(str(place / "packages")))
    link.unlink()
    found.append(directory_of(str(place / "packages")))
    assert len({*found}) == len(found)


@pytest.mark.anyio
async def test_what_nobody_means_does_not_count(place: Path) -> None:
    """Hidden files, caches of Python, when a file was written, where the project is, and the store itself."""
    corpus, declared = place / "corpus", "[Path('..'), Path('../corpus'), Path('../corpus/.hidden')]"
    (corpus / "link").symlink_to("deep")
    (corpus / "deep" / "back").symlink_to("..")
    (corpus / "nowhere").symlink_to("nothing")
    os.mkfifo(corpus / "pipe")
    store = place / "results.db"
    it = evaluation(place, declared)
    await run(it, store=store)
    (corpus / ".another").write_text("two")
    (corpus / "__pycache__").unlink()
    os.utime(corpus / "a.md", (1, 1))
    assert (await run(it, store=store, cache="on")).answered
    moved = place.with_name("moved")
    absolute = Declared(place, {}).more([(place / "data.txt").resolve()])
    os.rename(place, moved)  # noqa: PTH104 - nobody waits for it
    os.symlink(moved, place)  # noqa: PTH211
    over_link = Declared(moved, {}).more([moved / "data.txt"])
    assert [*over_link.parts("it", str(place), None)] == [*absolute.parts("it", str(moved), None)]
    assert "the file data.txt" in over_link.parts("it", str(place), None)
    for root in (moved, place):
        assert (await run(evaluation(root, declared), store=root / "results.db")).answered
    (corpus / ".hidden").write_text("two")  # which is named
    with pytest.raises(EvaluationChangedError) as caught:
        await run(it, store=store)
    assert caught.value.changes == ("the file corpus/.hidden has changed",)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "named", ["t", "results.db", "deep/results.db", "link.db", "link/results.db", "out/results.db"]
)
async def test_of_a_store_in_a_directory_only_its_own_files_are_left_out(place: Path, named: str) -> None:
    """Wherever it is, and whatever leads there; files of the user's that are called nearly the same count."""
    corpus, outside = place / "corpus", place / "outside"
    outside.mkdir()
    for name, where in {"link": "deep", "out": outside, "link.db": "real.db", "dangling.db": outside / "it.db"}.items():
        (corpus / name).symlink_to(where)
    store = corpus / named
    it = evaluation(place, "[Path('../corpus'), Path('../corpus/deep')]")
    kept = Store(store)
    first = await run(it, store=kept, cache="on")  # which is open from now on, with all its files
    assert first.warnings == ()
    with ReplyCache(store.with_name("replies.db")).answering() as replies:
        replies.keep(Use(b"scope", b"request", b"tag"), "m", "[]", replaces=False)
        replies.flush()
        real = Path(os.path.realpath(store))  # noqa: ASYNC240 - nobody waits for it
        there = {each.name for each in (*real.parent.iterdir(), *store.parent.iterdir())}
        assert {f"{real.name}-wal", f"{real.name}-runs", "replies.db-wal"} <= there
        assert (await run(it, store=kept)).answered
    kept.close()
    parts = partial(it.declared.parts, "it", None, kept.path)
    before = parts()
    real.with_name(f"{real.name}-journal").touch()
    assert parts() == before
    named_alike = [
        file.with_name(name.replace("NAME", file.name))
        for file in (store, real, store.with_name("replies.db"))
        for name in ("NAME.json", "NAME-wal.txt", "NAME2", "NAME-other", "my-NAME")
    ]
    elsewhere = [corpus / "another" / f"{real.name}{end}" for end in ("", "-wal", "-runs")]
    elsewhere[0].parent.mkdir()
    for other in (*named_alike, *elsewhere):
        other.write_text("one")
        assert parts() != before, other
        other.unlink()
    assert (await run(it, store=store)).answered


@pytest.mark.anyio
async def test_what_changes_while_it_is_run_has_changed(place: Path) -> None:
    """Results count as those of what was there when the run began; of what was only read before, that is known, too."""
    (place / "data.txt").write_text("one")
    reading = "[]\n@foreach('q', [('a',)]"
    source = "async def eval_it(q):\n    return Result(HERE.joinpath('data.txt').read_text())"
    file = place / "evals" / "eval_declared.py"

    def made(depends_on: str) -> Evaluation:
        text = SOURCE.partition("@foreach")[0] + f"HERE = Path(__file__).parent.parent\n{reading[3:]}"
        file.write_text(f"{text}, depends_on={depends_on})\n{source}")
        module = sys.modules["eval_declared"] = ModuleType("eval_declared")
        module.__file__ = str(file)
        exec(compile(file.read_text(), file, "exec"), vars(module))
        return module.eval_it

    store = place.parent / "results.db"
    await run(made("[]"), store=store)
    declared = "[Path('../data.txt')]"
    assert (await run(made(declared), store=store)).answered, "it is as it was when it was read"
    (place / "data.txt").write_text("two")
    with pytest.raises(EvaluationChangedError) as caught:
        await run(made(declared), store=store)
    assert caught.value.changes == ("the file data.txt has changed",)
    kept = await run(made(declared), store=store, changed="keep")
    assert not any("was read" in each for each in kept.warnings), "it is told once"

    def edit(record: Any) -> None:
        (place / "data.txt").write_text("three")

    await run(made(declared), store=store, fresh=True, on_record=edit)
    with pytest.raises(EvaluationChangedError):
        await run(made(declared), store=store)


@pytest.mark.anyio
async def test_what_rows_read_of_it_is_told_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error, and not as a file that was read; whatever the files are called, and in whatever order they come."""
    names = ("a|b.md", "c\udcff.md", "d\n.md", *map(str, range(9)))
    for name in names:
        (place / "corpus" / name).write_text("one")
    os.utime(place / "corpus" / "a|b.md", (2e9, 2e9))
    reading = "Result([path.read_text() for path in HERE.iterdir() if path.is_file()][0])"
    here = "HERE = Path(__file__).parents[1] / 'corpus'\n"
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", f"{SOURCE}{here}".replace("Result(q)", reading))
    store = place.parent / "results.db"
    await run(evaluation(place, "[]"), store=store, experiment="other")
    await run(evaluation(place, "[Path('../corpus')]"), store=store)
    before = {each.experiment: [*each.identity] for each in Store(store).evaluations()}
    assert any("was read" in each or each.startswith("the file corpus") for each in before["other"])
    assert not any(each.startswith(("the file ", "the list ")) for each in before["default"])
    files = contents._files_in
    monkeypatch.setattr(contents, "_files_in", lambda *given: reversed([*files(*given)]))
    for _ in range(2):
        assert (await run(evaluation(place, "[Path('../corpus')]"), store=store)).answered
    await run(evaluation(place, "[Path('../corpus')]"), store=store, fresh=True)
    (place / "corpus" / "a|b.md").write_text("two")
    with pytest.raises(EvaluationChangedError, match=r"written last: a\|b.md"):
        await run(evaluation(place, "[Path('../corpus')]"), store=store)
    for experiment in ("default", "other"):
        kept = await run(evaluation(place, "[Path('../corpus')]"), store=store, changed="keep", experiment=experiment)
        assert kept.answered
        assert not any("was read" in each for each in kept.warnings)
        (now,) = Store(store).evaluations(experiment)
        assert not any(each.startswith(("the file ", "the list ")) for each in now.identity)


@pytest.mark.anyio
async def test_run_names_more(place: Path) -> None:
    """Seen from the same directory; what has no name is counted on, and a name that both have is an error."""
    it, store = evaluation(place, "['v1']"), place.parent / "results.db"
    given = ["v2", Path("../data.txt")]
    await run(it, store=store, depends_on=given)
    assert (await run(it, store=store, depends_on=tuple(given))).answered
    with pytest.raises(EvaluationChangedError) as caught:
        await run(it, store=store, depends_on=["v3", Path("../data.txt")])
    assert caught.value.changes == ("the dependency 2 has changed",)
    named = evaluation(place, "{'index': 'v1'}")
    with pytest.raises(ValueError, match="depends_on names 'index', which is named before"):
        await run(named, store=store, depends_on={"index": "v2"})
    with pytest.raises(ValueError, match="depends_on names '1', which is named before"):
        Declared(place, {}).more({1: "v1", "1": "v2"})


@pytest.mark.anyio
async def test_rescored_results_depend_on_the_same(place: Path) -> None:
    await outcome(place, "[Path('../corpus')]")
    store = Store(place.parent / "results.db")
    (scored,) = await rescore("default", lambda output: {"right": True}, store=store)
    (before,) = store.evaluations("default")
    assert scored.identity["the directory corpus"] == before.identity["the directory corpus"]


def test_another_version_of_python_reads_the_same() -> None:
    found = changes({PYTHON: "=3.11", "it": "1", "the file a": "+1"}, {PYTHON: "=3.12", "it": "2", "the file a": "+2"})
    assert found == ("Python was 3.11, and is 3.12, so code cannot be compared", "the file a has changed")


def test_what_cannot_be_read_says_so(place: Path) -> None:
    it = Declared(place, {})
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "pipe")
    for path, told in {
        "none": f"there is no 'none' in '{place}'",
        "data.txt/none": "there is no 'data.txt/none'",
        "/none": "there is no '/none'.",
        "loop": "cannot be read: Too many levels",
        "pipe": "neither a file nor a directory",
        "\0": "embedded null",
        "x" * 5000: "cannot be read: File name too long",
    }.items():
        with pytest.raises(DependencyError, match="What 'eval_it' depends on cannot be read") as caught:
            it.more([Path(path)]).parts("eval_it", str(place), None)
        assert told in str(caught.value)
    for given in (Path("corpus"), "corpus", b"corpus", {Path("corpus")}, 3, None, {"a": 1}.keys()):
        with pytest.raises(TypeError, match="depends_on is a list, such as"):
            it.more(given)  # type: ignore[arg-type]
    (place / "Makefile").touch()
    for text in ("data.txt", "./corpus", str(place / "data.txt"), "corpus/", "corpus", "Makefile"):
        for given in ([text], {"a": text}, [[text]], [{"a": (1, {text})}], {"a": frozenset({text})}):
            with pytest.raises(ValueError, match=r"counts with what is in it, and '.*'.encode\(\) as the text"):
                it.more(given)
    for text in (".", "..", "/"):  # in others it may be what stands between two things
        with pytest.raises(ValueError, match="counts with what is in it"):
            it.more([text])
    it.more(["v1.2", "", "corpora", "a/b\0", "x." * 5000, b"data.txt", {"data.txt": "data", "ends": [".", "/"]}])
    assert [*it.more(place.glob("*.txt")).parts("it", str(place), None)] == ["the file data.txt"]


class Plain:
    def __init__(self, held: Any) -> None:
        self.held = held


class Slotted:
    __slots__ = ("__held",)

    def __init__(self, held: Any) -> None:
        self.__held = held


class Derived:
    """Not from its fields, but beside them."""

    __dataclass_fields__: ClassVar[dict[str, Any]] = {}

    def __init__(self, held: Any) -> None:
        self.held = held


@dataclass
class Settings:
    held: Any


class Model(BaseModel, extra="allow"):
    held: Any = None
    _own: Any = PrivateAttr(None)


class Items(list[Any]):
    path: Any


def private(held: Any) -> Model:
    made = Model()
    made._own = held
    return made


def items(held: Any) -> Items:
    made = Items([1])
    made.path = held
    return made


class Told:
    """Says by itself what counts of it."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __doteval_identity__(self) -> dict[str, Any]:
        return {"it": 1}


def nested(held: Any, depth: int = 2000) -> Any:
    for _ in range(depth):
        held = [held]
    return held


READ: dict[str, Callable[[Any], Any]] = {
    "list": lambda held: [held],
    "tuple": lambda held: (1, held),
    "set": lambda held: {held},
    "key": lambda held: {held: 1},
    "value": lambda held: {1: held},
    "key in a key": lambda held: {("a", held): 1},
    "keys": lambda held: {held: 1}.keys(),
    "values": lambda held: {1: held}.values(),
    "items": lambda held: {held: held}.items(),
    "deque": lambda held: deque([held]),
    "user's list": lambda held: UserList([held]),
    "chained": lambda held: ChainMap({}, {"a": held}),
    "read only": lambda held: MappingProxyType({"a": held}),
    "default": lambda held: defaultdict(list, a=held),
    "namespace": lambda held: SimpleNamespace(held=held),
    "arguments": lambda held: argparse.Namespace(held=held),
    "data class": Settings,
    "pydantic": lambda held: Model(held=held),
    "extra": lambda held: Model(more=held),
    "deep": nested,
}
NOT_READ: dict[str, Callable[[Any], Any]] = {
    "attribute": Plain,
    "slot": Slotted,
    "beside fields": Derived,
    "partial": lambda held: partial(print, held),
    "keyword": lambda held: partial(print, end=held),
    "private": private,
    "beside items": items,
    "enum": lambda held: Enum("Found", {"A": held}).A,  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("outer", READ)
def test_every_path_counts_or_is_refused(place: Path, outer: str) -> None:
    """Whatever holds it, in whatever; where it does not count, naming it as well is enough."""
    path, it = Path("data.txt"), Declared(place, {})
    held = READ[outer](path)
    assert it.more([held]).paths == [path, *[path] * (outer == "items")]
    assert it.more({"a": 1}).more({"b": held}).parts("it", str(place), None).keys() == {"the file data.txt"}
    for name, inner in READ.items():
        try:
            both = inner(held)
        except TypeError:  # it cannot be in a set
            continue
        assert path in it.more([both]).paths, name
    for name, inner in NOT_READ.items():
        for both in (inner(held), READ["list"](inner(held)), READ["value"](inner(held))):
            with pytest.raises(ValueError, match="does not look there for what is in it"):
                it.more([both])
            assert it.more([both, place / "data.txt"]).paths == [place / "data.txt"], name
    assert it.more([Told(held), Plain("data.txt"), read_only, Plain, contents]).paths == []
    with pytest.raises(ValueError, match="as a name, which is a text"):
        it.more({path: 1})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="an iterator"):
        it.more({"a": READ["list"](iter([held]))})


def read_only(path: Path = Path("data.txt")) -> str:
    return path.read_text()


def test_what_holds_itself_is_looked_through_once(place: Path) -> None:
    """And what is shared by many."""
    held: list[Any] = [Path("data.txt")]
    held.append(held)
    for _ in range(100):
        held = [held, held]
    assert Declared(place, {}).more([held]).paths == [Path("data.txt")]


@pytest.mark.parametrize("kind", [UserString, "own"])
def test_what_is_like_a_text_has_no_end_of_items(kind: Any) -> None:
    """Each of them is a text of one letter, which has one item again."""

    class Text(Sequence[Any]):
        def __init__(self, text: str) -> None:
            self.text = text

        def __len__(self) -> int:
            return len(self.text)

        def __getitem__(self, place: Any) -> Any:
            return Text(self.text[place])

    value = Text("v1") if kind == "own" else kind("v1")
    assert foreach("q", ["a"], depends_on={"prompt": value, "more": [value]})


@pytest.mark.anyio
async def test_foreach_says_what_it_is_given(tmp_path: Path) -> None:
    def eval_q(q: int) -> Result:
        return Result(q)

    with pytest.raises(TypeError, match="depends_on is a list"):
        foreach("q", [1], depends_on="corpus")
    assert foreach("q", [1], depends_on=[Path("none")])(eval_q).declared.directory == Path(__file__).parent
    it = foreach("q", [1], depends_on=[Path("none")])(eval_q)
    with pytest.raises(DependencyError):
        await run(it, store=tmp_path / "results.db")


def test_a_file_is_read_once_as_long_as_it_is_as_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it is like; one that was written a moment ago may be written again in the same moment."""
    read: list[str] = []
    monkeypatch.setattr(contents, "_known", {})
    monkeypatch.setattr(contents, "_MOST", 3)
    digest = contents.hashlib.file_digest

    def file_digest(file: Any, how: str) -> Any:
        read.append(file.name)
        return digest(file, how)

    monkeypatch.setattr(contents.hashlib, "file_digest", file_digest)
    it, file = Declared(place, {}).more([Path("data.txt")]), place / "data.txt"

    def parts() -> dict[str, str]:
        return it.parts("it", str(place), None)

    parts(), parts()
    assert len(read) == 2
    now = contents.time.time()
    monkeypatch.setattr(contents.time, "time", lambda: now + 100)
    before = parts()
    for _ in range(1000):
        assert parts() == before
    assert len(read) == 3
    state = file.stat()
    file.write_text("two")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert parts() != before
    assert len(read) == 4
    many = Declared(place, {}).more([Path("corpus")])
    assert [*many.parts("it", None, None)] == ["the directory corpus"]
    assert len(contents._known) <= 3


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], scope="module")
@pytest.mark.anyio
async def test_no_event_loop_waits_while_it_is_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does whoever cancels."""
    reads, goes_on = threading.Event(), threading.Event()

    def digest_of(path: str, *_: object) -> str:
        reads.set()
        goes_on.wait(60)
        return ""

    monkeypatch.setattr("doteval.evals._running.declared.digest_of", digest_of)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(outcome, place, "[Path('../data.txt')]")
            await anyio.to_thread.run_sync(reads.wait)
            group.cancel_scope.cancel()
    goes_on.set()
