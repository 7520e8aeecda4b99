"""``GpuMemory``: the slots of a server that used GPUs are given on when the memory of those is free again."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time

SLACK = 256  # MiB that a GPU may have in use more than before the start and still count as free
LIMIT_SECONDS = 30.0
PAUSE_SECONDS = 0.2


class GpuMemory:
    """The memory of the GPUs of the server.

    Args:
        gpus: What they are called on the whole machine; none where the server has plain slots.
    """

    def __init__(self, gpus: list[str]) -> None:
        self._gpus = gpus
        self._before: dict[str, int] = {}

    def note(self) -> None:
        """Look how much is in use before the server starts."""
        self._before = self._in_use()

    def wait(self) -> None:
        """Return when no more is in use than before: the driver frees it a moment after the process is gone."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while self._before and time.monotonic() < deadline:
            now = self._in_use()
            if all(now.get(gpu, 0) <= before + SLACK for gpu, before in self._before.items()):
                return
            time.sleep(PAUSE_SECONDS)

    def _in_use(self) -> dict[str, int]:
        """MiB in use on each of the GPUs, as far as nvidia-smi is there and tells."""
        command = shutil.which("nvidia-smi") if self._gpus else None
        if command is None:
            return {}
        query = [command, f"--id={','.join(self._gpus)}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
            answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
            return dict(zip(self._gpus, (int(line) for line in answer.stdout.split()), strict=True))
        return {}
