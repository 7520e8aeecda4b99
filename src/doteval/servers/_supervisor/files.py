"""What is in `shutil`, whose import takes as long as half of the others; and whether ``/proc`` is of use."""

from __future__ import annotations

import contextlib
import os


def delete(directory: str) -> None:
    """Delete a directory and what is in it, as far as that is possible; what links lead to stays."""
    if os.path.islink(directory):
        return
    for parent, directories, files in os.walk(directory, topdown=False):
        for name in directories:
            path = os.path.join(parent, name)
            with contextlib.suppress(OSError):
                if os.path.islink(path):
                    os.unlink(path)
                else:
                    os.rmdir(path)
        for name in files:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(parent, name))
    with contextlib.suppress(OSError):
        os.rmdir(directory)


def is_on_path(command: str) -> bool:
    """Whether there is such a program."""
    return any(os.access(os.path.join(directory, command), os.X_OK) for directory in os.get_exec_path())


def has_own_numbers() -> bool:
    """Whether ``/proc`` is there, and is that of our pid namespace: in another one a number is somebody else's."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False
