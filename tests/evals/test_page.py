"""The page about experiments: every row is in it as it was stored, and whatever is in the store is only shown."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import tempfile
import tracemalloc
from base64 import b64encode
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anyio
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import Record, Store, run
from doteval.evals._results import report
from doteval.evals._results.blocks import details_of, unpacked
from doteval.evals._results.overview import labels
from doteval.evals._results.pictures import short_count
from doteval.evals._results.plain import plain
from doteval.evals._results.tables import run_line, shown_seconds

EVIL = (
    "</pre></title></style></svg></script><!--<script>alert(1)</script> "
    """"double" 'single' & &amp; {{ 7 * 7 }} {% raw %}"""
)
ODD = [
    "",
    EVIL,
    "\ud800 half",
    "\u2028\u2029",
    "\x00\x1b[31m",
    "שלום",
    "</script",
    "<!--",
    "😀" * 3,
    'a\nb\\"c',
    "]]>",
    "NaN",
]


class Page(HTMLParser):
    """What a reader sees, by which tags, and what stands in scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts = [""]
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._in_script = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.texts.append("")
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def blocks(self, kind: str, evaluation: int) -> list[tuple[dict[str, str | None], str]]:
        return [
            (attributes, unpacked(text) if attributes["type"] == "text/plain" else text)
            for attributes, text in self.scripts
            if attributes.get("class") == kind and attributes.get("data-of") == str(evaluation)
        ]


def page_of(store: Store, title: str = "all") -> Page:
    return Page(text_of(store, title))


def text_of(store: Store, title: str = "all") -> str:
    file = io.StringIO()
    with store.snapshot() as results:
        report.write_page(file, results, results.evaluations(), title)
    return file.getvalue()


def stored(
    path: Path, evaluations: dict[str, Sequence[Record]], experiment: str = "it", model: str = "", epochs: int = 1
) -> Store:
    with Store(path) as store:
        for name, records in evaluations.items():
            evaluation, _ = store.begin(experiment, name, model=model, identity={}, epochs=epochs)
            for record in records:
                store.put(evaluation, record)
            store.finish(evaluation, len(records))
            store.leave(evaluation)
    return store


def record(number: int, **values: Any) -> Record:
    return Record(number, f"k{number}", f"k{number}", **{"inputs": {"question": f"what is {number}?"}, **values})


async def store_of(path: Path, text: str, experiment: str) -> Store:
    """Results in which all that can be a text is this one."""

    @foreach("prompt", [text, f"{text} fails"])
    async def eval_it(prompt: str) -> Result:
        if prompt.endswith("fails"):
            raise ValueError(text)
        return Result({text: text}, prompt=text, scores={text: False, f"{text} number": 0.5}, metadata={text: text})

    async with Store(path) as store:
        for name in (f"eval_it[{text}]", f"eval_it[{text} again]"):
            await run(eval_it, store=store, experiment=experiment, name=name)
    return store


texts = st.sampled_from(ODD) | st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**53, 10**40) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
scores = st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    found: list[Record] = []
    for number in range(draw(st.integers(0, 6))):
        fields: dict[str, Any] = {name: plain(draw(values)) for name in ("output", "prompt")} | {
            name: plain(draw(st.dictionaries(texts, values, max_size=3))) for name in ("inputs", "metadata", "reply")
        }
        if draw(st.booleans()):
            fields |= {"error": plain(draw(texts)), "traceback": plain(draw(texts))}
        else:
            fields["scores"] = {plain(name): draw(scores) for name in draw(st.lists(texts, max_size=2, unique=True))}
        found.append(record(number, seconds=draw(st.floats(0, 1e9)), **fields))
    return found


def exact(value: Any) -> Any:
    """Integers that a browser would round are texts in the page."""
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(each) for each in value]
    return str(value) if isinstance(value, int) and not -(2**53) <= value <= 2**53 else value


@pytest.mark.process
@settings(max_examples=25, deadline=None)
@given(records(), records())
def test_the_blocks_of_the_page_are_the_rows_of_the_store(one: list[Record], other: list[Record]) -> None:
    """All of them, whatever is in them; the index has the same rows in the same order."""
    with tempfile.TemporaryDirectory() as directory:
        store = stored(Path(directory) / "results.db", {"one": one, "other": other})
        page = page_of(store)
        for evaluation in store.evaluations():
            there = list(store.records(evaluation))
            found = [
                json.loads(line)
                for _, text in page.blocks("details", evaluation.id)
                for line in text.split("\n")
                if line
            ]
            assert found == [exact(details_of(each)) for each in there]
            index = [json.loads(text) for _, text in page.blocks("index", evaluation.id)]
            for name in ("number", "key", "sample"):
                assert [value for block in index for value in block[name]] == [getattr(each, name) for each in there]
            assert [value for block in index for value in block["failed"]] == [int(each.failed) for each in there]
            for block in index:
                for name, column in block["scores"].items():
                    assert column == [(each.scores or {}).get(name) for each in there]


