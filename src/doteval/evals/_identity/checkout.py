"""Where in the user's project lies what a text names: the project may be in another place tomorrow."""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

_NAMES = (r"[\w.%~+-]", rb"[\w.%~+\x80-\xff-]")
"""What a path does not stand right beside, as that would be more of a name."""


class Project:
    """The directory of a project.

    Args:
        directory: Its path; `None` where there is none.
    """

    def __init__(self, directory: str | None) -> None:
        path = PurePath(directory or "")
        forms = {str(path), path.as_posix(), quote(path.as_posix())} if path.name else set[str]()
        self._texts = sorted(forms)
        self._bytes = [os.fsencode(form) for form in self._texts]
        either = "|".join(map(re.escape, self._texts))
        self._in_text = re.compile(f"(?<!{_NAMES[0]})(?:{either})(?!{_NAMES[0]})")
        self._in_bytes = re.compile(b"(?<!%b)(?:%b)(?!%b)" % (_NAMES[1], os.fsencode(either), _NAMES[1]))

    def around(self, value: Any) -> list[Any]:
        """What stands around the path of the project, or of what lies in it, in a text or bytes; at least all of it."""
        if isinstance(value, str):
            return self._in_text.split(value) if any(form in value for form in self._texts) else [value]
        return self._in_bytes.split(value) if any(form in value for form in self._bytes) else [value]
