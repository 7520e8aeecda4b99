"""The mutants that are no mistakes, each with the reason."""

from __future__ import annotations

EQUIVALENT = {
    "engine.Engine._tell: request.state is State.GRANTED and (self._on_event is not None or is_logged(DEBUG)) -> "
    "request.state is State.GRANTED or (self._on_event is not None or is_logged(DEBUG))": (
        "the reporter asks again whether anybody listens, and a request that has failed has no leases to tell of"
    ),
    "engine.Engine._apply: self._timed and self._ledger.idle -> self._timed or self._ledger.idle": (
        "an alarm that is poked in vain looks in vain, and one that nobody runs does not even do that"
    ),
    "ledger.Ledger.release: seconds <= SHORT -> seconds < SHORT": "`add` puts what is just as long where it belongs",
    "records.Entry.__init__: self.examined = 0.0 -> pass": "it is read of what is open only, and set when that opens",
}
