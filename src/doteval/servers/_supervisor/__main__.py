"""Makes a program of the directory: ``python -I -S _supervisor/__main__.py STARTER LOCK SOCKET_PATH``.

It becomes the package that it is when it is a part of doteval, of which nothing else can be found from here. Python
could run the directory itself, but imports more to do so, and has it on `sys.path`, where its modules could hide those
of the standard library.
"""

from __future__ import annotations

import sys
from types import ModuleType

if __name__ == "__main__":
    package = ModuleType("_supervisor")
    package.__path__ = [__file__.rpartition("/")[0]]
    sys.modules[package.__name__] = package
    __import__("_supervisor.loop").loop.supervise(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
