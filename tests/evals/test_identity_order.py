"""In which order descriptions are put into a fingerprint."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from doteval.evals._identity.looks import in_order

DESCRIBED = st.recursive(
    st.text("(', ab", max_size=3) | st.integers(0, 20),
    lambda held: st.tuples(held, held) | st.tuples(held),
    max_leaves=6,
)


@given(st.lists(DESCRIBED, max_size=8))
def test_what_is_sorted_is_in_the_order_of_what_is_written(described: list[object]) -> None:
    """As in the fingerprints that are stored, however little of it had to be written."""
    assert in_order([*described]) == sorted(described, key=repr)
