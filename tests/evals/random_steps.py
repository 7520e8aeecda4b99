"""The steps of random histories, as hypothesis draws them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from tests.evals.histories import VALUES, Beside, Delete, Rename, Rescore, Run

EXPERIMENTS = st.sampled_from(["one", "one", "one", "two"])
ENDS = ["cancel", "interrupt", "tell", "overtake"]
KILLS = ["killed", "killed telling", "killed writing"]
RUNS = st.builds(
    Run,
    experiment=EXPERIMENTS,
    values=st.lists(st.integers(0, len(VALUES) - 1), max_size=12).map(tuple),
    limit=st.sampled_from([None, None, None, 3]),
    shuffle=st.sampled_from([False, False, True]),
    epochs=st.sampled_from([1, 1, 2, 3]),
    version=st.sampled_from([1, 1, 1, 2]),
    changed=st.sampled_from(["error", "rerun", "keep"]),
    fresh=st.sampled_from([False, False, False, True]),
    cache=st.booleans(),
    transcripts=st.booleans(),
    failing=st.frozensets(st.integers(0, 11), max_size=3) | st.just(frozenset(range(12))),
    ends=st.none() | st.tuples(st.integers(0, 8), st.sampled_from(ENDS)),
    concurrency=st.sampled_from([1, 3]),
    backend=st.sampled_from(["asyncio", "trio"]),
)
CHANGES = (
    st.builds(Delete, EXPERIMENTS)
    | st.builds(Rename, EXPERIMENTS, EXPERIMENTS)
    | st.builds(Rescore, EXPERIMENTS, EXPERIMENTS, st.booleans())
)
KILLED_RUNS = st.builds(
    lambda one, number, how: replace(one, ends=(number * (3 if how == "killed writing" else 1), how)),
    RUNS,
    st.integers(0, 8),
    st.sampled_from(KILLS),
)
KILLED_CHANGES = st.builds(lambda change, killed: replace(change, killed=killed), CHANGES, st.integers(0, 30))
WHOLE_RUNS = RUNS.filter(lambda one: one.values).map(lambda one: replace(one, ends=None))
RUNS_BESIDE = st.builds(
    lambda one, at, meanwhile, killed: Beside(replace(one, ends=(at, "hold")), tuple(meanwhile), killed),
    RUNS.filter(lambda one: one.values),
    st.integers(0, 5),
    st.lists(WHOLE_RUNS | WHOLE_RUNS | CHANGES, min_size=1, max_size=3),
    st.booleans(),
)

IN_PROCESS = RUNS | RUNS | RUNS | CHANGES
"""What one process does."""
ALL = RUNS | CHANGES | KILLED_RUNS | KILLED_RUNS | KILLED_CHANGES | RUNS_BESIDE
"""What several do, some of which are killed."""
