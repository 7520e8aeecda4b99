"""Tables for people: columns that stand under each other, on a terminal and as plain text everywhere else.

rich measures and aligns, as it knows how wide letters are. What stands in a cell is only text: no markup, and no code
that a terminal would obey. Nothing is ever cut off or broken in two, so that all of it can be searched, cut by column
and copied. On a terminal that is too narrow, the longest column is given lines of its own instead.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text

from ._printed import Styled, in_a_line

_ENDLESS = 1_000_000
_HEAD = Style(bold=True)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text.

    Args:
        rows: The cells of each.
        head: What the columns are called; empty for a table without a head.
        right: The numbers of the columns that stand to the right.
        long: The number of the column whose cells are given lines of their own where the terminal is too narrow: above
            the others if it is the first column, else below.
    """

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    right: AbstractSet[int] = frozenset()
    long: int = 0

    def texts_for(self, file: TextIO) -> list[str]:
        """The texts as they suit the file they are printed to: on a terminal, styled, unless ``NO_COLOR`` is set."""
        if not file.isatty():
            return self.texts()
        styled = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return self.texts(shutil.get_terminal_size().columns, styled=styled)

    def texts(self, width: int | None = None, *, styled: bool = False) -> list[str]:
        """A text for the head, if there is one, and one for each row: a line, or two where one would be too long.

        Args:
            width: How wide the terminal is; `None` where there is none, and lines may be as long as they like.
            styled: Whether the head may stand out.
        """
        given = [self.head, *self.rows] if self.head else self.rows
        rows = [[in_a_line(cell) for cell in row] for row in given]
        texts = _aligned(rows, self.right)
        if width is not None and max(map(cell_len, texts), default=0) > width:
            texts = self._on_two_lines(rows)
        if styled and self.head:
            texts[0] = "\n".join(map(_HEAD.render, texts[0].split("\n")))
        return [*map(Styled, texts)]

    def _on_two_lines(self, rows: Sequence[Sequence[str]]) -> list[str]:
        long = self.long
        right = {number - (number > long) for number in self.right - {long}}
        others = _aligned([[*row[:long], *row[long + 1 :]] for row in rows], right)
        if long == 0:
            pairs = ((row[0], f"  {line}") for row, line in zip(rows, others, strict=True))
        else:
            pairs = ((line, f"  {row[long]}") for row, line in zip(rows, others, strict=True))
        return ["\n".join(line for line in pair if line.strip()) for pair in pairs]


def _aligned(rows: Sequence[Sequence[str]], right: AbstractSet[int]) -> list[str]:
    """The rows as lines, their columns two spaces apart."""
    if not rows:
        return []
    table = RichTable(box=None, show_header=False, padding=(0, 2, 0, 0))
    for number in range(len(rows[0])):
        table.add_column(justify="right" if number in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    drawn = io.StringIO()
    plain = Console(file=drawn, width=_ENDLESS, color_system=None, force_terminal=False, force_jupyter=False)
    plain.print(table)
    return [line.rstrip() for line in drawn.getvalue().splitlines()]
