"""How the fingerprints begin of what an evaluation writes, and of the files that it reads, or says that it needs."""

from __future__ import annotations

SEEMS_WRITTEN = "?"
"""Of what it can write, as far as its code tells."""
IS_WRITTEN = "~"
"""Of what it was seen to write while it ran: that is state, and no result depends on how it began."""
NOTHING = "-"
"""All that is left of one of what is not there yet, such as what is made when it is asked for."""
WAS_READ = "@"
"""Of a file that a run has read: one that has changed is told, and no error, as it may be a log."""
DECLARED = "+"
"""Of a file or a directory that the user says results depend on: one that has changed is an error, as other code is."""
UNDEFINED = "the name "
"""How the names begin of what code reads that nothing has defined."""
OF_ROWS = "in its rows: "
"""How the names begin of what only rows are made of: where it comes or goes with them, that is no change."""
