"""``doteval report``: a page about an experiment."""

from __future__ import annotations

import argparse
import sys

from ._problem import Problem
from ._results import chosen, opened
from ._whole_file import whole_file


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    try:
        from ..evals._results.report import page  # noqa: PLC0415 - what it needs is an extra
    except ModuleNotFoundError as exc:
        raise Problem("the page needs the package jinja2: pip install 'jinja2>=3.1'") from exc
    with opened(options) as results:
        text = page(results, chosen(results, options.name), options.name)
    if options.output == "-":
        sys.stdout.write(text)
        return 0
    name = options.output or f"{options.name.replace('/', '_')}.html"
    with whole_file(name) as path:
        path.write_text(text, "utf-8")
    print(name)
    return 0
