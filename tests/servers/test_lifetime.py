"""How long a server lives, and who may lease it, decided step by step; the test says what time it is."""

from __future__ import annotations

import signal

import pytest

from doteval.servers._supervisor.lifetime import (
    ASLEEP,
    FALLING_ASLEEP,
    KILL_SECONDS,
    PAUSE_SECONDS,
    SIGNAL,
    SWITCH_SECONDS,
    TELL,
    UNUSED,
    WAKING,
    Lifetime,
)

TERM, KILL = signal.SIGTERM, signal.SIGKILL


@pytest.fixture
def lifetime() -> Lifetime:
    """Of a server that is started at 100, and leased by its starter."""
    return Lifetime(100, grace=6, drain_seconds=10, stay_seconds=0)


def told(lifetime: Lifetime) -> list[str]:
    """What everybody is to be told."""
    events = [arguments[0] for name, arguments in lifetime.effects if name == TELL]
    return [" ".join(map(str, event.values())).strip() for event in events]


def signals_at(lifetime: Lifetime, now: float) -> list[int]:
    """The signals that are due now."""
    before = len(lifetime.effects)
    lifetime.pass_time(now)
    return [arguments[0] for name, arguments in list(lifetime.effects)[before:] if name == SIGNAL]


def makes_way(lifetime: Lifetime, reason: str, leases: int, now: float, *, drain: bool) -> bool:
    """Somebody needs its slots, who cannot put it to sleep; whether it ends."""
    assert not lifetime.make_way(reason, leases, now, drain=drain)
    return bool(lifetime.reason)


def falls_asleep(lifetime: Lifetime, now: float, *, has_bed: bool = True) -> None:
    """Somebody needs its slots, and puts it to sleep if they may, and where it has a bed."""
    if lifetime.make_way("needed", 0, now, drain=True, may_sleep=True) and has_bed:
        lifetime.fall_asleep(now)


def signals_of(lifetime: Lifetime, number: int) -> list[tuple[float, int]]:
    """The next signals, and when; each is sent as soon as it is due."""
    found: list[tuple[float, int]] = []
    while len(found) < number:
        now = min(lifetime.due())
        found += [(round(now, 3), each) for each in signals_at(lifetime, now)]
    return found


def test_a_server_that_is_ready_has_its_grace(lifetime: Lifetime) -> None:
    """TERM at once and after a third of it, KILL after all of it, again and again; later it is given up."""
    lifetime.ready(101)
    lifetime.end("enough", 200)
    assert signals_of(lifetime, 5) == [(200, TERM), (202, TERM), (206, KILL), (206.1, KILL), (206.2, KILL)]
    assert not lifetime.is_given_up(206 + KILL_SECONDS)
    assert lifetime.is_given_up(206.001 + KILL_SECONDS)
    assert told(lifetime) == ["ready", "ending enough"]


def test_a_server_that_is_not_ready_has_half_of_it(lifetime: Lifetime) -> None:
    """It has nothing to finish."""
    lifetime.end("enough", 200)
    assert signals_of(lifetime, 3) == [(200, TERM), (201, TERM), (203, KILL)]
    assert lifetime.is_given_up(203.001 + KILL_SECONDS)


def test_a_server_ends_once(lifetime: Lifetime) -> None:
    """Whoever wants the same later changes nothing; after its own end nobody has to be told."""
    assert not lifetime.is_given_up(1e9)
    lifetime.end("the server ended", 200, is_told=True)
    lifetime.end("enough", 201)
    lifetime.ready(202)
    assert (lifetime.reason, lifetime.state, told(lifetime)) == ("the server ended", "ending", [])
    assert min(lifetime.due()) == 200


def test_a_server_that_nobody_uses_ends(lifetime: Lifetime) -> None:
    """At once while it starts, whatever time it is to be kept for."""
    lifetime.keep_alive = 60
    lifetime.uses_changed(0, 1, 110, used=True)
    assert lifetime.state == "starting"
    lifetime.uses_changed(0, 0, 120, used=False)
    assert told(lifetime) == [f"ending {UNUSED}"]


