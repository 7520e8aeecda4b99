"""Model servers: started once, shared by everything, never left behind.

The parts; `_slots` stands on `_unshared`, and knows how a supervisor locks a part of a slot; else the first four know
nothing of each other, and the others are built on those above them::

    _unshared      what a forked child must not keep
    _stopper       the program around a server that has a stop command
    _supervisor    the other process, one for each server: a program of its own; others know its protocol
    _description   what is run, when it is ready, what is said when it does not start
    _slots         slots of the whole machine: which GPUs there are, the queue for them
    _contract      what a provider needs of whoever starts servers
    _local         starts servers on this machine, finds those that run, holds on to them

Providers are in ``doteval``: `ServerProvider` for any command, `VLLMProvider` and its peers for what they know.
"""

from __future__ import annotations

from ._contract import Launcher, LeaseListener, Server, ServerLease, Terms
from ._description.causes import Cause
from ._description.command import CommandMissingError, ServerCommand
from ._description.readiness import HTTPReady, LogLine, PortOpen, Readiness, ReadinessView, ReadyWhen
from ._description.sleeping import HTTPSleep, Sleep, SleepWith
from ._local.account import Start
from ._local.launcher import LocalLauncher
from ._slots.gpus import Gpu, SlotSet

__all__ = [
    "Cause",
    "CommandMissingError",
    "Gpu",
    "HTTPReady",
    "HTTPSleep",
    "Launcher",
    "LeaseListener",
    "LocalLauncher",
    "LogLine",
    "PortOpen",
    "Readiness",
    "ReadinessView",
    "ReadyWhen",
    "Server",
    "ServerCommand",
    "ServerLease",
    "Sleep",
    "SleepWith",
    "SlotSet",
    "Start",
    "Terms",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
