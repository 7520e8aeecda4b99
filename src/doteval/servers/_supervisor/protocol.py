"""What both sides have to agree on before they can talk."""

from __future__ import annotations

PROTOCOL = 4
"""The version of what they say to each other; servers of another one are never joined.

Whatever the version, a supervisor understands ``status``, ``end`` and ``stop``, and a status has ``protocol``, ``id``,
``spec``, ``slots``, ``state``, ``leases`` and ``last_used``. Whoever reads one does without all the rest.
"""

MARKER = "DOTEVAL_SERVER"
"""An environment variable that every process of a server inherits; its value is the server's own directory.

What looks after a server has a path below that directory there.
"""
