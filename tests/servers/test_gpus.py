"""Which GPUs a server may use, on machines that are made up: a variable, and a fake ``nvidia-smi`` on the PATH."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.conftest import PATIENCE

from doteval import _forked
from doteval.servers._slots import gpus as gpus_module
from doteval.servers._slots.gpus import Gpu, SlotSet, choose, installed_gpus, takes_time, visible_gpus

UUIDS = ("GPU-aa00", "GPU-ab11", "GPU-bb22", "GPU-cc33")
NOTHING: Mapping[str, str] = {"PATH": ""}


class Machine(Protocol):
    def __call__(self, script: str = ..., **variables: str) -> dict[str, str]: ...


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Makes an environment whose PATH has nothing but a fake ``nvidia-smi``; by default it knows four GPUs."""
    listing = "".join(f"echo '{index}, {uuid}'\n" for index, uuid in enumerate(UUIDS))

    def make(script: str = listing, **variables: str) -> dict[str, str]:
        command = tmp_path / "nvidia-smi"
        command.write_text(f"#!/bin/sh\n{script}")
        command.chmod(0o755)
        return {"PATH": str(tmp_path), **variables}

    return make


def tokens(gpus: tuple[Gpu, ...]) -> list[str]:
    return [gpu.token for gpu in gpus]


# ---------------------------------------------------------------- what is visible


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("0", ["0"]),
        ("2,0", ["2", "0"]),
        (" 0, 1 ", ["0", "1"]),
        ("GPU-1234-56,GPU-ab", ["GPU-1234-56", "GPU-ab"]),
        ("MIG-1234,MIG-GPU-56/1/0", ["MIG-1234", "MIG-GPU-56/1/0"]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("none", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["0"]),
        ("0,1,,2", ["0", "1"]),
        ("0,x,2", ["0"]),
        ("0,1x,2", ["0"]),
        ("GPU-ab,0", ["GPU-ab"]),
        ("0,MIG-ab", ["0"]),
        ("1,0,1", []),
        ("GPU-ab,GPU-ab", []),
    ],
)
def test_the_variable_is_read_as_cuda_reads_it(setting: str, expected: list[str]) -> None:
    """The list ends before the first entry that cannot be one; one that is there twice makes it empty."""
    gpus = visible_gpus({**NOTHING, "CUDA_VISIBLE_DEVICES": setting})
    assert gpus == tuple(Gpu(token, token) for token in expected)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("3,1", [("3", "GPU-cc33"), ("1", "GPU-ab11")]),
        ("GPU-bb,GPU-cc33", [("GPU-bb", "GPU-bb22"), ("GPU-cc33", "GPU-cc33")]),
        ("MIG-7", [("MIG-7", "MIG-7")]),
        ("0,4,1", [("0", "GPU-aa00")]),
        ("GPU-bb,GPU-ff,GPU-cc", [("GPU-bb", "GPU-bb22")]),
        ("GPU-bb,GPU-a", [("GPU-bb", "GPU-bb22")]),
        ("1,01", []),
        ("GPU-bb,GPU-bb22", []),
    ],
)
def test_the_name_on_the_machine_is_the_uuid(machine: Machine, setting: str, expected: list[tuple[str, str]]) -> None:
    """The server gets the caller's own words, the lock has the UUID; what the machine does not have ends the list."""
    assert visible_gpus(machine(CUDA_VISIBLE_DEVICES=setting)) == tuple(Gpu(*pair) for pair in expected)


def test_a_caller_with_indices_and_one_with_uuids_mean_the_same_gpu(machine: Machine) -> None:
    """However a GPU is written, its lock is the same."""
    by_index, by_uuid, by_prefix = (
        choose("auto", None, machine(CUDA_VISIBLE_DEVICES=setting)) for setting in ("2", "GPU-bb22", "GPU-b")
    )
    assert by_index.names == by_uuid.names == by_prefix.names == ("GPU-bb22",)
    assert by_index.environment(["GPU-bb22"]) == {"CUDA_VISIBLE_DEVICES": "2"}
    assert by_prefix.environment(["GPU-bb22"]) == {"CUDA_VISIBLE_DEVICES": "GPU-b"}


def test_without_the_variable_all_gpus_are_visible(machine: Machine) -> None:
    """What ``nvidia-smi`` lists is what there is."""
    assert visible_gpus(machine()) == tuple(Gpu(str(index), uuid) for index, uuid in enumerate(UUIDS))