def test_many_rows_are_in_several_blocks(tmp_path: Path) -> None:
    """Which say what they hold; the columns of all are as long."""
    store = stored(tmp_path / "results.db", {"it": [record(number, output=number) for number in range(5000)]})
    page = page_of(store)
    found = [(int(a["data-first"] or ""), int(a["data-count"] or ""), text) for a, text in page.blocks("details", 1)]
    assert len(found) > 5
    assert [first for first, _, _ in found] == [
        sum(count for _, count, _ in found[:place]) for place in range(len(found))
    ]
    assert [json.loads(line)["output"] for _, _, text in found for line in text.split("\n")] == list(range(5000))
    index = [json.loads(text) for _, text in page.blocks("index", 1)]
    assert [len(block["number"]) for block in index] == [128, 4096, 776]


def test_rows_are_grouped_by_columns_with_few_short_values(tmp_path: Path) -> None:
    """Of inputs and metadata; one that turns out to have many is dropped."""
    rows = [
        record(
            number, inputs={"kind": "ab"[number % 2], "id": number, "long": "x" * 100}, metadata={"level": number % 3}
        )
        for number in range(300)
    ]
    blocks = page_of(stored(tmp_path / "results.db", {"it": rows})).blocks("index", 1)
    first, index = [json.loads(text) for _, text in blocks]
    assert first["groups"]["id"] == [*range(128)]
    assert index["groups"].keys() == {"kind", "metadata level"}
    assert index["groups"]["metadata level"] == [number % 3 for number in range(128, 300)]
    assert index["dropped"] == ["id"]


@pytest.mark.process
def test_writing_the_page_keeps_no_more_than_a_block_in_memory(tmp_path: Path) -> None:
    """However much there is, and though some rows are huge."""
    rows = [record(number, output=chr(97 + number % 20) * 1_000_000) for number in range(60)]
    store = stored(tmp_path / "results.db", {"it": rows})
    del rows
    tracemalloc.start()
    try:
        with store.snapshot() as results, (tmp_path / "page.html").open("w", encoding="utf-8") as file:
            report.write_page(file, results, results.evaluations(), "huge")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 30_000_000


def test_nothing_that_is_shown_becomes_part_of_the_page(tmp_path: Path) -> None:
    """Names, inputs, outputs, scores, errors: with tags, quotes and braces, they are there letter for letter."""
    store = anyio.run(store_of, tmp_path / "results.db", EVIL, EVIL)
    evil = page_of(store, EVIL)
    plain_store = anyio.run(store_of, tmp_path / "plain.db", "plain", "plain")
    plain_page = page_of(plain_store, "plain")
    assert evil.tags == plain_page.tags
    assert evil.attributes == plain_page.attributes
    shown = [text.strip() for text in evil.texts]
    assert shown.count(EVIL) == 2  # title and heading
    assert f"eval_it[{EVIL}]" in shown
    assert f"{EVIL}: mean and 95 % interval" in shown
    (told,) = [text for attributes, text in evil.scripts if attributes.get("id") == "settings"]
    assert json.loads(told)["evaluations"][0]["name"] == f"eval_it[{EVIL}]"


def test_the_page_is_one_file_that_may_run_its_own_script_only(tmp_path: Path) -> None:
    """Style and script are in it as they were written, nothing of the templates is left over, nothing is fetched."""
    text = text_of(anyio.run(store_of, tmp_path / "results.db", "plain", "plain"))
    directory = Path(report.__file__).parent / "page"
    style = (directory / "page.css").read_text("utf-8")
    (script,) = [text for attributes, text in Page(text).scripts if not attributes]
    assert f"<style>{style}</style>" in text
    for path in directory.glob("*.js"):
        source = path.read_text("utf-8")
        assert source in script
        assert not re.search(r"</script|<!--|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", source)
        assert source.count("\n") < 450
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', text)
    for part in (style, script):
        digest = b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"&#39;sha256-{digest}&#39;" in policy
    assert policy.startswith("default-src &#39;none&#39;; ")
    assert "connect-src &#39;none&#39;" in policy
    assert "unsafe" not in policy
    assert "<link" not in text
    assert not re.search(r"\{\{|\{%|\{#", text.replace(style, "").replace(script, ""))
    assert text.startswith("<!doctype html>")


def test_a_name_that_a_template_does_not_know_is_an_error() -> None:
    """Instead of a hole in the page."""
    template = report._templates().from_string("{{ titel }}")
    with pytest.raises(jinja2.UndefinedError, match="titel"):
        template.render(title="one")


