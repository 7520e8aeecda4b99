# The section on a custom provider, its first step: a class of one's own on the base class.
# Letter for letter, but for the application's client, which the section only names.

from anyio.lowlevel import current_token
from openai import AsyncOpenAI


class MyClient:
    """The application class: a real SDK client, so that it notices when it is used in another event loop."""

    def __init__(self, spec, **kwargs):
        self.spec = spec
        self.token = current_token()
        self.sdk = AsyncOpenAI(**kwargs)

    async def generate(self, prompt):
        assert current_token() == self.token, "used in another event loop"
        messages = [{"role": "user", "content": prompt}]
        answer = await self.sdk.chat.completions.create(model=self.spec, messages=messages)
        return answer.choices[0].message.content

    async def close(self):
        await self.sdk.close()


# ---------------------------------------------------------------- the sample

from doteval import ModelProvider, ModelHandle
from typing import Dict, Any

class MyModelProvider(ModelProvider):
    """Custom model provider implementation."""

    def __init__(self, config: Dict[str, Any]):
        self.config = config
        self._resources: Dict[str, Any] = {}
        self._handles: Dict[str, ModelHandle] = {}

    async def setup(self, resource_spec: str, **kwargs) -> ModelHandle:
        """Setup a resource and return a handle."""
        if resource_spec in self._handles:
            return self._handles[resource_spec]

        # Create resource (might be async)
        client = await self._create_resource(resource_spec, **kwargs)

        # Create standard handle
        handle = ModelHandle(
            resource_id=resource_spec,
            model=client,
            manager=self
        )
        self._handles[resource_spec] = handle
        self._resources[resource_spec] = client

        return handle

    async def teardown(self, resource_id: str) -> None:
        """Tear down a specific resource."""
        if resource_id in self._resources:
            client = self._resources[resource_id]
            await client.close()
            del self._resources[resource_id]
            del self._handles[resource_id]

    async def _create_resource(self, spec: str, **kwargs):
        """Create the actual resource/client."""
        # Implementation specific
        return MyClient(spec, **kwargs)
