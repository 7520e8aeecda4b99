"""Runs of pytest in a process of their own, in a directory of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path


def install_provider(directory: Path, name: str, source: str) -> None:
    """Make ``make()`` in `source` a registered provider of the runs in `directory`."""
    metadata = directory / f"{name}_models-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-models\nVersion: 1.0\n", "utf-8")
    entry_points = f"[doteval.model_providers]\n{name} = {name}_models:make\n"
    (metadata / "entry_points.txt").write_text(entry_points, "utf-8")
    (directory / f"{name}_models.py").write_text(source, "utf-8")


def run_pytest(directory: Path, file: str, *plugins: str, passed: int, **environment: str) -> float:
    """Run one file with these plugins only; returns seconds, the start of the process among them."""
    loads = [argument for plugin in plugins for argument in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *loads, file]
    variables = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(directory), **environment}
    # What pytest has rewritten of a plugin is kept from the first run on, as everywhere where nobody forbids it.
    variables["PYTHONPYCACHEPREFIX"] = str(directory / "cache")
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    result = subprocess.run(
        command, cwd=directory, env=environ | variables, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    assert f"{passed} passed" in result.stdout, result.stdout + result.stderr
    return seconds
