"""Tables for people, on a terminal and in a file."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import anyio
import pytest
from rich.cells import cell_len
from tests.forks import DEVNULL, Forks

from doteval import Result, foreach
from doteval._tables import Table
from doteval.cli import main
from doteval.evals import Store, run
from doteval.evals._results.statistics import Aggregate
from doteval.evals._results.tables import number, shown_interval, shown_mean

HEAD = ("name", "rows", "state")
ROWS = [("short", "7", "done"), ("a-longer-name", "1,200", ""), ("モデル🎉", "30", "not finished")]
TABLE = Table(ROWS, HEAD, right={1})
NAME = "eval_it[モデル/[blink]-a-name-that-is-very-long]"


class Terminal(io.StringIO):
    """A file that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns; nobody has asked for colours, nor against them."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


def test_a_file_gets_plain_aligned_lines() -> None:
    """Two spaces between columns, numbers to the right, nothing at the end of a line; wide letters count twice."""
    assert TABLE.texts_for(io.StringIO()) == [
        "name            rows  state",
        "short              7  done",
        "a-longer-name  1,200",
        "モデル🎉          30  not finished",
    ]


@pytest.mark.parametrize("name", ["FORCE_COLOR", "CLICOLOR_FORCE"])
def test_a_file_gets_no_escape_codes_whatever_the_environment_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Continuous integration sets such variables for whatever runs there, and what it prints is read by programs."""
    monkeypatch.setenv(name, "1")
    assert "\x1b" not in "".join(TABLE.texts_for(io.StringIO()))


def test_nothing_is_cut_off_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is, and however narrow the terminal beside it."""
    monkeypatch.setenv("COLUMNS", "20")
    long = "x" * 5000
    assert Table([(long, "1")]).texts_for(io.StringIO()) == [f"{long}  1"]


def test_the_head_stands_out_on_a_terminal() -> None:
    """And nothing else does."""
    texts = TABLE.texts_for(Terminal())
    assert texts[0] == "\x1b[1mname            rows  state\x1b[0m"
    assert texts[1:] == TABLE.texts()[1:]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_styles_gets_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever uses it has said so, or it could not show them."""
    monkeypatch.setenv(name, value)
    assert TABLE.texts_for(Terminal()) == TABLE.texts()


def test_where_the_terminal_is_too_narrow_a_long_first_column_stands_above() -> None:
    """A row that continues the one before has nothing to say there."""
    table = Table([("x" * 60, "7", "done"), ("", "1,200", "not finished")], HEAD, right={1})
    assert table.texts(70) == [
        "name\n   rows  state",
        "x" * 60 + "\n      7  done",
        "  1,200  not finished",
    ]
    assert "\n" not in table.texts(81)[0]


def test_where_the_terminal_is_too_narrow_any_other_long_column_stands_below() -> None:
    """So the first one still begins the line."""
    rows = [("one", "x" * 60, "7"), ("three", "", "1,200")]
    assert Table(rows, right={2}, long=1).texts(40) == ["one        7\n  " + "x" * 60, "three  1,200"]


def test_wide_letters_count_twice_where_it_is_asked_whether_a_line_fits() -> None:
    """A line of wide letters that fits by their number does not fit by their width."""
    table = Table([("日本" * 10, "日本")])
    assert "\n" not in table.texts(46)[0]
    assert "\n" in table.texts(45)[0]


def test_cells_are_text_and_nothing_else() -> None:
    """What a model or a user has named is neither markup nor an emoji's name nor a code that a terminal obeys."""
    rows = [
        ("[bold red]x[/bold red]", ":smile: [/]"),
        ("\x1b[31mred\x1b[0m\r", "two\nlines\t\x9b31m"),
        ("  a", "\\[b]"),
    ]
    assert Table(rows).texts() == [
        r"[bold red]x[/bold red]  :smile: [/]",
        r"\x1b[31mred\x1b[0m\r    two\nlines\t\x9b31m",
        r"  a                     \[b]",
    ]


def test_a_table_without_rows() -> None:
    """It is its head, if it has one."""
    assert Table([], HEAD).texts(80) == ["name  rows  state"]
    assert Table([]).texts(80, styled=True) == []


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two experiments whose names look like markup."""

    @foreach("value", [1, 2, 3])
    async def eval_it(value: int) -> Result:
        return Result(f"[bold]{value}[/bold]", scores={"[r]s": value, "日本": value > 1})

    async def make() -> None:
        async with Store() as store:
            for experiment in ("[bold]one", "[bold]two"):
                await run(eval_it, store=store, experiment=experiment, name=NAME)

    monkeypatch.chdir(tmp_path)
    anyio.run(make)


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(
    ("arguments", "name"),
    [(["list"], "[bold]two"), (["show", "[bold]one"], NAME), (["compare", "[bold]one", "[bold]two"], NAME)],
)
def test_results_are_shown_letter_for_letter(
    arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a pipe, nothing is a style, and nothing follows the last column."""
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert name in printed
    assert "\x1b" not in printed
    assert [line for line in printed.splitlines() if line.endswith(" ")] == []


@pytest.mark.usefixtures("results")
def test_results_fit_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the evaluation stands above its numbers; no line is wider than the terminal."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["show", "[bold]one"]) == 0
    lines = terminal.getvalue().splitlines()
    assert lines[0].startswith("\x1b[1mevaluation")
    assert NAME in lines
    assert max(map(cell_len, lines[2:])) <= 80


@pytest.mark.process
def test_what_draws_tables_is_imported_where_there_is_one_to_draw(forks: Forks) -> None:
    """It takes as long to import as all else that a command needs."""
    code = (
        "import sys\n"
        "ours = [name for name in sys.modules if name.partition('.')[0] in ('doteval', 'rich')]\n"
        "for name in ours: del sys.modules[name]\n"
        "import doteval, doteval.evals, doteval.cli\n"
        "try: doteval.cli.main(['--version'])\n"
        "except SystemExit: pass\n"
        "assert 'rich' not in sys.modules\n"
        "doteval.cli.main(['providers'])\n"
        "assert 'rich' in sys.modules\n"
    )
    with forks.start("-c", code, stdout=DEVNULL, stderr=2) as fork:
        assert fork.wait(60) == 0


@pytest.mark.parametrize(
    ("value", "shown", "in_percent"),
    [
        (2999 / 3000, "0.9997", "99.97%"),
        (0.99996, "0.99996", "99.996%"),
        (1 / 3000, "0.0003333", "0.03%"),
        (1.0, "1", "100.0%"),
        (1 - 1e-15, "1", "100.0%"),
        (0.0, "0", "0.0%"),
        (0.5, "0.5", "50.0%"),
    ],
)
def test_nothing_is_rounded_to_certainty(value: float, shown: str, in_percent: str) -> None:
    """Where one row of 3,000 is wrong, it is not 100 %."""
    found = Aggregate(3000, value, 0.0, value, value, is_boolean=True, is_binary=True)
    assert (number(value), shown_mean(found)) == (shown, in_percent)
    assert shown_interval(found) == f"{in_percent[:-1]} to {in_percent}"
    assert number(4 + value).strip("0123456789") == ("" if value in (0, 1 - 1e-15, 1) else ".")
