"""What supervisors and clients say to each other is in one place, and has a version."""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

from tests.servers.callers import Supervisors

from doteval.servers._supervisor import messages
from doteval.servers._supervisor.messages import Answer, Ask, Tell
from doteval.servers._supervisor.protocol import PROTOCOL

DIGESTS = {4: "7525cdadd740"}
"""What the messages of a version come to."""


def all_of(kind: type) -> dict[str, dict[str, Any]]:
    """Each message of a kind, with the names of its parts as their values."""
    found: dict[str, dict[str, Any]] = {}
    for name, make in vars(kind).items():
        if isinstance(make, staticmethod):
            parameters = inspect.signature(make).parameters.values()
            places = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
            named = {each.name: each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
            found[name] = make(*places, **named)
    return found


def test_who_changes_a_message_raises_the_version() -> None:
    """Else a program of today would talk to a supervisor of tomorrow, and neither would know."""
    said = {kind.__name__: all_of(kind) for kind in (Ask, Answer, Tell)}
    text = json.dumps([said, messages.DESCRIBED, [*inspect.signature(messages.described).parameters]], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert DIGESTS.get(PROTOCOL) == digest, f"raise PROTOCOL, and note here that {digest} is what its messages come to"


def test_each_request_is_answered_as_is_written(supervisors: Supervisors) -> None:
    """Whatever is asked of a server that somebody else keeps; and so is what is told."""
    caller = supervisors.start()
    caller.expect_up()
    assert supervisors.call().ask(**Ask.hold(0.0))["granted"]
    answers = {frozenset(each) for each in all_of(Answer).values()}
    told = {each["event"]: {*each} for each in all_of(Tell).values()}
    for request in (
        Ask.lease(0.0),
        Ask.hold(0.0),
        Ask.lease(0.0),
        Ask.waits([[["slot-0"], 1, 10_000]]),
        Ask.status(memory=False),
        Ask.ready("health"),
        Ask.end("needed", drain=True),
        Ask.wake(),
        Ask.switched(""),
        Ask.end_sleeping("needed"),
        Ask.give_up("too late"),
        Ask.lease(0.0),
        Ask.leave(),
        {"op": "what"},
        Ask.stop("enough"),
    ):
        answer = caller.ask(**request)
        assert frozenset(answer) - {"id"} in answers, request
    caller.expect_end()
    for event in caller.heard:
        assert {*event} == told[event["event"]]
