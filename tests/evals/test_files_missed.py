"""Files that rows look for and do not find: one that is there later is told when their results are answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evals.test_files_read import answered, modules, project

__all__ = ["modules"]

LOOKS = {
    "raised": "def look(q):\n    try: return (HERE / 'told.txt').read_text()\n    except OSError: return 'brief'",
    "asked": "def look(q):\n    if not (HERE / 'told.txt').exists(): return 'brief'",
    "made": "def look(q):\n    try: return (HERE / 'told.txt').read_text()\n"
    "    except OSError: return (HERE / 'told.txt').write_text('brief')",
    "made and gone": "def look(q):\n    try: return (HERE / 'told.txt').read_text()\n"
    "    except OSError: (HERE / 'told.txt').write_text('brief')\n    (HERE / 'told.txt').unlink()",
    "hidden": "def look(q):\n    try: return (HERE / '.env').read_text()\n    except OSError: return 'brief'",
    "a directory": "def look(q):\n    try: return (HERE / 'more').read_text()\n    except OSError: return 'brief'",
}


@pytest.mark.anyio
@pytest.mark.parametrize("way", LOOKS)
async def test_whoever_gets_an_old_answer_is_told_that_a_file_is_there_now(tmp_path: Path, way: str) -> None:
    """It was looked for in vain, as of a prompt that may be overridden; but what a run makes is its own affair."""
    place = project(tmp_path)
    source = f"{LOOKS[way]}\nasync def ask(q): return look(q)"
    for _ in range(2):
        assert not (await answered(place, source)).warnings
    for name in ("told.txt", ".env"):
        (place / name).write_text("long")
    told = " ".join((await answered(place, source)).warnings)
    assert ("the file told.txt (which was not there) was read, and has changed since" in told) == (way == "raised")
    assert bool(told) == (way == "raised")
    (place / "told.txt").unlink()
    assert not (await answered(place, source)).warnings
