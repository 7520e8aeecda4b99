"""The page in a browser: what a reader does with it. Skipped where there is no Chromium."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from tests.evals.browser import Browser, needs_chromium
from tests.evals.test_page import EVIL, ODD, record, stored
from tests.evals.test_view import serving

from doteval.cli import main
from doteval.evals import Record, Result, foreach, run

pytestmark = [needs_chromium, pytest.mark.process]

STATUS = "document.getElementById('status').textContent"
ROWS = "[...document.querySelectorAll('#space [role=row]')]"
DETAIL = "document.getElementById('detail')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two experiments of 3,000 rows; of the second, 30 have other values, and one is not there."""
    directory = tmp_path_factory.mktemp("page")

    def row(number: int, shift: int) -> Record:
        values = {"inputs": {"question": f"question {number}", "kind": "odd" if number % 2 else "even"}}
        if number % 500 == 7:
            return record(number, **values, error=f"ValueError: broken {number}", traceback="Traceback: here")
        good, size = (number + shift) % 4 != 0, number / 100 + shift
        return record(
            number, **values, output=f"answer {number}", scores={"good": good, "size": size}, seconds=number / 10
        )

    for shift, name in enumerate(["before", "after"]):
        rows = [row(number, shift) for number in range(3000 - shift)]
        rows = [replace(each, digest="other") if shift and each.number % 100 == 50 else each for each in rows]
        stored(directory / "results.db", {"eval_it": rows}, name)
    words = ["report", "before", "after", "--store", str(directory / "results.db"), "-o", str(directory / "page.html")]
    assert main(words) == 0
    return (directory / "page.html").as_uri()


@pytest.fixture(autouse=True)
def console_is_empty(browser: Browser) -> Iterator[None]:
    browser.said.clear()
    yield
    assert browser.said == []


def shown(browser: Browser, rows: int) -> None:
    """Wait until the list has this many rows."""
    browser.until(f"{STATUS}.startsWith('{rows:,} of ') && !{STATUS}.includes('search')")


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("tab", ["", "#tab=rows", "#tab=rows&beside=2&group=kind"])
def test_it_fits(browser: Browser, page: str, width: int, tab: str) -> None:
    """No part of it is wider than the window, and few rows are in the document."""
    browser.open(page + tab, width=width, dark=width == 400)
    if tab:
        shown(browser, 3000)
    assert browser.see("document.documentElement.scrollWidth") <= width
    assert browser.see(f"{ROWS}.length") < 100


def test_rows_are_filtered_sorted_and_searched(browser: Browser, page: str) -> None:
    """By what became of them, the range of a score, a group, and any text in them."""
    browser.open(f"{page}#tab=rows")
    shown(browser, 3000)
    browser.choose("show", "failed")
    shown(browser, 6)
    assert browser.see(f"{ROWS}[0].textContent").endswith("ValueError: broken 70 ms")
    browser.choose("show", "all")
    browser.choose("score", "size")
    browser.choose("least", "10")
    browser.choose("most", "10,05")
    shown(browser, 6)
    browser.choose("least", "")
    browser.choose("most", "")
    browser.choose("text", "ANSWER 299")
    shown(browser, 11)
    browser.choose("text", "Traceback: here")
    shown(browser, 6)
    browser.choose("text", "")
    shown(browser, 3000)
    browser.see("document.querySelectorAll('#head button')[5].click()")  # time
    browser.see("document.querySelectorAll('#head button')[5].click()")
    assert browser.see(f"{ROWS}[0].textContent").startswith("2,999question")
    browser.choose("group", "kind")
    browser.see("[...document.querySelectorAll('.groups button')].find((each) => each.textContent === 'odd').click()")
    shown(browser, 1500)
    assert "descending=1" in browser.see("location.hash")


def test_numbers_are_in_their_order_and_never_look_certain(browser: Browser, tmp_path: Path) -> None:
    """A group of 9 comes before one of 10, and what is nearly all is not all."""
    levels = [1] * 2001 + [10, 10, 9, 9]
    rows = [
        record(number, inputs={"level": level}, scores={"good": number > 0, "size": 0.99996})
        for number, level in enumerate(levels)
    ]
    stored(tmp_path / "results.db", {"eval_it": rows}, "one")
    words = ["report", "one", "--store", str(tmp_path / "results.db"), "-o", str(tmp_path / "page.html")]
    assert main(words) == 0
    browser.open((tmp_path / "page.html").as_uri() + "#tab=rows&group=level")
    shown(browser, len(rows))
    lines = browser.see("[...document.querySelectorAll('.groups tbody tr')].map((each) => each.innerText.split('\\t'))")
    assert lines == [
        ["1", "2,001", "0", "99.95%", "0.99996"],
        ["9", "2", "0", "100.0%", "0.99996"],
        ["10", "2", "0", "100.0%", "0.99996"],
    ]


