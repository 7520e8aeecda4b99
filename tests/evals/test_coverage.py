"""Whether 95 % intervals hold what is true in 95 % of all runs; `python -m tests.evals.coverage` simulates more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.evals import coverage
from tests.evals.coverage import COUNTS, SHARES, is_in_band

CELLS = [(count, share) for count in COUNTS for share in SHARES]
PAGE = Path(__file__).parents[2] / "docs/reference/evals.md"


def fewer(count: int, samples: int) -> int:
    """Where there are many rows, a third of the samples: they take three quarters of the time."""
    return samples // 3 if count > 20 else samples


def told(title: str) -> dict[tuple[int, float], float]:
    """The table of the page that begins with this."""
    (block,) = re.findall(rf"^\| {re.escape(title)} \|.*\n(?:\|.*\n)+", PAGE.read_text("utf-8"), re.MULTILINE)
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
    counts = [int(count) for count in head[1:]]
    return {
        (count, float(share)): float(cell) for share, *cells in lines for count, cell in zip(counts, cells, strict=True)
    }


@pytest.mark.parametrize(("count", "share"), CELLS)
def test_the_interval_of_a_share_holds_it(count: int, share: float) -> None:
    """In .93 to .97 of all runs, or no interval can; computed, not simulated. The page says the same."""
    held = coverage.of_share(count, share)
    assert is_in_band(held) is coverage.share_can_be_in_band(count, share)
    assert held > 0.91
    assert told("shares")[count, share] == round(held, 3)


@pytest.mark.process
@pytest.mark.parametrize(("count", "share"), CELLS)
def test_the_interval_of_paired_shares_holds_their_difference(count: int, share: float) -> None:
    """In .93 to .97 of all runs; in more where only what is no clear difference could make it less."""
    held = coverage.of_paired(count, share, share)
    assert is_in_band(held) is coverage.paired_can_be_in_band(count, share)
    assert held > coverage.LOWEST
    assert told("paired shares")[count, share] == round(held, 3)


@pytest.mark.process
@pytest.mark.parametrize("after", [0.4, 0.8, 0.89])
@pytest.mark.parametrize("count", [20, 100])
def test_the_interval_of_paired_shares_holds_a_difference_that_there_is(count: int, after: float) -> None:
    """0.1 lower than before; never in fewer than .93."""
    assert coverage.of_paired(count, after + 0.1, after) > coverage.LOWEST


@pytest.mark.process
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("count", [5, 20, 100])
def test_the_interval_of_numbers_holds_their_mean(count: int, share: float) -> None:
    """In .93 to .97, also where they pile up at one end, but for five that do so most: Student's would in .89."""
    held = coverage.of_numbers(count, share, 6000 // count * 10)
    assert is_in_band(held) or (count, share) == (5, 0.99)
    assert held > 0.92
    assert held == pytest.approx(told("numbers")[count, share], abs=0.02)


@pytest.mark.process
@pytest.mark.parametrize(
    ("count", "alike"), [(100, 0.3), *((count, alike) for count in (5, 20) for alike in (0.0, 0.3, 0.6, 1.0))]
)
@pytest.mark.parametrize("share", SHARES)
def test_the_interval_of_a_share_holds_it_however_much_rows_of_a_cluster_are_alike(
    count: int, share: float, alike: float
) -> None:
    """Four samples of each question; as the page says."""
    held = coverage.of_clustered_share(count, share, alike, fewer(count, 800))
    assert held > 0.9
    if share == 0.5 and count > 5:
        assert is_in_band(held)
    if alike == 0.3:
        assert held == pytest.approx(told("shares in clusters")[count, share], abs=0.02)


@pytest.mark.parametrize(("count", "share"), [(count, share) for count, share in CELLS if count <= 100])
def test_the_interval_of_all_samples_together_holds_what_is_true(count: int, share: float) -> None:
    """Of four samples of each row, in .93 to .97, or no interval can, as each row is 0 or 1; computed."""
    held = coverage.of_samples_together(count, share, "pass^4", 0)
    true = coverage.samples_together(share, "pass^4", 4)[1]
    assert is_in_band(held) is coverage.share_can_be_in_band(count, true)
    assert told("pass^4 of four")[count, share] == round(held, 3)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("count", [5, 20])
def test_the_interval_of_some_samples_together_holds_what_is_true(count: int, share: float) -> None:
    """Of four samples of each row; computed. The page says the same."""
    held = coverage.of_samples_together(count, share, "pass@2", 0)
    assert 0.915 < held < 0.975
    assert told("pass@2 of four")[count, share] == round(held, 3)


@pytest.mark.process
@pytest.mark.parametrize("alike", [0.0, 0.6])
@pytest.mark.parametrize("count", [5, 20])
def test_the_intervals_of_clustered_numbers_and_pairs_hold_what_is_true(count: int, alike: float) -> None:
    """Also where clusters are of very different sizes; where these are few and rows independent, in more than .97."""
    assert is_in_band(coverage.of_clustered_numbers(count, alike, fewer(count, 800)))
    held = coverage.of_clustered_numbers(count, alike, 3000, (12, 4, 4, 1, 1))
    assert coverage.LOWEST < held < 0.985
    assert coverage.of_clustered_pairs(count, 0.9, alike, fewer(count, 500)) > coverage.LOWEST


@pytest.mark.process
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("count", [5, 20, 100])
def test_the_interval_of_clustered_pairs_is_as_the_page_says(count: int, share: float) -> None:
    """Never in fewer than .93."""
    held = coverage.of_clustered_pairs(count, share, 0.3, 300)
    assert coverage.LOWEST < held == pytest.approx(told("paired shares in clusters")[count, share], abs=0.03)
