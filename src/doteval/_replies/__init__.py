"""A cache of what models replied, behind `generate` and `stream`.

The parts::

    form    what a request is known by
    opening how the SQLite file is opened
    file    what is in it, and which reply answers which request
    cache   ReplyCache
    asked   one request on its way through
"""
