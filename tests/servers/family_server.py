"""A model server with a family, as real ones have: ``family_server.py PORT loading=SECONDS``.

One child is in its process group, the other has called setsid and has a child of its own that does not end when it is
told to. It takes some seconds until it answers what the light server answers.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # as in typing, whose import takes time
if TYPE_CHECKING:
    from collections.abc import Callable


def child(then: Callable[[], object]) -> None:
    if os.fork() == 0:
        then()
        while True:
            signal.pause()


def apart() -> None:
    os.setsid()
    child(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))


if __name__ == "__main__":
    child(lambda: None)
    child(apart)
    sys.path.insert(0, __file__.rpartition("/")[0])
    import light_service

    print("loading ...", flush=True)
    light_service.main()
