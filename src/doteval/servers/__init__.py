"""Model servers: started once, shared by everything, never left behind.

The parts, each built on those above it::

    _shim                          the supervisor process, one for each server
    _runtime  _command             where servers find each other; what is run
    _connection  _holds            a client's end of the line to a supervisor
    _supervisors                   starts them, waits for their end
    _gpus  _slots  _room           slots of the whole machine: what there is, the queue, who has to make room
    _readiness  _failure           when a server is ready; what is said when it is not
    _contract                      what a provider needs of whoever starts servers
    _starting  _launcher           starts them on this machine

Providers are in ``doteval``: `ServerProvider` for any command, `VLLMProvider` and its peers for what they know.
"""

from __future__ import annotations

from ._command import CommandMissingError, ServerCommand
from ._contract import Launcher, LeaseListener, Server, ServerLease, Terms
from ._gpus import Gpu, SlotSet
from ._launcher import LocalLauncher, Start
from ._readiness import HTTPReady, LogLine, PortOpen, Readiness, ReadinessView, ReadyWhen

__all__ = [
    "CommandMissingError",
    "Gpu",
    "HTTPReady",
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
    "SlotSet",
    "Start",
    "Terms",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