def test_without_jinja2_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the page needs it."""
    store = anyio.run(store_of, tmp_path / "results.db", "plain", "plain")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, report.__name__)
    assert main(["list", "--store", str(store.path)]) == 0
    assert main(["report", "plain", "--store", str(store.path), "-o", str(tmp_path / "page.html")]) == 1
    said = "doteval: the page needs the package jinja2: pip install 'jinja2>=3.1'\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "page.html").exists()


def test_scores_of_any_size_and_names_of_any_length_are_shown(tmp_path: Path) -> None:
    """Every place in a picture is a number; the table has the beginning of a long name."""
    name = "s" * 300

    @foreach("value", [1.7e308, -1.7e308, 5e-324, 0.0])
    async def eval_it(value: float) -> Result:
        return Result(value, scores={name: value, "tiny": min(abs(value), 5e-324), "huge": max(value, 1e308)})

    path = tmp_path / "results.db"
    anyio.run(lambda: run(eval_it, store=path, experiment="it"))
    page = tmp_path / "page.html"
    assert main(["report", "it", "--store", str(path), "-o", str(page)]) == 0
    text = page.read_text("utf-8")
    assert not re.search(r'(x|y|x1|x2|cx|width|height)="(-?nan|-?inf)', text)
    cells = re.findall(r'<td data-name="score" class="text">(.*?)</td>', text)
    assert cells == ["huge", f"{name[:39]}…", "tiny"]


def test_several_experiments_stand_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With their names, each once, and how much they differ."""
    path = tmp_path / "results.db"
    rows = [record(number, scores={"good": number % 2 == 0}) for number in range(20)]
    stored(path, {"it": rows}, "monday")
    stored(path, {"it": [record(each.number, scores={"good": True}) for each in rows]}, "tuesday")
    page = tmp_path / "page.html"
    assert main(["report", "monday", "tuesday", "monday@it", "--store", str(path), "-o", str(page)]) == 0
    (told,) = [text for each, text in Page(page.read_text("utf-8")).scripts if each.get("id") == "settings"]
    found = json.loads(told)
    assert [each["name"] for each in found["evaluations"]] == ["monday: it", "tuesday: it"]
    (compared,) = found["comparisons"]
    assert compared["scores"]["good"]["mean"] == 0.5
    assert 0 < compared["scores"]["good"]["low"] < 0.5 < compared["scores"]["good"]["high"] < 1


def test_histograms_of_a_score_have_the_same_axes(tmp_path: Path) -> None:
    """Their ends are the same, bars of the same height count the same, and the counts stand above them."""
    one = [record(number, scores={"size": float(number)}) for number in range(10)]
    other = [record(number, scores={"size": 20.0}) for number in range(30)]
    text = text_of(stored(tmp_path / "results.db", {"one": one, "other": other}))
    pictures = re.findall(r"<svg.*?</svg>", text.partition("<h2>Scores</h2>")[2].partition("<h2>Latency")[0], re.DOTALL)
    assert len(pictures) == 2
    for picture in pictures:
        assert re.findall(r'<text class="soft"[^>]*>(.*?)</text>', picture) == ["0", "20"]
    heights = [max(map(float, re.findall(r'class="bar"[^>]*height="([\d.]+)"', picture))) for picture in pictures]
    assert heights[0] == pytest.approx(heights[1] * 2 / 30, abs=0.1)
    assert re.findall(r'class="count"[^>]*>(\d+)<', pictures[1]) == ["30"]


def test_labels_of_many_models_differ(tmp_path: Path) -> None:
    """Though they are long and begin alike; and where even that leaves two alike."""
    path = tmp_path / "results.db"
    family = "openrouter:vendor/a-family-with-a-very-long-name-of-2026-"
    models = [f"{family}{size}-{kind}" for size in ("small", "medium", "large") for kind in ("a", "b", "c")]
    for model in models:
        stored(path, {f"eval_it[{model}]": [record(1)]}, model=model)
    found = labels(Store(path).evaluations())
    assert len(set(found)) == 9
    assert all(len(label) <= 40 for label in found)
    assert all(label.endswith(model[-7:]) for label, model in zip(found, models, strict=True))
    for middle in "xy":
        model = f"{family}{middle}{'-' * 60}"
        stored(path, {f"eval_it[{model}]": [record(1)]}, model=model)
    assert len(set(labels(Store(path).evaluations()))) == 11


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (9999, "9,999"),
        (10_000, "10k"),
        (99_949, "99.9k"),
        (999_999, "999k"),
        (1_234_567, "1.23M"),
        (5 * 10**11, "500G"),
    ],
)
def test_counts_have_room_above_bars(count: int, shown: str) -> None:
    """In at most five letters or so."""
    assert short_count(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0123, "12.3 ms"),
        (1.5, "1.5 s"),
        (119.4, "119 s"),
        (125, "2 min 5 s"),
        (7199.6, "2 h 0 min"),
        (36_000_000, "10,000 h 0 min"),
    ],
)
def test_times_are_written_as_a_person_does(seconds: float, shown: str) -> None:
    """In units that suit them."""
    assert shown_seconds(seconds) == shown


def test_the_page_says_what_the_results_were_run_with(tmp_path: Path) -> None:
    """What is the same of several evaluations, once."""
    store = anyio.run(store_of, tmp_path / "results.db", "plain", "plain")
    (run,) = {run_line(store.runs(evaluation)[-1]) for evaluation in store.evaluations()}
    assert run.startswith("doteval ")
    assert [text.strip() for text in page_of(store).texts].count(run) == 1
