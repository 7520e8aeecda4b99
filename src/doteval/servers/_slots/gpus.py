"""Which GPUs a server may use: those that this process may use itself, and what they are called on the whole machine.

Everything here is synchronous and may run ``nvidia-smi`` once in a process, which can take seconds: `takes_time` says
whether it would. Async code calls it in a worker thread then:
``await anyio.to_thread.run_sync(choose, gpus, capacity, os.environ, abandon_on_cancel=True)``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from threading import Lock
from typing import Literal, cast

from ..._forked import tell_when_forked

VISIBLE = "CUDA_VISIBLE_DEVICES"
VISIBLE_AMD = "HIP_VISIBLE_DEVICES"
BELOW_AMD = "ROCR_VISIBLE_DEVICES"
"""What HIP's indices count from, where it is set."""
ORDER = "CUDA_DEVICE_ORDER"

MOST_SLOTS = 10_000
"""How many plain slots there may be."""

SMI_TIMEOUT = 15.0
"""How long ``nvidia-smi`` may take, in seconds. It needs several where no other process keeps the driver loaded."""

_DRIVER_SIGNS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
"""Where one of these is, the kernel has a driver, and an ``nvidia-smi`` that fails does not mean "no GPU"."""

_KINDS = (re.compile(r"[0-9]+"), re.compile(r"GPU-[0-9A-Za-z-]+"), re.compile(r"MIG-[0-9A-Za-z/-]+"))
_TOKEN = re.compile(r"[^\s,]+")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one MIG part of it.

    Args:
        token: What stands for it in ``CUDA_VISIBLE_DEVICES``; the caller's own word where the caller has that variable.
        lock_name: What it is called on the whole machine: its UUID where ``nvidia-smi`` tells it, else the token.
    """

    token: str
    lock_name: str


@dataclass(frozen=True, slots=True)
class SlotSet:
    """The slots that servers are given: GPUs, or where there are none just so many.

    Args:
        names: Their names on the whole machine.
        gpus: The GPUs behind the names, in the same order; empty for plain slots.
        by_bus: Whether the tokens are indices as ``nvidia-smi`` counts, which CUDA has to be told.
        variable: What tells a server which of them it may use.
    """

    names: tuple[str, ...]
    gpus: tuple[Gpu, ...] = ()
    by_bus: bool = False
    variable: str = VISIBLE

    def environment(self, taken: Collection[str]) -> dict[str, str]:
        """What the environment of a server with these slots is changed by; nothing for plain slots."""
        if not self.gpus:
            return {}
        tokens = ",".join(gpu.token for gpu in self.gpus if gpu.lock_name in taken)
        return {self.variable: tokens, ORDER: "PCI_BUS_ID"} if self.by_bus else {self.variable: tokens}


def choose(
    gpus: Literal["auto"] | Sequence[str | int] | None, capacity: int | None, environ: Mapping[str, str]
) -> SlotSet:
    """Find the slots for servers.

    Args:
        gpus: ``"auto"`` for every GPU that this process may use, a list of some of them (by index, UUID, beginning of
            a UUID, or MIG name), or `None` for plain slots. A list is taken at its word where neither
            ``CUDA_VISIBLE_DEVICES`` nor ``nvidia-smi`` says what there is.
        capacity: How many plain slots there are; 1 if it is `None`. With ``"auto"`` it counts where there is no GPU;
            where there are some, it may not be more than those, and is of no account.
        environ: The environment of this process.

    Raises:
        ValueError: A GPU in the list is not one of this process, or is in it twice; or the arguments make no sense,
            such as more slots than GPUs.
        RuntimeError: ``nvidia-smi`` does not say which GPUs there are, though there is a driver.
    """
    check(gpus, capacity)
    if gpus is None:
        return _plain(capacity)
    if gpus == "auto":
        visible = visible_gpus(environ)
        if visible and capacity is not None and capacity > len(visible):
            raise ValueError(
                f"capacity={capacity} is more than the GPUs that this process may use: {_listed(visible)}. "
                "Servers share no GPU, so leave capacity= out, or pass gpus=None for slots that are not GPUs."
            )
        return _of_gpus(visible, environ) if visible else _plain(capacity)
    visible = visible_gpus(environ)
    known = bool(visible) or VISIBLE in environ or VISIBLE_AMD in environ
    return _of_gpus(tuple(_requested(gpus, visible, known, environ)), environ)


def check(gpus: object, capacity: object) -> None:
    """Raise ValueError where the arguments of `choose` make no sense on any machine."""
    if capacity is not None and (
        isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity <= MOST_SLOTS
    ):
        named = "; GPUs are named with gpus=[...]" if isinstance(capacity, (list, tuple)) else ""
        raise ValueError(f"capacity must be a whole number from 1 to {MOST_SLOTS}, or None, not {capacity!r}{named}")
    if gpus is None or (isinstance(gpus, str) and gpus == "auto"):
        return
    is_list = isinstance(gpus, Sequence) and not isinstance(gpus, (str, bytes)) and len(cast("Sequence[object]", gpus))
    if not is_list or not all(map(_may_be_one, cast("Sequence[object]", gpus))):
        raise ValueError(f"gpus must be 'auto', None, or a list such as [0, 1], not {gpus!r}")
    if capacity is not None:
        raise ValueError("capacity= counts slots that are not GPUs; with gpus=[...] pass one of the two")


def _may_be_one(wish: object) -> bool:
    return not isinstance(wish, bool) and isinstance(wish, (str, Integral))


def takes_time(gpus: object, environ: Mapping[str, str]) -> bool:
    """Whether `choose` would have to run ``nvidia-smi``, which no event loop should wait for."""
    if gpus is None or (VISIBLE in environ and not _valid(environ[VISIBLE])):
        return False
    command = _smi(environ)
    return command is not None and _known_as(command) not in _ANSWERS.known


def visible_gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Find the GPUs this process may use.

    ``CUDA_VISIBLE_DEVICES`` is read as CUDA does: indices, UUIDs (the beginning of one is enough) or MIG names, all of
    one kind; the list ends before the first that is none; one that is there twice makes it empty. An index becomes a
    UUID by the order of ``nvidia-smi``; where the GPUs of a machine differ, set ``CUDA_DEVICE_ORDER=PCI_BUS_ID``.

    Args:
        environ: The environment of this process.
    """
    setting = environ.get(VISIBLE)
    if setting is None:
        if VISIBLE_AMD in environ:
            return _amd_gpus(environ)
        return tuple(Gpu(index, uuid) for index, uuid in installed_gpus(environ).items())
    tokens = _valid(setting)
    if not tokens:
        return ()
    installed = installed_gpus(environ)
    found: list[Gpu] = []
    for token in tokens:
        lock_name = _lock_name(token, installed)
        if lock_name is None:
            break
        found.append(Gpu(token, lock_name))
    repeated = len({gpu.lock_name for gpu in found}) < len(found)
    return () if repeated else tuple(found)


