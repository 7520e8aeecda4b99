"""``doteval report``: a page about an experiment."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..evals._report import page
from ._results import chosen, opened


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    store = opened(options)
    path = Path(options.output or f"{options.name.replace('/', '_')}.html")
    path.write_text(page(store, chosen(store, options.name), options.name), "utf-8")
    print(path)
    return 0
