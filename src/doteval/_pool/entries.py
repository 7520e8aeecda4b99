"""Entries: every generation of a resource whose task has not ended, and which of them are idle."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import chain

from .records import Entry, Phase, Want


class Entries:
    """The entries by key, at most one for each; and older generations of some, which are leased to nobody new."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Entry] = {}
        self._older: dict[Entry, None] = {}
        self._generation = 0  # one count for all keys: a count a key would remember every key for ever
        self.get = self._by_key.get
        """The entry under a key, or `None`. The dictionary's own method: one of ours would cost a call a lease."""
        self.idle: dict[Entry, None] = {}
        """What is open and has no lease, in the order in which it became so: least recently used first."""

    def __iter__(self) -> Iterator[Entry]:
        return chain(self._older, self._by_key.values())

    def __contains__(self, key: Hashable) -> bool:
        return key in self._by_key

    def find(self, label: str) -> Entry | None:
        """The entry with this resource id, or `None`; of several generations the last."""
        return next((entry for entry in self._by_key.values() if entry.want.label == label), None)

    def set_aside(self, entry: Entry) -> None:
        """Let the next generation be opened while this one is still leased."""
        del self._by_key[entry.want.key]
        self._older[entry] = None

    def is_older(self, entry: Entry) -> bool:
        """Whether it was set aside."""
        return entry in self._older

    def add(self, want: Want, slot_names: tuple[str, ...]) -> Entry:
        """Enter the next generation."""
        self._generation += 1
        entry = self._by_key[want.key] = Entry(want, self._generation, slot_names)
        return entry

    def remove(self, entry: Entry) -> None:
        """The entry's task has ended."""
        if entry in self._older:
            del self._older[entry]
        else:
            del self._by_key[entry.want.key]
        self.idle.pop(entry, None)

    def is_absent(self, key: Hashable) -> bool:
        """Whether it takes slots to lease the key: nothing is open under it, or what is open is closing."""
        entry = self.get(key)
        return entry is None or entry.phase is Phase.CLOSING

    def is_retiring(self, key: Hashable) -> bool:
        """Whether what is open under the key is leased to nobody new, and closes after its last lease."""
        entry = self.get(key)
        return entry is not None and entry.phase is not Phase.CLOSING and bool(entry.retiring)
