"""The cache of replies that answers what rows ask, for as long as they are run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from anyio import CancelScope, to_thread

from ... import CachedReplies, ReplyCache
from .._results.store import DEFAULT_PATH, Store


def cache_of(
    cache: ReplyCache | Literal["on", "read", "write", "off"] | None, store: Store | Path | str | None
) -> ReplyCache | Literal["off"] | None:
    """The cache that is meant; by its mode, the one beside the store."""
    if cache is None or cache == "off" or isinstance(cache, ReplyCache):
        return cache
    path = store.path if isinstance(store, Store) else Path(DEFAULT_PATH if store is None else store)
    return ReplyCache(path.with_name("replies.db"), cache)


@asynccontextmanager
async def answering(cache: ReplyCache | Literal["off"] | None) -> AsyncGenerator[CachedReplies | None]:
    """Let it answer in the block; at the end, all is written that is kept.

    Args:
        cache: The cache; `None`: what answers where this code runs, if anything does. ``"off"``: nothing.

    Raises:
        ReplyCacheError: It is a file of something else.
    """
    own = ReplyCache.paused() if cache == "off" else None if cache is None else cache.answering()
    with own or ReplyCache.inherited() as replies:
        try:
            yield replies
        finally:
            if replies is not None and not replies.is_in_a_row():
                with CancelScope(shield=True):  # bounded by the patience of SQLite
                    await to_thread.run_sync(replies.flush)