def test_it_is_read_with_the_keyboard(browser: Browser, page: str) -> None:
    """A slash searches, arrows go through the rows, Enter opens one, Esc closes it."""
    browser.open(page)
    browser.press("/")
    assert browser.see("document.activeElement.id") == "text"
    shown(browser, 3000)
    browser.press(*"299", "Escape", "Escape")
    assert browser.see("[document.activeElement.id, document.getElementById('text').value]") == ["grid", ""]
    shown(browser, 3000)
    browser.press("End")
    assert browser.see(f"{ROWS}.find((row) => row.ariaSelected === 'true').textContent").startswith("2,999")
    browser.press("Home", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "Enter")
    browser.until(f"{DETAIL}.textContent.includes('answer 2')")
    browser.press("ArrowDown")
    browser.until(f"{DETAIL}.textContent.includes('answer 3')")
    active = browser.see("document.getElementById('grid').getAttribute('aria-activedescendant')")
    assert browser.see(f"document.getElementById('{active}').ariaRowIndex") == "5"
    browser.press("Escape")
    assert browser.see(f"{DETAIL}.hidden")
    assert browser.see("document.activeElement.id") == "grid"


def test_two_sides_are_shown_row_by_row(browser: Browser, page: str) -> None:
    """Paired by their keys, with the differences as a picture; and the address opens the same again."""
    browser.open(f"{page}#tab=rows&beside=2&score=good&row=k4")
    browser.until(f"{DETAIL}.querySelectorAll('article').length === 2")
    assert "2,969 are on both sides, 30 only beside" in browser.see(STATUS)
    words = browser.see("document.querySelector('.difference figcaption').textContent")
    assert words.startswith("good: mean difference ")
    assert "(95 %: " in words
    bars = browser.see("[...document.querySelectorAll('.difference rect title')].map((each) => each.textContent)")
    counts = {text.partition(": ")[0]: int(text.partition(": ")[2].replace(",", "")) for text in bars}
    assert sum(counts.values()) == 2999 - 30 - 6
    assert counts["+1"] == sum(number % 4 == 0 for number in range(2999))
    assert browser.see(f"{DETAIL}.querySelectorAll('.scores b')[0].textContent") == "no"
    assert browser.see(f"{DETAIL}.querySelectorAll('.scores b')[2].textContent") == "yes"
    browser.choose("show", "higher")
    shown(browser, counts["+1"])
    browser.choose("show", "unpaired")
    shown(browser, 31)


def test_what_models_say_is_only_shown(browser: Browser, tmp_path: Path) -> None:
    """Nothing of it is run or becomes an element, and a huge text is shown in parts, all of it."""
    evil = (
        f"{EVIL}<img src=x onerror=\"document.title='run'\"><iframe srcdoc='<script>parent.document.title=1</script>'>"
    )
    huge = "<b>" * 1_000_000 + "end"
    rows = [
        record(0, output=evil, prompt=[{"role": evil, "content": evil}], metadata={evil: [evil]}, scores={evil: False})
    ]
    rows += [record(1, error=evil, traceback=evil), record(2, output=huge)]
    rows += [record(3 + place, output=text.encode("utf-8", "replace").decode()) for place, text in enumerate(ODD)]
    path = tmp_path / "page.html"
    stored(tmp_path / "results.db", {evil: rows, f"{evil} 2": rows}, evil)
    assert main(["report", evil, "--store", str(tmp_path / "results.db"), "-o", str(path)]) == 0
    browser.open(f"{path.as_uri()}#tab=rows&beside=2&row=k0")
    for number in range(len(rows)):
        browser.until(f"{DETAIL}.querySelector('h2')?.textContent === 'Row {number}'")
        assert browser.see(f"{DETAIL}.querySelectorAll('article').length") == 2
        assert browser.see("document.title") == evil
        assert browser.see("document.querySelectorAll('img, iframe, b:not(.scores b, figcaption b)').length") == 0
        if number in (0, 1):
            assert browser.see(f"{DETAIL}.textContent").count(evil) >= 4
        browser.see("document.querySelector('#detail .bar button:nth-of-type(2)').click()")
    browser.open(f"{path.as_uri()}#tab=rows&row=k2")
    browser.until(f"{DETAIL}.querySelector('article pre')")
    assert browser.see(f"{DETAIL}.querySelector('article pre').textContent.length") == 50_000
    browser.see("(() => { let more; while (more = document.querySelector('#detail pre + button')) more.click(); })()")
    assert browser.see(f"{DETAIL}.querySelector('article pre').textContent.length") == len(huge)
    browser.choose("text", "<b>end")
    shown(browser, 1)


