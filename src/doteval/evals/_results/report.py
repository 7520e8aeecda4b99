"""One page of HTML about evaluations, with nothing outside of it: to be opened anywhere, sent, and kept.

Tables and pictures are there at once, and without a script; every row is in the file as well, in `blocks` that the
script of the directory ``page`` unpacks where somebody looks. What the templates are given they escape; what the script
shows it sets as text; and the policy in its head lets nothing run but that script, and nothing be fetched.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .blocks import FIRST_ROWS, INDEX_ROWS, Details, Index, line_of, packed
from .compare import Comparison, compare
from .overview import full_names, labels, overview
from .plain import storable
from .pricing import Prices
from .reading import Results, Stored

_PAGE = Path(__file__).with_name("page")
_SCRIPTS = (
    "blocks",
    "rows",
    "select",
    "parts",
    "detail",
    "requests",
    "list",
    "pictures",
    "groups",
    "app",
    "live",
    "open",
)
_MOST_COMPARED = 300_000
"""How many rows are compared for the page at most; other pairs are shown without intervals."""
_CUT = "<!-- cut -->"
_NO_PRICES = Prices({})


def write_page(
    file: IO[str], results: Results, evaluations: Sequence[Stored], title: str, prices: Prices = _NO_PRICES
) -> None:
    """Write the page, with a few blocks of rows in memory.

    Args:
        file: Where to.
        results: Where they are; what is written while the page is made must not be seen.
        evaluations: Which ones.
        title: What it is called.
        prices: What tokens cost.
    """
    head, between, end = page_around(settings(results, evaluations, title), overview(results, evaluations, prices))
    file.write(head)
    with TemporaryFile("w+", encoding="ascii") as details:  # the page needs the index first
        for stored in evaluations:
            for block in _index_and_details(results, stored, prices, details):
                file.write(block)
        file.write(between)
        details.seek(0)
        while part := details.read(1 << 20):
            file.write(part)
    file.write(end)


def settings(results: Results, evaluations: Sequence[Stored], title: str) -> dict[str, Any]:
    """What the script is told: which evaluations there are, and how those differ that belong together."""
    return {
        "title": storable(title),
        "evaluations": described(evaluations),
        "comparisons": [as_told(comparison) for comparison in _comparisons(results, evaluations)],
    }


def described(evaluations: Sequence[Stored]) -> list[dict[str, Any]]:
    """Evaluations, as the script knows them."""
    names, short = full_names(evaluations), labels(evaluations)
    return [
        {
            "id": stored.id, "name": name, "label": label, "model": stored.model, "rows": stored.rows,
            "stored": stored.stored, "errors": stored.errors, "started": stored.started, "finished": stored.finished,
        }
        for stored, name, label in zip(evaluations, names, short, strict=True)
    ]  # fmt: skip


def as_told(comparison: Comparison) -> dict[str, Any]:
    """A comparison, as the script knows it."""
    scores = {each.score: _finite(asdict(each)) for each in comparison.differences}
    ids = {"before": comparison.before.id, "after": comparison.after.id}
    return ids | {"unpaired": comparison.unpaired.total, "scores": scores}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and value - value != 0 else value for name, value in values.items()}


def _comparisons(results: Results, evaluations: Sequence[Stored]) -> Iterator[Comparison]:
    left = _MOST_COMPARED
    for place, before in enumerate(evaluations):
        for after in evaluations[place + 1 :]:
            rows = before.stored + after.stored
            if rows <= left and before.name.partition("[")[0] == after.name.partition("[")[0]:
                left -= rows
                yield compare(results, before, after)


def page_around(told: dict[str, Any], seen: dict[str, Any] | None = None) -> tuple[str, str, str]:
    """The page without its rows: what comes before the index, between index and details, and after.

    Args:
        told: What the script is told.
        seen: What `overview` has found; where it is `None`, the page asks the server that gave it, for that and for
            rows, and nobody else.
    """
    live = seen is None
    style, script = (_PAGE / "page.css").read_text("utf-8"), _script()
    reached = "'self'" if live else "'none'"
    policy = (
        f"default-src 'none'; script-src 'sha256-{_digest(script)}'; style-src 'sha256-{_digest(style)}'; "
        f"connect-src {reached}; base-uri 'none'; form-action 'none'"
    )
    page = _templates().get_template("page.html").render(
        seen or {}, live=live, title=told["title"], settings=_in_script({**told, "live": live}), policy=policy,
        cut=_ours(_CUT), style=_ours(style), script=_ours(script),
    )  # fmt: skip
    before, between, after = page.split(_CUT)
    return before, between, after


def overview_part(seen: dict[str, Any]) -> str:
    """What a page that is open already shows of evaluations as wholes."""
    return _templates().get_template("overview.html").render(seen)


@cache
def _script() -> str:
    parts = [(_PAGE / f"{name}.js").read_text("utf-8") for name in _SCRIPTS]
    return "(() => {\n" + "\n".join(parts) + "})();\n"


def _digest(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode("ascii")


def _in_script(values: dict[str, Any]) -> Markup:
    """JSON as an element of HTML may have it."""
    return _ours(json.dumps(values).replace("<", "\\u003c"))


def _ours(text: str) -> Markup:
    """A text that stands in the page as it is: written by us, or without anything that ends an element."""
    return Markup(text)  # noqa: S704


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(_PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Any] = templates.filters  # jinja2 says that they all are like its own
    filters.update(counted=_counted)
    return templates


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _index_and_details(results: Results, stored: Stored, prices: Prices, file: IO[str]) -> Iterator[str]:
    """The blocks of the index; those of details are written to a file."""
    index, details, first = Index(prices), Details(), 0
    most = FIRST_ROWS

    def write_details() -> int:
        count, text = details.take()
        element = f'<script type="text/plain" class="details" data-of="{stored.id}" data-first="{first}"'
        file.write(f'{element} data-count="{count}">{packed(text)}</script>\n')
        return first + count

    for record in results.records(stored):
        details.add(record, results.transcript_text(stored, record.key, record.sample))
        if details.is_full:
            first = write_details()
        index.add(record)
        if len(index) == most:
            yield _index_element(stored, index, is_packed=most > FIRST_ROWS)
            most = INDEX_ROWS
    first = write_details()
    yield _index_element(stored, index, is_packed=most > FIRST_ROWS)


def _index_element(stored: Stored, index: Index, *, is_packed: bool) -> str:
    line = line_of(index.take())
    kind, text = ("text/plain", packed(line)) if is_packed else ("application/json", line.replace("<", "\\u003c"))
    return f'<script type="{kind}" class="index" data-of="{stored.id}">{text}</script>\n'
