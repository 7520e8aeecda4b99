"""The evaluators, beside models of what they read."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doteval.evals import contains, exact_match, json_valid, numeric_close
from doteval.evals._evaluators.numerals import last_number

# ------------------------------------------------------------------ numbers

MINUS = ["-", "\u2212", "\u2010", "\u2011", "\u2012", "\u2013", "\ufe63", "\uff0d"]
GROUPINGS = [("", "."), (",", "."), *((space, point) for space in "\u00a0\u2009\u202f'\u2019_" for point in ".,")]
"""What stands between thousands, and before what is less than one."""
BEFORE = ["", "The answer is ", "= ", "(", "**", "\\boxed{", "1, 2, 3 and ", "12.05.2024: ", "10-", "答案是"]
AFTER = ["", ".", " Euro", " %", "%", "€", ")", "**", "}", ", I think.", "\n", " - done"]
MONEY = ["", "$", "€", "\\$", "£"]


@st.composite
def written(draw: st.DrawFn) -> tuple[str, float]:
    """A number as somebody may write it, and the number."""
    whole, places = draw(st.integers(0, 10**12)), draw(st.integers(0, 6))
    fraction = "".join(map(str, draw(st.lists(st.integers(0, 9), min_size=places, max_size=places))))
    value = float(Decimal(f"{whole}.{fraction or 0}"))
    group, point = draw(st.sampled_from(GROUPINGS))
    digits = f"{whole:,}"
    if "," in digits and group:
        text = digits.replace(",", group) + (point + fraction if fraction else "")
    else:
        text = str(whole) + ("." + fraction if fraction else "")
    before = draw(st.sampled_from(BEFORE))
    if draw(st.booleans()) and before != "10-":
        value, text = -value, draw(st.sampled_from(MINUS)) + draw(st.sampled_from(MONEY)) + text
    elif before != "10-":
        text = draw(st.sampled_from(MONEY)) + text
    return before + text + draw(st.sampled_from(AFTER)), value


@given(written())
def test_a_number_is_read_however_it_is_written(example: tuple[str, float]) -> None:
    """All ways of writing it, by all signs, with other numbers before it and anything after it."""
    text, value = example
    assert last_number(text) == value
    assert numeric_close(text, value)
    assert not numeric_close(text, value + 1 + abs(value) / 10)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-2021", 2021),
        ("10-12", 12),
        ("10\u201312", 12),
        ("10 - 12", 12),
        ("10 -12", -12),
        ("10%-12%", 12),
        ("$10-$12", 12),
        ("10$-12$", 12),
        ("x-5", 5),
        ("covid-19", 19),
        ("x=-5", -5),
        ("(3,-4)", -4),
        ("$-5", -5),
        ("-$5", -5),
        ("-.5", -0.5),
        ("1.000,5", 1000.5),
        ("-1.000,5", -1000.5),
        ("1.234.567,89", 1234567.89),
        ("1.000.000", 1e6),
        ("1.000", 1),
        ("1,000", 1000),
        ("1,5", 5),
        ("1,2345", 2345),
        ("1,234,56", 56),
        ("2,500,3,200", 3200),
        ("12.05.2024", 2024),
        ("1e3", 1000),
        ("-1.5E-3", -0.0015),
        ("1,000e3", 1e6),
        ("42.", 42),
        ("+7", 7),
        ("\u0664\u0662", 42),  # Arabic digits
        ("x\u00b2", None),  # a superscript is no number
        ("-", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1e999", math.inf),
    ],
)
def test_the_last_number_of_a_text(text: str, value: float | None) -> None:
    """The table of what is decided."""
    assert last_number(text) == value


@given(st.text(st.sampled_from("0123456789.,-+eE$€%'_ \u2009\u2212()ab"), max_size=40))
def test_any_text_has_a_number_where_it_has_a_digit(text: str) -> None:
    """And it ends with the last of them."""
    found = last_number(text)
    assert (found is None) is not any(letter.isdecimal() for letter in text)
    if found is not None:
        assert found == last_number("seven " + text + " x")


@pytest.mark.parametrize("part", [".111", ",111", "1", "\u2009111", "$", "1-", "1.", "-"])
def test_a_text_that_goes_on_and_on_is_read_in_no_time(part: str) -> None:
    """As a model may write it that cannot stop: the search does not begin again with every digit."""
    assert last_number("1" + part * 200_000 + "1") is not None


@pytest.mark.parametrize("expected", [18, 18.0, "18", " $18.00 ", "#### 18", Decimal(18), Fraction(36, 2)])
def test_what_is_expected_is_a_number_or_a_text_with_one(expected: Any) -> None:
    """As many datasets have it."""
    assert numeric_close("So 6 * 3 = 18.", expected)
    assert not numeric_close("So 6 * 3 = 19.", expected)


@pytest.mark.parametrize(
    ("expected", "error", "message"),
    [
        (math.nan, ValueError, "a finite number, not nan"),
        (math.inf, ValueError, "a finite number, not inf"),
        (-math.inf, ValueError, "a finite number, not -inf"),
        (10**400, ValueError, "a finite number, not inf"),
        ("1e999", ValueError, "a finite number, not inf"),
        ("eighteen", ValueError, "there is none in 'eighteen'"),
        ("", ValueError, "there is none in ''"),
        (None, TypeError, "not NoneType: None"),
        ([18], TypeError, r"not list: \[18\]"),
    ],
)
def test_what_no_number_is_close_to_is_not_expected(expected: Any, error: type[Exception], message: str) -> None:
    """It is the error of its row, and not a score of no."""
    with pytest.raises(error, match=re.escape("numeric_close() expects") + ".*" + message):
        numeric_close("18", expected)


# ------------------------------------------------------------------ JSON

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(values, st.sampled_from([None, 2]), st.booleans())
def test_what_is_json_is_valid(value: Any, indent: int | None, is_fenced: bool) -> None:
    """Fenced, too."""
    text = json.dumps(value, indent=indent)
    assert json_valid(f"```json\n{text}\n```" if is_fenced else text)


@given(st.text(st.sampled_from('[]{}:,"\\ 01-.eatruefalsn\n'), max_size=30))
def test_what_is_valid_is_what_python_reads(text: str) -> None:
    """But for NaN and Infinity, which are in no such text."""
    try:
        json.loads(text.strip())
    except ValueError:
        assert not json_valid(text)
    else:
        assert json_valid(text)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "[NaN]", '{"a": Infinity}', "[" * 100_000, "[1[2]]",
                                  "]", "[[1]2]", "-[1]", "[}", '{[1]: 2}', '\\"' * 100_000, '{"a": [}]'])  # fmt: skip
def test_what_is_no_json(text: str) -> None:
    assert not json_valid(text)


@pytest.mark.parametrize("text", ["[" * 20_000 + "]" * 20_000, '{"a":' * 20_000 + "1" + "}" * 20_000, "9" * 5000,
                                  "-1e999", '"NaN"', '["[", "]]", "\\"["]'])  # fmt: skip
def test_json_may_be_deep_and_have_huge_numbers(text: str) -> None:
    assert json_valid(text)


# ------------------------------------------------------------------ texts


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["NFC", "NFD"]))
def test_a_text_is_itself_however_it_is_encoded(text: str, form: Any) -> None:
    """With space around it, and in either case where that does not count."""
    other = f" {unicodedata.normalize(form, text)}\n"
    assert exact_match(other, text)
    assert exact_match(other.casefold(), text, ignore_case=True)
    if text.strip():
        assert contains(f"<{other}>", text) or not unicodedata.is_normalized("NFC", f"<{text.strip()}>")


@pytest.mark.parametrize(
    ("output", "expected", "is_match"),
    [
        ("4", 4, True),
        (4, "4", True),
        (4, 4.0, True),
        (4, 5, False),
        ({"a": [1, 2]}, {"a": [1, 2]}, True),
        ([1, 2], (1, 2), False),
        (None, None, True),
        ("None", None, False),
        (None, "None", False),
        (None, "", False),
        ("", "", True),
        (True, "True", True),
        (b"a", "a", False),
    ],
)
def test_what_is_no_text_matches_what_it_equals(output: Any, expected: Any, is_match: bool) -> None:
    """A text matches what is written so; and no answer is not the answer None."""
    assert exact_match(output, expected) is is_match


@pytest.mark.parametrize("expected", ["", " \n", None])
def test_what_is_in_everything_is_not_looked_for(expected: Any) -> None:
    """A dataset with an empty cell would have all right."""
    with pytest.raises(ValueError, match="which is in everything"):
        contains("anything", expected)
    assert not contains(None, "None")
    assert contains(["a", 42], 42)
