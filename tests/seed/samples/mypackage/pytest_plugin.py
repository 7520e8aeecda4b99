# The section on the two fixtures that a provider has to bring: a synchronous one for the session, which closes what is
# left in an event loop of its own, and an asynchronous one for each test.
# Letter for letter, but for the imports and the configuration, which the section only names.

import asyncio
import pytest
from mypackage import MyModelProvider

config = {"region": "here"}

# ---------------------------------------------------------------- the sample

# Session-scoped provider
@pytest.fixture(scope="session")
def my_model_provider(request) -> MyModelProvider:
    """Session-scoped model provider."""
    provider = MyModelProvider(config)

    # Ensure cleanup at session end
    async def cleanup():
        await provider.teardown_all()

    request.addfinalizer(lambda: asyncio.run(cleanup()))

    return provider


# Function-scoped client (THE STANDARD PATTERN)
@pytest.fixture
async def my_client(request, my_model_provider):
    """Standard model provider fixture pattern."""
    handle = await my_model_provider.setup(request.param)
    yield handle.model
    await handle.teardown()
