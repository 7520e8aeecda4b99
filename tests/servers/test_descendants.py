"""Who descends from a supervisor is found fast, and also where the system leaves somebody out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import doteval.servers

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

TREE = """
import json
import os
import signal
import sys
import threading

sys.path.insert(0, sys.argv[1])
from _supervisor import processes


def child(then=list, *, apart=False, ends=False):
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        if apart:
            os.setsid()
        below = [os.getpid(), *then()] if not ends else []
        os.write(writes, json.dumps(below).encode())
        while not ends:
            signal.pause()
        os._exit(0)
    os.close(writes)
    with open(reads) as file:
        return json.loads(file.read(4096) if ends else os.read(reads, 4096))


processes.adopt_orphans()
found = child() + child(lambda: child(apart=True) + child(lambda: child(apart=True))) + child(ends=True)
thread = threading.Thread(target=lambda: found.extend(child(apart=True)))
thread.start()
thread.join()

usual, asked = processes.descendants("/nowhere"), []
processes._children = lambda pid: asked.append(pid) or []
scanned = processes.descendants("/nowhere")
print(json.dumps([sorted(found), sorted(usual.items()), sorted(scanned.items()), asked == [os.getpid()]]))
for pid in found:
    os.kill(pid, signal.SIGKILL)
"""


def test_both_ways_to_look_find_the_same() -> None:
    """Children of children, of threads and in sessions of their own, with their groups; one that has ended is none."""
    package = str(Path(doteval.servers.__file__).parent)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", TREE, package], capture_output=True, text=True, check=True)
    there, usual, scanned, is_scanned = json.loads(done.stdout)
    assert [pid for pid, _ in usual] == there
    assert len(there) == 6
    assert usual == scanned
    assert is_scanned, "where nobody is found in the one way, the other one is tried"
