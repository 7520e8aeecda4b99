"""Finds the last number in a text, however people and models write numbers."""

from __future__ import annotations

import re

_LONGEST = 4000
"""How many characters a number may have: what is longer could keep the search busy, and is none that anybody means."""
_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),  # hyphens, dashes and minus signs
        **dict.fromkeys("\ufe62\uff0b", "+"),
        **dict.fromkeys("\u00a0\u2007\u2008\u200a\u202f", "\u2009"),  # spaces that do not break a number
        "\u2019": "'",
    }
)
_MONEY = "$¢£¤¥฿₩₪₫€₱₹₺₽"
_NUMBER = re.compile(
    rf"""
    (?P<sign> (?<! [\dA-Za-zÀ-ɏ_)\]}}%°{_MONEY}] ) [-+] )?  # that of 10-12 is none
    (?: (?<!\d) (?<!\d\s) \\? [{_MONEY}] (?P<inner> [-+] )? )?
    (?:
        (?P<points> \d{{1,3}} (?: \.\d{{3}} )+ , \d+ (?! \d | ,\d ) | \d{{1,3}} (?: \.\d{{3}} ){{2,}} (?! \d | \.\d ) )
      | (?P<spaces> \d{{1,3}} (?P<space> [\u2009'_] ) \d{{3}} (?: (?P=space) \d{{3}} )* (?!\d) (?: [.,]\d+ )? )
      | (?P<commas> \d{{1,3}} (?: ,\d{{3}} )+ (?!\d) (?: \.\d+ )? | \d+ (?: \.\d+ )? | (?<!\d) \.\d+ )
    )
    (?P<exponent> [eE] [-+]? \d+ )?
    """,
    re.VERBOSE,
)


def last_number(text: str) -> float | None:
    """The last number in a text; `None` where there is none. One that is too large for a float is infinite.

    Args:
        text: Where to look.
    """
    end = len(text)
    while end and not text[end - 1].isdecimal():
        end -= 1
    found = [*_NUMBER.finditer(text[max(0, end - _LONGEST) : end].translate(_SAME))]
    if not found:
        return None
    match = found[-1]
    if (digits := match["points"]) is not None:
        digits = digits.replace(".", "").replace(",", ".")
    elif (digits := match["spaces"]) is not None:
        digits = digits.replace(match["space"], "").replace(",", ".")
    else:
        digits = match["commas"].replace(",", "")
    value = float(digits + (match["exponent"] or ""))
    return -value if "-" in (match["sign"], match["inner"]) else value
