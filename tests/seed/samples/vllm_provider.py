# The second example, a provider that manages vLLM servers.
# Letter for letter, but for the import of ModelHandle, which the sample leaves out. How a server is started
# (_start_server), and what VLLMClient is, it leaves to the reader.

import asyncio
import subprocess
from typing import Dict, Optional

from doteval import ModelHandle

class VLLMProvider:
    """Manages local vLLM server instances."""

    def __init__(self, base_port: int = 8000, gpu_memory: float = 0.9):
        self.base_port = base_port
        self.gpu_memory = gpu_memory
        self._servers: Dict[str, subprocess.Popen] = {}
        self._clients: Dict[str, VLLMClient] = {}
        self._handles: Dict[str, ModelHandle] = {}
        self._next_port = base_port

    async def setup(self, model: str, **config) -> ModelHandle:
        """Setup a vLLM server and return a handle."""
        if model in self._handles:
            return self._handles[model]

        # Allocate port
        port = self._next_port
        self._next_port += 1

        # Start server
        await self._start_server(model, port, config)

        # Create handle
        handle = ModelHandle(
            resource_id=model,
            model=self._clients[model],
            manager=self
        )
        self._handles[model] = handle

        return handle

    async def teardown(self, model: str):
        """Tear down the vLLM server."""
        if model in self._servers:
            # Stop server
            self._servers[model].terminate()
            self._servers[model].wait(timeout=10)
            del self._servers[model]

            # Clean up
            if model in self._handles:
                del self._handles[model]
            if model in self._clients:
                del self._clients[model]
