"""Evaluators: plain functions that say how good an output is. What they return is a score.

The parts::

    texts  numerals   whether an output is, or has in it, what was expected
    json_text schemas whether it is JSON, and of the shape that is wanted
    choices           which of several answers it gives
    judge  readings   what another model thinks of it
"""