def test_without_anything_there_is_no_gpu() -> None:
    """No variable, no ``nvidia-smi``."""
    assert visible_gpus(NOTHING) == ()


def test_no_gpu_is_asked_for_where_the_variable_hides_them_all(machine: Machine, tmp_path: Path) -> None:
    """An empty variable needs no look at the machine."""
    assert visible_gpus(machine(f"echo > {tmp_path}/asked", CUDA_VISIBLE_DEVICES="")) == ()
    assert not (tmp_path / "asked").exists()


def test_nvidia_smi_is_asked_for_index_and_uuid(machine: Machine, tmp_path: Path) -> None:
    """The command that is run, letter for letter."""
    installed_gpus(machine(f'echo "$@" > {tmp_path}/asked'))
    assert (tmp_path / "asked").read_text() == "--query-gpu=index,uuid --format=csv,noheader\n"


@pytest.mark.parametrize(
    "script",
    [
        "echo '0, GPU-aa00'; exit 9",
        "echo 'No devices were found'",
        "echo 'Failed to initialize NVML: Driver/library version mismatch' >&2; exit 18",
        "echo '[N/A], [N/A]'",
        "printf '\\377\\376'",
        "",
    ],
)
def test_an_nvidia_smi_without_a_driver_knows_no_gpu(
    machine: Machine, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program without its driver is a machine without GPUs, not an error; the variable is taken at its word."""
    monkeypatch.setattr(gpus_module, "_DRIVER_SIGNS", ())
    assert visible_gpus(machine(script)) == ()
    assert visible_gpus(machine(script, CUDA_VISIBLE_DEVICES="5")) == (Gpu("5", "5"),)


@pytest.mark.parametrize("setting", [None, "0", "GPU-aa"])
@pytest.mark.parametrize("failures", [1, 2])
def test_an_nvidia_smi_that_fails_beside_a_driver_is_asked_once_more(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, setting: str | None
) -> None:
    """A GPU never goes by another name because of a failure: then two servers would have it."""
    monkeypatch.setattr(gpus_module, "_DRIVER_SIGNS", (str(tmp_path),))
    calls = tmp_path / "calls"
    environ = machine(
        f"echo x >> {calls}\nn=0\nwhile read _; do n=$((n+1)); done < {calls}\n"
        f"[ $n -le {failures} ] && exit 9\necho '0, GPU-aa00'",
        **({} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}),
    )
    if failures == 1:
        assert choose("auto", None, environ).names == ("GPU-aa00",)
    else:
        with pytest.raises(RuntimeError, match=r"nvidia-smi failed with exit code 9, twice, .*gpus=None"):
            choose("auto", None, environ)
    assert calls.read_text() == "x\n" * 2


@pytest.mark.process
def test_an_nvidia_smi_that_cannot_be_run_knows_no_gpu(tmp_path: Path) -> None:
    """It is there, but is for another machine."""
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF\0")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert visible_gpus({"PATH": str(tmp_path)}) == ()


def test_an_nvidia_smi_that_hangs_is_given_up(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed with the child that keeps its output open, and nothing of it is left."""
    monkeypatch.setattr(gpus_module, "SMI_TIMEOUT", 0.1)
    never, alive = tmp_path / "never", tmp_path / "alive"
    os.mkfifo(never)
    os.mkfifo(alive)
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(RuntimeError, match=r"gave no answer within 0\.1 s, twice"):
            visible_gpus(machine(f"exec 3>{alive}\n(read x <{never}) &\nread x <{never}"))
        assert select.select([reader], [], [], PATIENCE)[0]
        assert os.read(reader, 1) == b""  # nobody has the other end open
    finally:
        os.close(reader)


def test_nvidia_smi_is_run_once_in_a_process(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, at the same time and later; not where it has failed, or is another one by now."""
    monkeypatch.setattr(gpus_module, "_DRIVER_SIGNS", (str(tmp_path),))
    calls = tmp_path / "calls"
    environ = machine(f"echo x >> {calls}\n[ -e {tmp_path}/fails ] && exit 9\necho '0, GPU-aa00'")
    (tmp_path / "fails").touch()
    assert takes_time("auto", environ)
    with pytest.raises(RuntimeError, match="twice"):
        visible_gpus(environ)
    (tmp_path / "fails").unlink()
    calls.unlink()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: choose("auto", None, environ).names, range(16)))
    assert found == [("GPU-aa00",)] * 16
    assert not takes_time("auto", environ)
    assert not takes_time([0], environ)
    assert calls.read_text() == "x\n"
    assert takes_time([0], machine("echo '0, GPU-bb11'"))


def test_a_forked_child_does_not_wait_for_a_thread_that_it_has_not(machine: Machine) -> None:
    """Which was asking at the time of the fork."""
    environ = machine()
    with gpus_module._ANSWERS.lock:
        _forked._tell()  # as the child does before anything else
        assert len(visible_gpus(environ)) == len(UUIDS)


@pytest.mark.parametrize(
    ("gpus", "variables"), [(None, {}), ("auto", {"CUDA_VISIBLE_DEVICES": ""}), ([0], {"CUDA_VISIBLE_DEVICES": "-1"})]
)
def test_it_takes_no_time_where_nobody_has_to_ask(machine: Machine, gpus: Any, variables: dict[str, str]) -> None:
    """Without GPUs, or with none that may be used."""
    assert not takes_time(gpus, machine(**variables))
    assert not takes_time("auto", NOTHING)


# ---------------------------------------------------------------- AMD


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HIP_VISIBLE_DEVICES": "1,0"}, [("1", "AMD-1"), ("0", "AMD-0")]),
        ({"HIP_VISIBLE_DEVICES": "1,0", "ROCR_VISIBLE_DEVICES": "4,7"}, [("1", "AMD-7"), ("0", "AMD-4")]),
        ({"HIP_VISIBLE_DEVICES": "0,2", "ROCR_VISIBLE_DEVICES": "4,7"}, [("0", "AMD-4")]),
        ({"HIP_VISIBLE_DEVICES": "0,0"}, []),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
        ({"HIP_VISIBLE_DEVICES": "0", "ROCR_VISIBLE_DEVICES": "GPU-a1"}, [("0", "AMD-GPU-a1")]),
    ],
)
def test_gpus_of_amd_are_those_that_hip_may_use(variables: dict[str, str], expected: list[tuple[str, str]]) -> None:
    """By the name that they have on the whole machine; a server is told in the same variable."""
    environ = {**NOTHING, **variables}
    assert visible_gpus(environ) == tuple(Gpu(*pair) for pair in expected)
    slots = choose("auto", None, environ)
    assert slots.names == (tuple(name for _, name in expected) or ("slot-0",))
    if expected:
        assert slots.environment(slots.names[:1]) == {"HIP_VISIBLE_DEVICES": expected[0][0]}
        assert choose([expected[0][0]], None, environ).names == slots.names[:1]


def test_a_gpu_of_amd_that_is_not_visible_is_refused() -> None:
    """The error says who says so; and where CUDA's variable is set as well, that counts."""
    with pytest.raises(ValueError, match=r"GPU '2' .* may use 0 \(AMD-0\), says HIP_VISIBLE_DEVICES='0'"):
        choose([2], None, {**NOTHING, "HIP_VISIBLE_DEVICES": "0"})
    both = choose("auto", None, {**NOTHING, "HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"})
    assert both.environment(both.names) == {"CUDA_VISIBLE_DEVICES": "1"}


# ---------------------------------------------------------------- what is chosen


@pytest.mark.parametrize(
    ("gpus", "capacity", "names"),
    [
        (None, None, ("slot-0",)),
        (None, 3, ("slot-0", "slot-1", "slot-2")),
        ("auto", None, ("slot-0",)),
        ("auto", 2, ("slot-0", "slot-1")),
    ],
)
def test_without_gpus_there_are_plain_slots(gpus: Any, capacity: int | None, names: tuple[str, ...]) -> None:
    """One is the default; they change nothing in the environment of a server."""
    slots = choose(gpus, capacity, NOTHING)
    assert slots == SlotSet(names)
    assert slots.environment(names) == {}


def test_plain_slots_do_not_look_at_the_gpus(machine: Machine) -> None:
    """`None` means none, whatever the machine has."""
    assert choose(None, None, machine(CUDA_VISIBLE_DEVICES="0,1")) == SlotSet(("slot-0",))


def test_auto_takes_all_that_are_visible(machine: Machine) -> None:
    """With GPUs a capacity counts for nothing, so the same program runs with and without them."""
    slots = choose("auto", 1, machine(CUDA_VISIBLE_DEVICES="3,1"))
    assert slots.names == ("GPU-cc33", "GPU-ab11")
    assert slots.environment(["GPU-ab11"]) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert slots.environment(["GPU-ab11", "GPU-cc33"]) == {"CUDA_VISIBLE_DEVICES": "3,1"}


def test_indices_of_nvidia_smi_come_with_its_order(machine: Machine) -> None:
    """CUDA counts the fastest first unless it is told to count like ``nvidia-smi``."""
    slots = choose("auto", None, machine())
    assert slots.names == UUIDS
    assert slots.environment(["GPU-ab11"]) == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ([1], ["1"]),
        (["3", 1], ["3", "1"]),
        (["GPU-cc33"], ["3"]),
        (["GPU-c"], ["3"]),
        ((1, "GPU-cc"), ["1", "3"]),
    ],
)
def test_a_list_takes_some_of_the_visible_ones(machine: Machine, wishes: Any, expected: list[str]) -> None:
    """By index, UUID or the beginning of one, in the caller's order; the server gets the words of the variable."""
    assert tokens(choose(wishes, None, machine(CUDA_VISIBLE_DEVICES="3,1,0")).gpus) == expected


