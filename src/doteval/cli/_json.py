"""What commands print for programs: one JSON array of objects, whatever the command."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from typing import Any, cast


def print_json(objects: Iterable[Mapping[str, Any]]) -> None:
    """Print them; in ASCII, so that every terminal and pipe has it, and with null for what is no finite number."""
    print(json.dumps([_finite(each) for each in objects], indent=2))


def run_by_others() -> AbstractContextManager[object]:
    """Around code of others: what that prints goes to stderr, as a program reads what the command prints."""
    return redirect_stdout(sys.stderr)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(each) for name, each in cast("Mapping[object, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in cast("list[Any]", value)]
    return value
