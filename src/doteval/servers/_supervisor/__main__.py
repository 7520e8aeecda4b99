"""Makes a program of the directory: ``python -I -S _supervisor STARTER LOCK SOCKET_PATH``.

Python puts the directory itself on `sys.path`, where its modules would have to be imported by other names than anywhere
else and could hide those of the standard library. So it is taken off again, and becomes the package that it is when it
is a part of doteval, of which nothing else can be found from here.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

if __name__ == "__main__":
    package = ModuleType("_supervisor")
    package.__path__ = [sys.path.pop(0)]
    sys.modules[package.__name__] = package
    importlib.import_module(".loop", package.__name__).supervise(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
