"""``Log``: what the server prints, bounded and without secrets."""

from __future__ import annotations

import collections
import contextlib
import os
import re

TAIL_LINES = 50
TAIL_LINE_BYTES = 2000
KEPT_LOGS = 20


class Log:
    """The server's output: a file, once it is open, that is bounded by rotating once, and its last lines.

    Args:
        path: The file; what is older is in ``path + ".1"``.
        limit: How large both may get together, in bytes.
        secrets: What is masked, also where it arrives in pieces.
    """

    def __init__(self, path: str, limit: int, secrets: list[str]) -> None:
        self.path = path
        self.bytes = 0
        """How much was printed, in bytes."""
        self.is_kept = False
        """Whether the file outlives the server."""
        self._limit = max(limit // 2, 4096)
        self._secrets = sorted((secret.encode() for secret in secrets if secret), key=len, reverse=True)
        self._any_secret = re.compile(b"|".join(map(re.escape, self._secrets)) or b"(?!)")
        self._carry = b""  # the beginning of what may turn out to be a secret
        self._line = b""
        self._tail: collections.deque[bytes] = collections.deque(maxlen=TAIL_LINES)
        self._file = -1
        self._size = 0

    def open(self) -> None:
        """Begin a file, beside the one there may be."""
        before, self._file = self._file, os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = 0
        if before >= 0:
            os.close(before)

    def write(self, data: bytes) -> None:
        """Take in what was printed, in pieces of any size."""
        self.bytes += len(data)
        data = self._carry + data
        # From here on it may be the beginning of a secret, also where a shorter one is complete.
        end = len(data) - max((_overlap(data, secret) for secret in self._secrets), default=0)
        for found in self._any_secret.finditer(data):
            if found.start() < end < found.end():
                end = found.end()
        self._carry = data[end:]
        self._put(self._masked(data[:end]))

    def close(self) -> None:
        """Write what was kept back, and close the file."""
        self._put(self._masked(self._carry))
        self._carry = b""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def keep(self, directory: str, name: str) -> None:
        """Move the file to where it outlives the server, once; it goes on growing there."""
        if self.is_kept:
            return
        target = os.path.join(directory, name)
        with contextlib.suppress(OSError):
            os.makedirs(directory, 0o700, exist_ok=True)
            os.replace(self.path, target)
            before, self.path, self.is_kept = self.path, target, True
            with contextlib.suppress(FileNotFoundError):
                os.replace(before + ".1", target + ".1")
            logs = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(directory))
            for _, old in logs[:-KEPT_LOGS]:
                os.unlink(old)

    def tail(self) -> list[str]:
        """The last lines, without their ends."""
        lines = [*self._tail, self._line] if self._line else list(self._tail)
        return [line.decode("utf-8", "replace") for line in lines[-TAIL_LINES:]]

    def _masked(self, data: bytes) -> bytes:
        return self._any_secret.sub(b"***", data)

    def _put(self, data: bytes) -> None:
        if not data:
            return
        *lines, rest = (self._line + data).split(b"\n")
        self._tail.extend(line[-TAIL_LINE_BYTES:].rstrip(b"\r") for line in lines[-TAIL_LINES:])
        self._line = rest[-TAIL_LINE_BYTES:]
        with contextlib.suppress(OSError):  # a full disk does not stop a server
            if self._size + len(data) > self._limit:
                with contextlib.suppress(FileNotFoundError):  # as when the disk was full last time
                    os.replace(self.path, self.path + ".1")
                self.open()
            self._size += os.write(self._file, data[-self._limit :])


def _overlap(data: bytes, secret: bytes) -> int:
    """How many bytes at the end of `data` are the beginning of `secret`."""
    return next((n for n in range(min(len(secret) - 1, len(data)), 0, -1) if data.endswith(secret[:n])), 0)