def test_a_server_is_kept_for_as_long_as_somebody_has_asked(lifetime: Lifetime) -> None:
    """From when the last has left; whoever comes meanwhile keeps it on."""
    lifetime.keep_alive = 60
    lifetime.ready(101)
    lifetime.uses_changed(0, 0, 110, used=True)
    lifetime.uses_changed(0, 0, 120, used=False)  # a visitor
    assert lifetime.due() == [170]
    lifetime.uses_changed(1, 0, 130, used=True)
    assert lifetime.due() == []
    lifetime.uses_changed(0, 0, 140, used=True)
    assert signals_at(lifetime, 199.9) == []
    assert signals_at(lifetime, 200) == [TERM]
    assert lifetime.reason == UNUSED


@pytest.mark.parametrize(("stay_seconds", "until"), [(0, 130), (40, 155)])
def test_a_server_that_was_just_started_stays(stay_seconds: float, until: float) -> None:
    """It is leased for as long as its start took, and no shorter than was asked for, whoever needs its slots."""
    lifetime = Lifetime(100, grace=6, drain_seconds=10, stay_seconds=stay_seconds)
    makes_way(lifetime, "needed", 1, 114, drain=True)
    lifetime.ready(115)
    makes_way(lifetime, "needed", 1, until - 0.1, drain=True)
    assert not lifetime.is_draining
    makes_way(lifetime, "needed", 1, until, drain=True)
    assert (lifetime.state, lifetime.drain_reason) == ("retiring", "needed")


def test_a_server_that_nobody_leases_makes_way(lifetime: Lifetime) -> None:
    """After a pause, even while it starts."""
    lifetime.uses_changed(0, 1, 110, used=True)
    assert not makes_way(lifetime, "needed", 0, 110 + PAUSE_SECONDS - 0.1, drain=True)
    assert makes_way(lifetime, "needed", 0, 110 + PAUSE_SECONDS, drain=True)
    assert told(lifetime) == ["ending needed"]


def test_a_server_that_has_stayed_long_enough_makes_way_without_a_pause(lifetime: Lifetime) -> None:
    """It was ready for as long as its start took; whoever leased it until now is in nobody's way."""
    lifetime.ready(101)
    lifetime.uses_changed(0, 1, 110, used=True)
    assert makes_way(lifetime, "needed", 0, 110, drain=True)


def test_who_only_holds_a_server_does_not_use_it(lifetime: Lifetime) -> None:
    """The pause is that after the last lease, also where a hold has come or gone since."""
    lifetime.uses_changed(0, 2, 110, used=True)
    lifetime.uses_changed(0, 1, 110 + PAUSE_SECONDS, used=False)
    assert makes_way(lifetime, "needed", 0, 110 + PAUSE_SECONDS, drain=True)


def test_a_server_that_is_leased_makes_way_after_the_last_lease(lifetime: Lifetime) -> None:
    """Only where whoever needs its slots asks for that; a hold does not keep it then."""
    lifetime.ready(100)
    assert not makes_way(lifetime, "needed", 2, 200, drain=False)
    assert not makes_way(lifetime, "needed", 2, 200, drain=True)
    assert not makes_way(lifetime, "again", 2, 201, drain=True)
    lifetime.uses_changed(1, 1, 202, used=True)
    assert lifetime.state == "retiring"
    lifetime.uses_changed(0, 2, 203, used=True)
    assert told(lifetime) == ["ready", "retiring needed", "ending needed"]


def test_a_wish_for_its_slots_does_not_stop_a_server_for_ever(lifetime: Lifetime) -> None:
    """It resumes after a while, and stays for as long again."""
    lifetime.ready(100)
    makes_way(lifetime, "needed", 1, 200, drain=True)
    assert lifetime.due() == [210]
    assert signals_at(lifetime, 210) == []
    assert (lifetime.state, lifetime.due()) == ("ready", [])
    makes_way(lifetime, "needed", 1, 219.9, drain=True)
    makes_way(lifetime, "needed", 1, 220, drain=True)
    assert told(lifetime) == ["ready", "retiring needed", "resumed", "retiring needed"]


