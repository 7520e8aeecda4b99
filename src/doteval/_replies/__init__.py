"""A cache of what models replied, behind `generate` and `stream`.

The parts::

    form    what a request is known by
    file    the SQLite file
    cache   ReplyCache, and which reply answers which request
    asked   one request on its way through
"""
