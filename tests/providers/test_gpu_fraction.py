"""``gpu_fraction``: what is a part of a GPU, and how a server is told to take no more than its own."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from doteval import CommandProvider, SGLangProvider, TransformersProvider, VLLMProvider


@pytest.mark.parametrize(
    "value", [0, -0.5, 0.001, 1.0001, 1.5, 2, float("nan"), float("inf"), True, None, "0.5", 10**400, [0.5]], ids=repr
)
def test_what_is_no_part_of_a_slot_is_refused(value: Any) -> None:
    """The error says how to take several GPUs."""
    for kind in (VLLMProvider, TransformersProvider):
        with pytest.raises(ValueError, match=r"^gpu_fraction must be a number from 0.01 to 1, .* parallel sizes"):
            kind(gpu_fraction=value)


@pytest.mark.parametrize("value", [1, 1.0, 0.01, Fraction(1, 3)])
def test_a_part_of_a_slot_is_any_real_number(value: Any) -> None:
    """Also those that JSON does not know."""
    assert json.dumps(TransformersProvider(gpu_fraction=value)._terms.fraction)


@pytest.mark.parametrize(("given", "wanted"), [({}, "0.45"), ({"gpu_memory_utilization": 0.3}, "0.3")])
def test_vllm_takes_no_more_memory_than_its_part(given: Any, wanted: str) -> None:
    """With a bit to spare, for what it does not count; of a whole GPU it takes what it likes."""
    argv = VLLMProvider(gpu_fraction=0.5, executable="/vllm", **given).command("m").argv
    assert argv[argv.index("--gpu-memory-utilization") + 1] == wanted
    assert "--gpu-memory-utilization" not in VLLMProvider(executable="/vllm").command("m").argv


def test_vllm_is_not_told_to_take_more_than_its_part() -> None:
    """When the provider is made, and in setup() of one model."""
    match = r"gpu_memory_utilization=0.6 is more of a GPU than gpu_fraction=0.5"
    with pytest.raises(ValueError, match=match):
        VLLMProvider(gpu_fraction=0.5, gpu_memory_utilization=0.6)
    with pytest.raises(ValueError, match=match):
        VLLMProvider(gpu_fraction=0.5).command("m", gpu_memory_utilization=0.6)


def test_sglang_has_to_be_told_how_much_memory_it_may_take() -> None:
    """What it takes by itself is nearly all that is free."""
    with pytest.raises(ValueError, match=r"^gpu_fraction=0.5 needs mem_fraction_static="):
        SGLangProvider(gpu_fraction=0.5)
    SGLangProvider(gpu_fraction=0.5, mem_fraction_static=0.4)


def test_a_part_of_no_slot_is_refused() -> None:
    """Servers that take no slots have no part of one."""
    command = ["server", "{port}"]
    with pytest.raises(ValueError, match=r"gpu_fraction= is a part of slots, and the servers take none"):
        CommandProvider(command, gpu_fraction=0.5)
    CommandProvider(command, gpu_fraction=0.5, capacity=1)
