"""What files and directories hold that the user says results depend on, as it is kept and compared."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from .._written import DECLARED, WAS_READ

FILE = "the file "
DIRECTORY = "the directory "
LISTED = "the list of "
"""Which files there are of a kind, such as ``docs/*.md``."""
_MIXED = f"{DECLARED}mixed "
_LISTED = 2000
"""Of how many files of a directory it is kept which they are; of more, only how many."""
_SHORT = 8
_FIRST = 3


def part_of_file(digest: str) -> str:
    """What is kept of a file."""
    return f"{DECLARED}{digest}"


def part_of_directory(digest: str, files: Mapping[str, str], newest: list[str]) -> str:
    """What is kept of a directory.

    Args:
        digest: Of all that is in it.
        files: The digests of its files, by their names.
        newest: Those that were written last, which is all that can be said where there are too many.
    """
    known: dict[str, Any] = {"files": len(files)}
    if len(files) <= _LISTED:
        each = json.dumps({name: digest[:_SHORT] for name, digest in files.items()})
        known["each"] = base64.b64encode(zlib.compress(each.encode())).decode()
    else:
        known["newest"] = newest[:_FIRST]
    return f"{DECLARED}{digest} {json.dumps(known)}"


def part_of_mixed(told: str) -> str:
    """What is kept of what has changed while rows were run: it is the same as nothing, so that nobody is answered.

    Args:
        told: What has changed, as half a sentence.
    """
    return f"{_MIXED}{told}"


def is_mixed(part: str | None) -> bool:
    """Whether a part is that of what has changed while rows were run."""
    return part is not None and part.startswith(_MIXED)


def is_declared(part: str | None) -> bool:
    """Whether a part is of that kind."""
    return part is not None and part.startswith(DECLARED)


def without_declared(parts: Mapping[str, str], identity: Mapping[str, str]) -> dict[str, str]:
    """Files that were read, but for those that the user says results depend on, as more is known of these.

    Args:
        parts: What is known of them.
        identity: All that results depend on.
    """
    declared = {name for name, part in identity.items() if is_declared(part)}
    directories = [name.removeprefix(DIRECTORY) for name in declared if name.startswith(DIRECTORY)]
    within = tuple("" if each == "." else f"{each}/" for each in directories)
    return {
        name: part
        for name, part in parts.items()
        if not (part.startswith(WAS_READ) and (name in declared or _path_in(name).startswith(within)))
    }


def _path_in(name: str) -> str:
    return name.removeprefix(FILE).removeprefix(LISTED)


def is_same_content(before: str | None, now: str | None) -> bool:
    """Whether what is declared now, or was, is as it was, also where it had only been read."""
    if before is None or now is None:
        return False
    return _digest_in(before) == _digest_in(now)


def told_of_content(name: str, before: str | None, now: str | None) -> str:
    """What has changed, as half a sentence."""
    shown = printable(name)
    if before is not None and is_mixed(before):
        return f"{before.removeprefix(_MIXED)}, while rows were run"
    if before is None or now is None:
        return f"depends_on names {shown}, and did not" if before is None else f"depends_on names {shown} no more"
    if not name.startswith(DIRECTORY) or is_mixed(now):
        return f"{shown} has changed"
    old, new = _known_in(before), _known_in(now)
    if "each" not in old or "each" not in new:
        newest = ", ".join(map(printable, new.get("newest", ())))
        count = f"{old.get('files', 0):,} files then and {new.get('files', 0):,} now"
        return f"{shown} has changed ({count}{f'; written last: {newest}' if newest else ''})"
    one, other = _each(old), _each(new)
    found = [_told(each, one, other) for each in sorted({**one, **other}) if one.get(each) != other.get(each)]
    more = f" and {len(found) - _FIRST:,} more" if len(found) > _FIRST else ""
    return f"{shown} has changed: {', '.join(found[:_FIRST])}{more}"


def _told(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    shown = printable(name)
    return f"{shown} (new)" if name not in before else f"{shown} (gone)" if name not in now else shown


def printable(name: object) -> str:
    """A name as it can be printed, which a file of any system need not have."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(name))


def _digest_in(part: str) -> str:
    return part[1:].partition(" ")[0]


def _known_in(part: str) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(part.partition(" ")[2] or "{}")
    return known


def _each(known: Mapping[str, Any]) -> dict[str, str]:
    each: dict[str, str] = json.loads(zlib.decompress(base64.b64decode(known["each"])))
    return each