@pytest.mark.parametrize("wishes", [[0, 1], ["fake-a", "fake-b"], ["MIG-GPU-1/2/0"]])
def test_a_list_is_taken_at_its_word_where_nothing_says_otherwise(wishes: list[Any]) -> None:
    """So GPUs can be made up for tests."""
    slots = choose(wishes, None, NOTHING)
    assert slots.names == tuple(map(str, wishes))
    assert slots.environment(slots.names) == {"CUDA_VISIBLE_DEVICES": ",".join(map(str, wishes))}


def test_a_gpu_that_is_not_visible_is_refused(machine: Machine) -> None:
    """The error says which are, and who says so."""
    with pytest.raises(ValueError, match=r"GPU '2' .* may use 3, 1, says CUDA_VISIBLE_DEVICES='3,1'"):
        choose([3, 2], None, {**NOTHING, "CUDA_VISIBLE_DEVICES": "3,1"})
    with pytest.raises(ValueError, match=r"GPU '2' .* may use 3 \(GPU-cc33\), says CUDA"):
        choose([2], None, machine(CUDA_VISIBLE_DEVICES="3"))
    with pytest.raises(ValueError, match=r"GPU '0' .* may use none, says CUDA_VISIBLE_DEVICES=''"):
        choose([0], None, machine(CUDA_VISIBLE_DEVICES=""))
    with pytest.raises(ValueError, match=r"GPU '4' .* may use 0 \(GPU-aa00\), .*, says nvidia-smi"):
        choose([4], None, machine())