def installed_gpus(environ: Mapping[str, str]) -> dict[str, str]:
    """Ask ``nvidia-smi`` for the UUID behind each index; empty if it is missing, or fails where there is no driver.

    It is asked once in a process, as that takes seconds where no other process keeps the driver loaded.

    Whoever took a failure for "no GPUs" would start a server on a GPU that another one has under its UUID.

    Args:
        environ: Where its ``PATH`` is looked up, and what it is run with.

    Raises:
        RuntimeError: It failed twice though there is a driver, or took too long twice.
    """
    command = _smi(environ)
    if command is None:
        return {}
    with _ANSWERS.lock:
        known = _ANSWERS.known.get(_known_as(command))
        if known is None:
            known = _ANSWERS.known[_known_as(command)] = _asked(command, environ)
    return dict(known)


# -------------------------------------------------------------------- inside


class _Answers:
    """What ``nvidia-smi`` has said in this process, by its path and when it was installed."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], dict[str, str]] = {}
        self.lock = Lock()
        """Held by the thread that asks."""
        tell_when_forked(self)

    def forked(self) -> None:
        self.lock = Lock()


_ANSWERS = _Answers()


def _smi(environ: Mapping[str, str]) -> str | None:
    return shutil.which("nvidia-smi", path=environ.get("PATH", os.defpath))


def _known_as(command: str) -> tuple[str, int]:
    return command, Path(command).stat().st_mtime_ns


def _asked(command: str, environ: Mapping[str, str]) -> dict[str, str]:
    query = [command, "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        printed = _output(query, environ)
    except _SmiError:
        try:
            printed = _output(query, environ)  # the driver may just have been busy
        except _SmiError as exc:
            raise RuntimeError(
                f"{command} {exc}, twice, so it is not known which GPUs there are, nor which of them other servers "
                f"have. Run it by hand to see what is wrong; gpus=None with {VISIBLE}='' does without GPUs."
            ) from None
    lines = printed.splitlines()
    pairs = [tuple(field.strip() for field in line.split(",")) for line in lines]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[0].isdecimal() and pair[1]}


def _amd_gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Those that ``HIP_VISIBLE_DEVICES`` names: its indices count in ``ROCR_VISIBLE_DEVICES``, where that is set."""
    below = _valid(environ[BELOW_AMD]) if BELOW_AMD in environ else None
    found: list[Gpu] = []
    for token in _valid(environ[VISIBLE_AMD]):
        if below is None or not token.isdecimal():
            found.append(Gpu(token, f"AMD-{token}"))
        elif int(token) < len(below):
            found.append(Gpu(token, f"AMD-{below[int(token)]}"))
        else:
            break
    return () if len({gpu.lock_name for gpu in found}) < len(found) else tuple(found)


