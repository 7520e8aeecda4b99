"""Servers on this machine, as seen from a program that uses them: starting, finding, and holding on to them."""
