"""llama.cpp: the server of llama-cpp-python, and ``llama-server`` where there is one."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.real.real_server import RealServer, model, needed

from doteval.providers.llamacpp import LlamaCppProvider


class TestLlamaCppPython(RealServer):
    @pytest.fixture(autouse=True)
    def models(self) -> None:
        self.spec, self.other_spec = model("tiny-llama.gguf"), model("tiny-qwen2.gguf")
        self.bad_spec = "/nowhere/no-such-model.gguf"

    def provider(self, **settings: Any) -> LlamaCppProvider:
        return LlamaCppProvider(python=needed("DOTEVAL_TEST_LLAMACPP"), ctx_size=512, gpus=None, **settings)


@pytest.mark.skipif("DOTEVAL_TEST_LLAMA_SERVER" not in os.environ, reason="there is no llama-server")
class TestLlamaServer(RealServer):
    @pytest.fixture(autouse=True)
    def models(self) -> None:
        self.spec, self.other_spec = model("tiny-llama.gguf"), model("tiny-qwen2.gguf")
        self.bad_spec = "/nowhere/no-such-model.gguf"

    def provider(self, **settings: Any) -> LlamaCppProvider:
        return LlamaCppProvider(executable=needed("DOTEVAL_TEST_LLAMA_SERVER"), ctx_size=2048, gpus=None, **settings)
