# Of the best practices, those on caching and on failures; and the two pitfalls, what to avoid and what to do instead.
# Letter for letter, but for one line: where the sample on failures has a comment in place of the handle, there is one.

import asyncio

from doteval import ModelHandle

ResourceHandle = ModelHandle  # what some samples call it

# ---------------------------------------------------------------- the sample on caching

class CachingManager:
    def __init__(self):
        self._cache = {}
        self._lock = asyncio.Lock()

    async def get_client(self, **kwargs):
        key = self._make_key(kwargs)

        async with self._lock:
            if key not in self._cache:
                self._cache[key] = await self._create_client(**kwargs)

        return self._cache[key]

# ---------------------------------------------------------------- the sample on failures

async def setup(self, spec: str) -> ResourceHandle:
    """Setup with error handling."""
    try:
        client = await self._create_resource(spec)
        # ... create handle
        return ModelHandle(resource_id=spec, model=client, manager=self)
    except Exception as e:
        # Log error and provide helpful message
        raise RuntimeError(
            f"Failed to setup resource '{spec}': {e}\n"
            f"Ensure the service is running and accessible."
        )

# ---------------------------------------------------------------- what to avoid

# Bad - confusing multiple ways to do the same thing
class Provider:
    def get_client(self, model): ...  # Old pattern
    async def setup(self, model): ...  # New pattern
    async def create(self, model): ... # Another pattern?

ManyPatterns = Provider

# ---------------------------------------------------------------- what to do instead

# Good - one way to do things
class Provider:
    async def setup(self, model) -> ResourceHandle:
        """The only way to create resources."""
        ...

OnePattern = Provider
