"""Distributions that are only just made: metadata and modules in a directory, as an installer would leave them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent


def install(
    directory: Path,
    name: str,
    version: str = "1.0",
    *,
    entry_points: dict[str, dict[str, str]] | None = None,
    requires: tuple[str, ...] = (),
    **modules: str,
) -> None:
    """Put a distribution into `directory`, which has to be on the import path of whoever is to find it.

    Args:
        directory: Where to.
        name: The distribution's name.
        version: Its version.
        entry_points: Name and value of its entry points, by group.
        requires: What it depends on.
        modules: The source of its modules, by name; a double underscore stands for a dot.
    """
    metadata = directory / f"{name}-{version}.dist-info"
    metadata.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (metadata / "METADATA").write_text("\n".join(lines) + "\n", "utf-8")
    sections = [
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in values.items())])
        for group, values in (entry_points or {}).items()
    ]
    (metadata / "entry_points.txt").write_text("\n\n".join(sections) + "\n", "utf-8")
    for module, source in modules.items():
        (directory / f"{module}.py").write_text(dedent(source), "utf-8")
