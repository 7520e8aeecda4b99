"""``GpuMemory``: the slots of a server are given on when none of its processes has memory of its GPUs any more."""

from __future__ import annotations

import contextlib
import subprocess
import time

from .files import is_on_path

TYPE_CHECKING = False  # as in typing, whose import takes time
if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

LIMIT_SECONDS = 30.0
PAUSE_SECONDS = 0.2


class GpuMemory:
    """The memory of the GPUs of the server.

    Args:
        gpus: What they are called on the whole machine; none where the server has plain slots.
    """

    def __init__(self, gpus: list[str]) -> None:
        self._gpus = gpus
        self.is_known = bool(gpus) and is_on_path("nvidia-smi")
        """Whether somebody can say who has memory."""

    def wait(self, pids: AbstractSet[int]) -> None:
        """Return when these processes, which have ended, have none: the driver frees it a moment later.

        What others have, and take meanwhile, is of no account.
        """
        deadline = time.monotonic() + LIMIT_SECONDS
        while self.is_known and not pids.isdisjoint(self._users()) and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)

    def _users(self) -> set[int]:
        """The processes that have memory of the GPUs, as far as nvidia-smi tells."""
        query = ["nvidia-smi", f"--id={','.join(self._gpus)}", "--query-compute-apps=pid", "--format=csv,noheader"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
            return {int(word) for word in answer.stdout.split() if word.isdecimal()}
        return set()
