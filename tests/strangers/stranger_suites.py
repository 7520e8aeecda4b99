"""Suites of other styles: the same tests, with the same outcome, where doteval is installed, and green when moved."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tests.strangers.conftest import SYMPTOMS
from tests.strangers.suites import SUITES
from tests.strangers.suites_of_apps import APPS

EVERY = {**SUITES, **APPS}

pytestmark = pytest.mark.process


def outcomes(directory: Path, environment: dict[str, str], *options: str) -> dict[str, list[str]]:
    """Of each test, by its name: nothing where it passed."""
    report = directory / "report.xml"
    command = [
        sys.executable,
        "-X",
        "dev",
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:dotevals",
        f"--junit-xml={report}",
        *options,
    ]
    done = subprocess.run(
        command, check=False, cwd=directory, env=environment, capture_output=True, text=True, timeout=120
    )
    assert report.exists(), done.stdout + done.stderr
    assert not any(symptom in done.stdout + done.stderr for symptom in SYMPTOMS), done.stdout + done.stderr
    found = {
        f"{case.get('classname')}.{case.get('name')}": [child.tag for child in case if child.tag != "properties"]
        for case in ET.parse(report).getroot().iter("testcase")
    }
    assert found, done.stdout + done.stderr
    return found


@pytest.mark.parametrize("name", EVERY)
def test_a_suite_stays_what_it_is_and_can_move(name: str, tmp_path: Path, environment: dict[str, str]) -> None:
    """Without the plugin, with it, and moved; every test passes each time."""
    suite = EVERY[name]
    for file, text in {"pytest.ini": f"[pytest]\n{suite.ini}\n", **suite.before}.items():
        (tmp_path / file).write_text(text, "utf-8")
    before = outcomes(tmp_path, environment, "-p", "no:doteval", *suite.options)
    assert not any(before.values()), before
    assert outcomes(tmp_path, environment, *suite.options) == before
    for file, text in suite.after.items():
        (tmp_path / file).write_text(text, "utf-8")
    after = outcomes(tmp_path, environment, *suite.options)
    assert not any(after.values()), after
    assert len(after) == len(before)
