"""Whether ``doteval serve`` is asked for one address of several models; knows nothing of how it serves them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

ENDPOINT_ONLY = {"host": "127.0.0.1", "wait": 1800.0}
"""The options that one server has not, and their defaults."""
ALIAS = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)=(.+)", re.DOTALL)
"""A model with a name of its own."""


def is_meant(options: argparse.Namespace) -> bool:
    """Whether the arguments ask for several models, or give a model a name of their own."""
    specs: Sequence[str] = options.specs
    return len(specs) > 1 or (options.server_command is None and ALIAS.fullmatch(specs[0]) is not None)