@pytest.mark.parametrize(
    ("gpus", "capacity", "complaint"),
    [
        ([1, "1"], None, "GPU '1' is in gpus= twice"),
        ([1, "GPU-ab11"], None, "GPU 'GPU-ab11' is in gpus= twice"),
        (["GPU-a"], None, "'GPU-a' in gpus= can be more than one GPU: 0 .GPU-aa00., 1 .GPU-ab11."),
        (["0,1"], None, "'0,1' in gpus= cannot be a GPU"),
        ([""], None, "'' in gpus= cannot be a GPU"),
        ([-1], None, "'-1' in gpus= cannot be a GPU"),
        ([], None, "gpus must be 'auto', None, or a list"),
        ("0,1", None, "gpus must be 'auto', None, or a list .* not '0,1'"),
        ([1], 1, "pass one of the two"),
        (None, 0, "capacity must be a whole number from 1"),
    ],
)
def test_what_makes_no_sense_is_refused(machine: Machine, gpus: Any, capacity: int | None, complaint: str) -> None:
    """Each with what is wrong about it."""
    with pytest.raises(ValueError, match=complaint):
        choose(gpus, capacity, machine())


def test_a_made_up_gpu_is_refused_twice_too() -> None:
    """Also where a list is taken at its word."""
    with pytest.raises(ValueError, match=r"GPU '0' is in gpus= twice"):
        choose([0, "0"], None, NOTHING)


def test_there_are_no_more_slots_than_gpus() -> None:
    """A capacity that cannot be had is refused; the message says what to do instead."""
    environ = {"CUDA_VISIBLE_DEVICES": "MIG-0,MIG-1", "PATH": ""}
    assert choose("auto", 2, environ).names == ("MIG-0", "MIG-1")
    with pytest.raises(ValueError, match=r"^capacity=3 is more than the GPUs .*: MIG-0, MIG-1\. .*gpus=None"):
        choose("auto", 3, environ)
