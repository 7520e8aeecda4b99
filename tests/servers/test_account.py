"""What a launcher remembers of starts: why there had to be one, and which have failed."""

from __future__ import annotations

import gc
import itertools
import signal
from types import SimpleNamespace

import pytest

from doteval import ServerStartError
from doteval.servers import ServerCommand
from doteval.servers._local import account
from doteval.servers._local.account import Account, Failures
from doteval.servers._local.connection import SUPERVISOR_KILLED, Exit

CRASHED, KILLED, ENDED = Exit(1), Exit(-signal.SIGKILL), Exit(-signal.SIGTERM, expected=True)


def failure(*, stopped: bool = False) -> ServerStartError:
    return ServerStartError("m", "it did not start", "look at the log", cause="out of memory", stopped=stopped)


def is_known(failures: Failures, server_id: str = "one") -> bool:
    try:
        failures.raise_known(server_id)
    except ServerStartError as exc:
        return (exc.cause, exc.spec) == ("out of memory", "m")
    return False


def test_only_a_second_kill_in_a_row_is_a_failure() -> None:
    """Whatever has failed before; and each server has a memory of its own."""
    for kinds in itertools.product([CRASHED, KILLED, SUPERVISOR_KILLED, ENDED, None], repeat=3):
        failures, was_first_kill = Failures(60), False
        for how in kinds:
            failures.failed("one", failure(), how)
            was_first_kill = how in (KILLED, SUPERVISOR_KILLED) and not was_first_kill
            assert is_known(failures) is not was_first_kill, kinds
            failures._known.clear()
        failures.failed("one", failure(), CRASHED)
        assert (is_known(failures), is_known(failures, "another")) == (True, False)
        failures.forget("one")
        assert not is_known(failures)


def test_a_start_that_somebody_has_stopped_is_no_failure() -> None:
    """Whoever asks next starts it."""
    failures = Failures(60)
    failures.failed("one", failure(stopped=True), ENDED)
    assert not is_known(failures)


def test_a_failure_is_known_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at all where that is not wanted."""
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(account, "time", clock)
    now = 100.0
    failures, none = Failures(10), Failures(0)
    for each in (failures, none):
        each.failed("one", failure(), CRASHED)
    assert (is_known(failures), is_known(none)) == (True, False)
    now = 110.0
    assert not is_known(failures)


def test_a_failure_that_is_known_keeps_nothing_alive() -> None:
    """Its traceback has led through what the block of somebody held."""

    class Held: ...

    def fails() -> None:
        held = Held()  # noqa: F841 - the traceback has it
        raise failure()

    failures = Failures(60)
    with pytest.raises(ServerStartError) as raised:
        fails()
    failures.failed("one", raised.value, None)
    del raised
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, Held)]
    assert is_known(failures)


def test_each_start_has_a_reason() -> None:
    """How the one before has ended, once, or what is known of a server that was kept warm."""
    warm = {"two": "its slots were needed"}
    starts = Account(lambda server_id: warm.get(server_id, ""))
    command = ServerCommand(spec="m", argv=("serve",), kind="light")
    starts.ended("one", "the one before was killed")
    for server_id in ("one", "one", "two"):
        starts.started(server_id, command, 1.5, ready=True)
    assert [each.reason for each in starts.starts] == [
        "the one before was killed",
        "it was not running",
        "its slots were needed",
    ]
