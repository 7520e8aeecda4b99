# The section that opens the guide: the one fixture pattern that all providers follow.
# Letter for letter; the import is the section's own assumption.

import pytest

# ---------------------------------------------------------------- the sample

@pytest.fixture
async def client(request, model_providers):
    """Standard model provider fixture pattern."""
    handle = await model_providers.setup(request.param)
    yield handle.model
    await handle.teardown()
