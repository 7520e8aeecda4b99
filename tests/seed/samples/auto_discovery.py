# The section on discovery: a provider taken from the mapping of all that are installed.
# Adapted where it is not code: `await` needs an `async def`, and a `try` needs a body.

used = []

# ---------------------------------------------------------------- the sample

async def eval_with_discovery(model_providers):
    """Use auto-discovered model providers."""
    if "myresource" in model_providers:
        provider = model_providers["myresource"]
        handle = await provider.setup("model-name")
        try:
            # Use handle.model
            used.append(await handle.model.generate("Hello"))
        finally:
            await handle.teardown()
