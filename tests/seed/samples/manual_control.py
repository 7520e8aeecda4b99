# The section on use, its second way: the test itself sets up and tears down.
# Adapted: without `@foreach`, so the same pairs are parameters, and what would be returned as a result is asserted.

import pytest

# ---------------------------------------------------------------- the sample

@pytest.mark.parametrize("model,prompt", [
    ("gpt-4", "Hello"),
    ("claude-3", "World"),
])
async def eval_with_control(model, prompt, my_model_provider):
    """Manual resource lifecycle control."""
    handle = await my_model_provider.setup(model)
    try:
        response = await handle.model.generate(prompt)
        assert response == f"Hello! You said: {prompt}"
    finally:
        await handle.teardown()