def test_samples_of_a_row_are_together(browser: Browser, tmp_path: Path) -> None:
    """Each is a line of the list; opened, all of the row are shown; and a row counts once where sides are compared."""

    def samples(good: int) -> list[Record]:
        return [
            record(number, sample=sample, output=f"answer {number}.{sample}", scores={"good": sample <= good})
            for number in range(10)
            for sample in (1, 2, 3)
        ]

    path = tmp_path / "page.html"
    stored(tmp_path / "results.db", {"eval_it[a]": samples(1), "eval_it[b]": samples(2)}, epochs=3)
    assert main(["report", "it", "--store", str(tmp_path / "results.db"), "-o", str(path)]) == 0
    browser.open(f"{path.as_uri()}#tab=rows&beside=2&score=good&row=k4%232")
    browser.until(f"{DETAIL}.querySelectorAll('article').length === 6")
    assert "answer 4.3" in browser.see(f"{DETAIL}.textContent")
    assert browser.see(STATUS) == "30 of 30 samples; 10 rows are on both sides, 0 only beside"
    assert browser.see("document.querySelector('.difference figcaption').textContent").endswith(
        "10 higher, 0 the same, 0 lower"
    )
    assert browser.see(f"{ROWS}[1].firstChild.textContent") == "0 · 2"


def test_rows_of_one_id_are_paired_by_their_values(browser: Browser, tmp_path: Path) -> None:
    """In any order, also where only one side has several of an id; equal ones by their count."""
    rows = [{"id": number % 4, "question": f"question {number % 7}"} for number in range(20)]
    asked = {"before": [*rows, {"id": 9, "question": "first"}], "after": [{"id": 9, "question": "other"}, *rows[::-1]]}
    asked["after"].append({"id": 9, "question": "first"})

    async def eval_it(question: str) -> Result:
        return Result(f"answer to {question}", scores={"good": True})

    async def ask() -> None:
        for name, dataset in asked.items():
            ready = foreach("question", dataset)(eval_it)
            await run(ready, store=tmp_path / "results.db", experiment=name)

    anyio.run(ask)
    path = tmp_path / "page.html"
    words = ["report", "before", "after", "--store", str(tmp_path / "results.db"), "-o", str(path)]
    assert main(words) == 0
    browser.open(f"{path.as_uri()}#tab=rows&beside=2&score=good")
    browser.until(f"{STATUS}.endsWith('21 are on both sides, 1 only beside')")
    cells = browser.see(f"{ROWS}.map((each) => [...each.children].map((cell) => cell.textContent))")
    pairs = [[text for text in row if text.startswith("answer")] for row in cells]
    assert len(pairs) > 10  # those that are in sight
    assert all(len(pair) == 2 and pair[0] == pair[1] for pair in pairs)


def test_the_page_notices_that_another_file_has_taken_the_place(browser: Browser, tmp_path: Path) -> None:
    """Under the same path, with the same numbers for other rows, and more or fewer of them."""
    path = tmp_path / "results.db"
    text = "document.querySelector('#space').textContent"

    def replaced(text: str, rows: int) -> None:
        new = tmp_path / "new.db"
        stored(new, {"one": [record(number, output=f"{text} {number}") for number in range(rows)]})
        new.replace(path)

    replaced("first", 3)
    with serving(path) as server:
        browser.open(f"{server.address}#tab=rows")
        browser.until(f"{text}.includes('first 2')")
        for word, rows in (("second", 3), ("third", 1)):
            replaced(word, rows)
            browser.until(f"{text}.includes('{word} {rows - 1}')")
            assert "first" not in browser.see(text)
        copy = tmp_path / "copy.db"
        copy.write_bytes(path.read_bytes())
        with (
            closing(sqlite3.connect(copy)) as connection,
            connection,
        ):  # of the same time, and with the same numbers
            connection.execute("UPDATE rows SET output = '\"fourth\"'")
        copy.replace(path)
        browser.until(f"{text}.includes('fourth') && !{text}.includes('third')")
        browser.call("Page.navigate", url="about:blank")  # or it asks on when nobody serves it
