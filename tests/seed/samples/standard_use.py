# The section on use, its recommended way: a client fixture that is parametrised with models.
# Adapted: without `@foreach`, which takes the prompts from a data set; here they are parameters, too.

import pytest

# ---------------------------------------------------------------- the sample

@pytest.mark.parametrize(
    "model_client",
    ["gpt-4", "claude-3"],
    indirect=True
)
@pytest.mark.parametrize("prompt", ["Hello", "World"])
async def eval_models(prompt, model_client):
    """Standard evaluation using model provider fixture."""
    response = await model_client.generate(prompt)
    assert response == f"Hello! You said: {prompt}"
