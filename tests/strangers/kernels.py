"""A kernel of Jupyter, one cell after the other, as a person runs them: some are interrupted, some run again."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any, Self

from jupyter_client.manager import KernelManager

PATIENCE = 60.0
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Cell:
    """What a cell has shown.

    Args:
        printed: What it has printed, warnings among it.
        value: What was the last thing in it.
        error: The name of what it has raised.
        traceback: What was shown of that.
    """

    printed: str = ""
    value: str = ""
    error: str = ""
    traceback: str = ""


class Kernel:
    """Runs in a directory, and is ended with the block."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._manager = KernelManager(kernel_name="python3")
        self._directory, self._environment = directory, environment

    def __enter__(self) -> Self:
        self._manager.start_kernel(cwd=str(self._directory), env=self._environment)
        self._connect()
        return self

    def __exit__(self, *args: object) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def _connect(self) -> None:
        self._client: Any = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE)

    def restart(self, *, kill: bool) -> None:
        """As the button does it, or as the system does that runs out of memory."""
        self._client.stop_channels()
        self._manager.restart_kernel(now=kill)
        self._connect()

    def run(self, code: str, interrupt_at: str = "") -> Cell:
        """Run a cell to its end.

        Args:
            code: The cell.
            interrupt_at: Interrupt it as soon as it has printed this.
        """
        cell, end = Cell(), time.monotonic() + PATIENCE
        asked = self._client.execute(code)
        while True:
            assert time.monotonic() < end, cell
            with suppress(Empty):
                message = self._client.get_iopub_msg(timeout=1)
                kind, content = message["msg_type"], message["content"]
                if message["parent_header"].get("msg_id") != asked:
                    continue
                if kind == "status" and content["execution_state"] == "idle":
                    break
                if kind == "stream":
                    cell.printed += content["text"]
                elif kind == "execute_result":
                    cell.value = content["data"]["text/plain"]
                elif kind == "error":
                    cell.error = content["ename"]
                    cell.traceback = COLOURS.sub("", "\n".join(content["traceback"]))
            if interrupt_at and interrupt_at in cell.printed:
                interrupt_at = ""
                self._manager.interrupt_kernel()
                self._client.kernel_info()  # the kernel looks at what it was told when it is asked something
        with suppress(Empty):
            while self._client.get_shell_msg(timeout=0.1)["parent_header"].get("msg_id") != asked:
                pass
        return cell
