"""The programs that `kill_matrix.py` kills: each uses several servers at once."""

from __future__ import annotations

SPECS = ("one", "two", "three", "four")

SEVERAL = """
import os
import signal
import sys

import anyio
from doteval import DotevalError
from familypkg import family

STAGGER, ANSWERS = float(os.environ["STAGGER"]), "LIGHT" not in os.environ
is_forked = False


def fork_once():
    global is_forked
    if not is_forked:
        is_forked = True
        if os.fork() == 0:
            while True:
                signal.pause()


async def use(provider, number, spec):
    await anyio.sleep(number * STAGGER)
    for _ in range(1 if number else 2):
        try:
            async with await provider.setup(spec) as handle:
                fork_once()
                for _ in range(4):
                    assert not ANSWERS or (await handle.model.generate("who are you?")).isdigit()
                    await anyio.sleep(0.02)
        except DotevalError as exc:
            print(exc)


async def main():
    async with family() as provider, anyio.create_task_group() as task_group:
        for number, spec in enumerate(sys.argv[2:]):
            task_group.start_soon(use, provider, number, spec)


anyio.run(main, backend=sys.argv[1])
"""
"""Uses servers, one of them twice; it forks a child that stays, as soon as it uses one. ``BACKEND SPEC ...``"""

CONTAINED = """
import ctypes
import os
import runpy
import signal
import sys

CLONE_NEWNS, CLONE_NEWPID, MS_REC, MS_PRIVATE, PR_SET_PDEATHSIG = 1 << 17, 1 << 29, 1 << 14, 1 << 18, 1
libc = ctypes.CDLL(None)
if libc.unshare(CLONE_NEWNS | CLONE_NEWPID) != 0:
    sys.exit("a user needs the right to make a namespace")
child = os.fork()
if child != 0:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
assert libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
assert libc.mount(b"proc", b"/proc", b"proc", 0, None) == 0
if sys.argv[1:]:
    sys.argv[:] = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program as the first one of a pid namespace, with which all ends that is in there. ``PROGRAM ARGUMENT ...``"""

TESTS = f"""
import anyio
import pytest

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("family_client", {SPECS!r}, indirect=True)]


@pytest.mark.parametrize("number", range(2))
async def test_answers(family_client, number):
    assert (await family_client.generate("who are you?")).isdigit()
    await anyio.sleep(0.02)
"""
"""Tests that use the same servers; pytest keeps each until its end."""
