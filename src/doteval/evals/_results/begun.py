"""``RequestsOfRow``: the requests of a row, those that it has begun and that go on among them."""

from __future__ import annotations

from ... import ModelRequest


class RequestsOfRow(list[ModelRequest]):
    """Those that have ended; a row has to know at its end of those as well that it has left behind."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[int, ModelRequest] = {}
        self.waited = 0.0
        """How long they have waited to be sent, all together, in seconds."""

    def begin(self, request: ModelRequest, /) -> None:
        """One begins."""
        self._begun[id(request)] = request

    def append(self, request: ModelRequest, /) -> None:
        """It has ended."""
        super().append(request)
        self.forget(request)

    def forget(self, request: ModelRequest, /) -> None:
        """It does not go on."""
        self._begun.pop(id(request), None)

    def wait(self, seconds: float, /) -> None:
        """One has waited to be sent."""
        self.waited += seconds

    @property
    def open(self) -> list[ModelRequest]:
        """Those that go on; one that is ending just now may be in the list as well."""
        return [*self._begun.values()]
