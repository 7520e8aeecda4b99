"""Mutants of the pool: its source with one small mistake each, which its tests are to notice (``nox -s mutants``)."""