@pytest.fixture
def sleeper() -> Lifetime:
    """Of a server that can sleep, was ready after ten seconds, and is leased until now, which is 111."""

    lifetime = Lifetime(100, grace=6, drain_seconds=10, stay_seconds=30, can_sleep=True)
    lifetime.ready(110, "health")
    lifetime.uses_changed(0, 1, 111, used=True)
    lifetime.effects.clear()
    return lifetime


def test_a_server_that_can_sleep_makes_way_at_once(sleeper: Lifetime) -> None:
    """Later after a pause as long as it takes to switch; it is ready by nobody's word of before."""
    falls_asleep(sleeper, 111)
    assert (sleeper.state, sleeper.is_leasable, sleeper.met) == (FALLING_ASLEEP, False, [])
    sleeper.switched("", 111.125)
    assert (sleeper.state, sleeper.is_leasable) == (ASLEEP, False)
    sleeper.wake(120)
    assert (sleeper.state, sleeper.is_leasable) == (WAKING, True)
    sleeper.switched("", 120.25)
    assert (sleeper.state, told(sleeper)) == ("ready", ["awake"])
    sleeper.uses_changed(0, 1, 120.25, used=True)
    falls_asleep(sleeper, 120.49)
    assert sleeper.state == "ready"
    falls_asleep(sleeper, 120.5)
    assert sleeper.state == FALLING_ASLEEP
    assert sleeper.due() == [120.5 + SWITCH_SECONDS]


def test_a_server_that_finds_no_bed_goes_on(sleeper: Lifetime) -> None:
    """Whoever needs its slots finds it one, or has it end."""
    falls_asleep(sleeper, 200, has_bed=False)
    assert (sleeper.state, sleeper.met) == ("ready", ["health"])
    assert makes_way(sleeper, "needed", 0, 200, drain=True)
    assert told(sleeper) == ["ending needed"]


@pytest.mark.parametrize("sleep", [FALLING_ASLEEP, WAKING])
def test_a_server_that_does_not_switch_ends(sleeper: Lifetime, sleep: str) -> None:
    """Whoever does it says nothing for too long."""
    falls_asleep(sleeper, 200)
    if sleep == WAKING:
        sleeper.switched("", 200)
        sleeper.wake(200)
    assert signals_at(sleeper, 200 + SWITCH_SECONDS - 1) == []
    assert signals_at(sleeper, 200 + SWITCH_SECONDS) == [TERM]
    done = "put to sleep" if sleep == FALLING_ASLEEP else "woken up"
    assert told(sleeper) == [f"ending it could not be {done}: it took too long"]


def test_a_server_that_is_drained_waits_to_be_put_to_sleep(sleeper: Lifetime) -> None:
    """After its last lease it is leased to nobody new, until whoever needs its slots asks again, or does not."""
    makes_way(sleeper, "needed", 1, 200, drain=True)
    sleeper.uses_changed(0, 1, 201, used=True)
    assert (sleeper.state, sleeper.due()) == ("retiring", [210])
    falls_asleep(sleeper, 202)
    assert (sleeper.state, told(sleeper)) == (FALLING_ASLEEP, ["retiring needed"])


def test_a_server_that_sleeps_ends_with_its_last_user(sleeper: Lifetime) -> None:
    """As one that is awake, and it is kept for as long as somebody has asked, too."""
    falls_asleep(sleeper, 200)
    sleeper.switched("", 201)
    sleeper.keep_alive = 5
    sleeper.uses_changed(0, 0, 210, used=False)
    assert signals_at(sleeper, 214.9) == []
    assert signals_at(sleeper, 215) == [TERM]
    assert (sleeper.reason, sleeper.state) == (UNUSED, "ending")
