"""The engine under a pooled provider: a pure ledger, one task a resource, and the pool that drives both."""
