"""Command lines that are printed for people to type."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from doteval._hints import command_line, quoted
from doteval._printed import in_a_line

WORDS = [
    "it",
    "two words",
    "",
    "'",
    '"',
    "\\",
    "\\n",
    "$HOME",
    "`ls`",
    "a\nb",
    "\x1b[31m'red\\'",
    "\u202eabc",
    "ü ñ",
    "\x85",
    "!x",
    "*",
    "~",
]


@pytest.mark.process
def test_a_word_is_what_a_shell_takes_it_for() -> None:
    """Also one with what a terminal would obey, of which nothing is printed."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    told = [quoted(word) for word in WORDS]
    assert [in_a_line(word) for word in told] == told
    script = f"printf '%s\\0' {' '.join(told)}"
    done = subprocess.run([bash, "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode().split("\0")[:-1] == WORDS


def test_the_file_is_named_where_the_command_would_take_another(tmp_path: Path) -> None:
    """Seen from the directory in which it is going to be run."""

    def line(file: str, *names: str) -> str:
        return command_line("show", *names, option="--store", file=Path(file), directory=tmp_path)

    assert line(".doteval/results.db", "it") == "doteval show it"
    assert line(f"{tmp_path}/x/../.doteval/results.db", "it") == "doteval show it"
    assert line("here.db", "it") == "doteval show it --store=here.db"
    assert line("/elsewhere/r s.db", "-it") == "doteval show '--store=/elsewhere/r s.db' -- -it"
