"""Evaluations in pytest: collected, run, shown while they run."""
