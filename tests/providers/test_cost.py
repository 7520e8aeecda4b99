"""What a request costs, counted in calls of functions: more than was written down is a failure, on any machine.

`nox -s instructions` counts instructions, which sees more, and takes minutes. Here it is calls: a tenth more than on
Python 3.11 may be another version of Python or of the SDKs; what is more is a change of ours.
"""

from __future__ import annotations

import gc
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from benchmarks._requests import QUESTIONS, SIDES

import doteval

HOME = str(Path(doteval.__file__).parent)
COUNTED = dict(zip(QUESTIONS, ((0.55, 153), (0.39, 1105), (0.81, 128), (1.03, 402)), strict=True))
"""Of a request: how many calls there are for one of the raw SDK's, and how many of them are of functions of ours."""
SLACK = 1.1
FEW, MORE = 10, 20


def calls(side: Any, question: str, backend: str, requests: int) -> tuple[int, int]:
    """All calls, and those of our functions, from the first request to the last."""
    counts = {True: 0, False: 0}
    is_ours: dict[str, bool] = {}

    def count(frame: Any, event: str, _: object) -> None:
        if event == "call":
            name = frame.f_code.co_filename
            counts[is_ours.setdefault(name, name.startswith(HOME))] += 1
        elif event == "c_call":
            counts[False] += 1

    gc.collect()
    gc.disable()  # what it finds is found at other moments each time
    try:
        sys.setprofile(count)
        anyio.run(partial(side, requests=requests, **QUESTIONS[question]), backend=backend)
    finally:
        sys.setprofile(None)
        gc.enable()
    return sum(counts.values()), counts[True]


@pytest.mark.parametrize(
    ("question", "backend"), [*((each, "asyncio") for each in QUESTIONS), (next(iter(QUESTIONS)), "trio")]
)
def test_a_request_costs_no_more_than_it_did(question: str, backend: str) -> None:
    each = {}
    for side, function in SIDES.items():
        anyio.run(partial(function, requests=1, **QUESTIONS[question]), backend=backend)  # what is made once
        few, more = (calls(function, question, backend, requests) for requests in (FEW, MORE))
        each[side] = [(after - before) / (MORE - FEW) for before, after in zip(few, more, strict=True)]
    ratio, own = each["doteval"][0] / each["raw"][0], each["doteval"][1]
    print(f"{question}, {backend}: {each}, which is {ratio:.3f}, {own:.1f} of ours")
    most, most_own = COUNTED[question]
    assert ratio <= most * SLACK
    assert own <= most_own * SLACK
