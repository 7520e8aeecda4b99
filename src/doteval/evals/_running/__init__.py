"""Running an evaluation: rows from a dataset, many at once, each given its arguments.

The parts::

    evaluation  dataset            a function and its rows
    arguments  limits              what a row gets, how many at once
    engine  commits                runs rows, has them done when they are kept
    outcome  missing  run          what comes of it, the rows that are not there yet, the whole
"""
