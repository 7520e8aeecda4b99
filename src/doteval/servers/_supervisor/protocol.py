"""What both sides have to agree on before they can talk."""

from __future__ import annotations

MARKER = "DOTEVAL_SERVER"
"""An environment variable that every process of a server inherits; its value is the server's own directory.

What looks after a server has a path below that directory there.
"""
