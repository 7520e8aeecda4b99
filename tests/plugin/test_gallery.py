"""The page that shows every error is what runs of pytest print."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from tests.forks import Forks
from tests.plugin import gallery

import doteval
import doteval.evals


@pytest.fixture(scope="module")
def printed(forks: Forks) -> dict[str, str]:
    """What is printed for each error."""
    with tempfile.TemporaryDirectory(prefix="gallery-", dir="/tmp") as directory:  # sockets need a short path
        return gallery.outputs(forks, Path(directory))


def unmarked(text: str) -> str:
    """Without what marks a part of the line above, where each version of Python marks another one."""
    return re.sub(r"^[ ~^]*\^[ ~^]*\n", "", text, flags=re.MULTILINE)


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="older ones draw other lines around it")
def test_the_page_shows_what_is_printed(printed: dict[str, str]) -> None:
    """Where they differ, and that is meant: ``python -m tests.plugin.gallery``, and read it."""
    page, now = gallery.PAGE.read_text("utf-8"), gallery.page(printed)
    assert unmarked(page) == unmarked(now)


def test_every_error_is_on_the_page() -> None:
    """All that a user can import; the root is raised by nobody, and a forked child prints for itself."""
    errors = {
        name
        for module in (doteval, doteval.evals)
        for name in module.__all__
        if isinstance(value := getattr(module, name), type) and issubclass(value, doteval.DotevalError)
    }
    assert errors - {"DotevalError", "ForkedProcessError"} == {case.error for case in gallery.CASES}


@pytest.mark.parametrize("error", [case.error for case in (*gallery.CASES, *gallery.OTHERS)])
def test_the_first_screen_says_the_cause_and_what_to_do(error: str, printed: dict[str, str]) -> None:
    """At 80 columns: no line of ours but the message, whose first line fits, and fewer lines than a screen has."""
    lines = printed[error].rstrip().splitlines()
    assert len(lines) <= 45
    assert not any(re.search(r"(src|site-packages)/|doteval/\w+\.py|contextlib|^\.\.\. ", line) for line in lines)
    assert len(lines[-1]) <= gallery.WIDTH
    message = [line.removeprefix("E").strip() for line in lines[1:-1] if line.startswith("E ")] or lines[1:-1]
    long = ("ModelRequestError", "A proxy that is not there", "ServerStartError", "ServerLostError")
    if error not in long:  # these have to say more
        first = re.sub(r"^doteval[\w.]+: |(?<=')[^']*(?=')", "", message[0])  # names are as long as they are
        assert len(first) <= gallery.WIDTH, first
    assert len(message) > 1, "it does not say what to do"
