"""``transformers serve``."""

from __future__ import annotations

from typing import Any

import pytest
from tests.real.real_server import RealServer, model, needed

from doteval.providers.transformers import TransformersProvider


class TestTransformers(RealServer):
    takes_key = False
    lists_models = False

    @pytest.fixture(autouse=True)
    def models(self) -> None:
        self.spec, self.other_spec = model("tiny-llama"), model("tiny-qwen2")
        self.bad_spec = "/nowhere/no-such-model"

    def provider(self, **settings: Any) -> TransformersProvider:
        environment = {"HF_HUB_OFFLINE": "1"}
        python = needed("DOTEVAL_TEST_TRANSFORMERS")
        return TransformersProvider(python=python, environment=environment, gpus=None, **settings)
