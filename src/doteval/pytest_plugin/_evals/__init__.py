"""Evaluations in pytest: collected, run, shown while they run and when they are done."""
