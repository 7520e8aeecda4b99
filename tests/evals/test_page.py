"""The page about an experiment: whatever is in the store, it is only shown."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import anyio
import jinja2
import pytest

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import Store, run
from doteval.evals._results import report

EVIL = """</pre></title></style></svg><script>alert(1)</script> "double" 'single' & &amp; {{ 7 * 7 }} {% raw %}"""


class Texts(HTMLParser):
    """What a reader sees, and by which tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts = [""]
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


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


def test_nothing_that_is_shown_becomes_part_of_the_page(tmp_path: Path) -> None:
    """Names, inputs, outputs, scores, errors: with tags, quotes and braces, they are there letter for letter."""
    store = anyio.run(store_of, tmp_path / "results.db", EVIL, EVIL)
    evil = Texts(report.page(store, store.evaluations(EVIL), EVIL))
    plain_store = anyio.run(store_of, tmp_path / "plain.db", "plain", "plain")
    plain = Texts(report.page(plain_store, plain_store.evaluations("plain"), "plain"))
    assert "script" not in evil.tags
    assert evil.tags == plain.tags
    assert evil.attributes == plain.attributes
    shown = [text.strip() for text in evil.texts]
    assert shown.count(EVIL) >= 4  # title, heading, and the prompt of a row in each of two evaluations
    assert f"eval_it[{EVIL}]" in shown
    assert f"ValueError: {EVIL}" in shown
    assert f"{EVIL}: mean and 95 % interval" in shown
    escaped = EVIL.replace('"', r"\"")  # as JSON has it
    assert f'{{\n "{escaped}": "{escaped}"\n}}' in shown
    assert any(text.endswith(f"ValueError: {EVIL}") and text.startswith("Traceback") for text in shown)


def test_the_page_is_one_file(tmp_path: Path) -> None:
    """Its style is in it as it was written, and nothing of the templates is left over."""
    store = anyio.run(store_of, tmp_path / "results.db", "plain", "plain")
    page = report.page(store, store.evaluations("plain"), "plain")
    style = (Path(report.__file__).parent / "page" / "page.css").read_text("utf-8")
    assert style in page
    assert "<link" not in page
    assert not re.search(r"\{\{|\{%|\{#", page.replace(style, ""))
    assert page.startswith("<!doctype html>")


def test_a_name_that_a_template_does_not_know_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
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
    cells = re.findall(r'<td data-name="score">(.*?)</td>', text)
    assert cells == ["huge", f"{name[:39]}…", "tiny"]
