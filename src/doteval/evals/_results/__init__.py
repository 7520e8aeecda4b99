"""The results of an evaluation: kept, added up, compared, shown. Nothing here knows how evaluations are run.

The parts::

    plain  record                  what values become, what is kept of a row
    database  rows  store          the file, its rows, what all others use
    intervals  statistics          what rows say together, and how sure that is
    compare                        two sides, row by row
    tables  export  pricing        for terminals, for files; what tokens cost
    histogram  pictures  overview  what evaluations say as wholes, and what is where in its pictures
    blocks  page  report  live     rows in a page; its templates, style and script; the page; while a run goes on
"""
