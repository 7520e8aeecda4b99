"""What went wrong in closing, kept for whoever waits for it or closes everything."""

from __future__ import annotations

from .containment import as_exception
from .records import Entry

_MOST = 1000  # each keeps alive what was alive when it was raised


class CloseFailures:
    """The failures that nobody was told yet; of very many the first ones, and how many more there are."""

    def __init__(self) -> None:
        self._by_entry: dict[Entry, Exception] = {}
        self._more = 0
        self.count = 0
        """How many there were, told or not."""

    def add(self, entry: Entry, error: BaseException) -> None:
        """Keep what closing the entry raised."""
        self.count += 1
        entry.close_error = as_exception(error, f"closing '{entry.want.label}'")
        if len(self._by_entry) < _MOST:
            self._by_entry[entry] = entry.close_error
        else:
            self._more += 1

    def take(self, entry: Entry) -> Exception | None:
        """What closing the entry raised, for one of those who are told of it because they wait for it."""
        self._by_entry.pop(entry, None)
        return entry.close_error

    def take_all(self) -> list[BaseException]:
        """All that nobody was told yet."""
        failures: list[BaseException] = list(self._by_entry.values())
        if self._more:
            failures.append(RuntimeError(f"closing {self._more} more resources failed; the log says why"))
        self._by_entry.clear()
        self._more = 0
        return failures