def _plain(capacity: int | None) -> SlotSet:
    return SlotSet(tuple(f"slot-{number}" for number in range(capacity or 1)))


def _of_gpus(gpus: tuple[Gpu, ...], environ: Mapping[str, str]) -> SlotSet:
    variable = VISIBLE_AMD if VISIBLE not in environ and VISIBLE_AMD in environ else VISIBLE
    by_bus = variable == VISIBLE and VISIBLE not in environ and any(gpu.token != gpu.lock_name for gpu in gpus)
    return SlotSet(tuple(gpu.lock_name for gpu in gpus), gpus, by_bus, variable)


def _requested(
    wishes: Sequence[str | int], visible: tuple[Gpu, ...], known: bool, environ: Mapping[str, str]
) -> Iterable[Gpu]:
    found: list[Gpu] = []
    for wish in map(str, wishes):
        if not _TOKEN.fullmatch(wish) or wish.startswith("-"):
            raise ValueError(f"{wish!r} in gpus= cannot be a GPU; use an index, a UUID or a MIG name")
        matches = [gpu for gpu in visible if _is_meant(wish, gpu)] if known else [Gpu(wish, wish)]
        if len(matches) > 1:
            raise ValueError(f"{wish!r} in gpus= can be more than one GPU: {_listed(matches)}; write more of its UUID")
        if not matches:
            said = next((name for name in (VISIBLE, VISIBLE_AMD) if name in environ), None)
            source = "nvidia-smi" if said is None else f"{said}={environ[said]!r}"
            raise ValueError(
                f"GPU {wish!r} in gpus= is not one that this process may use. "
                f"It may use {_listed(visible) or 'none'}, says {source}."
            )
        if matches[0] in found:
            raise ValueError(f"GPU {wish!r} is in gpus= twice")
        found += matches
    return found


def _is_meant(wish: str, gpu: Gpu) -> bool:
    return wish in (gpu.token, gpu.lock_name) or (wish.startswith("GPU-") and gpu.lock_name.startswith(wish))


def _listed(gpus: Iterable[Gpu]) -> str:
    return ", ".join(gpu.token if gpu.token == gpu.lock_name else f"{gpu.token} ({gpu.lock_name})" for gpu in gpus)


def _valid(setting: str) -> list[str]:
    """The tokens up to the first that is of no kind, or of another kind than the first."""
    tokens = [token.strip() for token in setting.split(",")]
    kind = next((kind for kind in _KINDS if kind.fullmatch(tokens[0])), None)
    if kind is None:
        return []
    end = next((place for place, token in enumerate(tokens) if not kind.fullmatch(token)), len(tokens))
    return tokens[:end]


def _lock_name(token: str, installed: Mapping[str, str]) -> str | None:
    """The name on the whole machine; `None` if there is no such GPU."""
    if not installed or token.startswith("MIG-"):
        return token
    if token.isdecimal():
        return installed.get(str(int(token)))
    matches = [uuid for uuid in installed.values() if uuid.startswith(token)]
    return matches[0] if len(matches) == 1 else None


class _SmiError(Exception):
    """It did not say what there is; the text says how it failed."""


def _output(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """What ``nvidia-smi`` prints; empty where it cannot be run, or fails for want of a driver.

    `subprocess.run` would wait for a command that it had killed, for ever if that hangs in the driver or has left a
    child that keeps the pipe open.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the path is absolute or the user's own, the rest is ours
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return ""
    assert process.stdout is not None
    try:
        printed, _ = process.communicate(timeout=SMI_TIMEOUT)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        raise _SmiError(f"gave no answer within {SMI_TIMEOUT:g} s") from None
    if process.returncode == 0:
        return printed.decode(errors="replace")
    if any(map(os.path.exists, _DRIVER_SIGNS)):
        raise _SmiError(f"failed with exit code {process.returncode}")
    return ""
