"""The mutants that are no mistakes, each with the reason."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {}
