"""``doteval report``: a page about experiments."""

from __future__ import annotations

import argparse
import io
import sys
from typing import IO

from .._printed import say
from ._prices import check_prices, prices_of
from ._problem import Problem
from ._results import all_chosen, opened
from ._whole_file import whole_file


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    try:
        from ..evals._results.report import write_page  # noqa: PLC0415 - what it needs is an extra
    except ModuleNotFoundError as exc:
        raise Problem("the page needs the package jinja2: pip install 'jinja2>=3.1'") from exc
    prices = prices_of(options)
    title = ", ".join(options.names)
    with opened(options) as results:
        found = all_chosen(results, options.names)
        check_prices(options, prices, results, found)
        if options.output == "-":
            output: IO[str] = sys.stdout
            if isinstance(output, io.TextIOWrapper):
                output.reconfigure(encoding="utf-8")  # as the page says, whatever the terminal's is
            write_page(sys.stdout, results, found, title, prices)
            return 0
        name = options.output or f"{'_'.join(options.names).replace('/', '_')}.html"
        with whole_file(name) as path, path.open("w", encoding="utf-8", newline="") as file:
            write_page(file, results, found, title, prices)
    say(name)
    return 0
