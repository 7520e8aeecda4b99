"""What cannot be meant by an address, a key or a time is said where it is given, and taken for nothing else."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from doteval import (
    AnthropicProvider,
    MissingCredentialsError,
    ModelSetupError,
    OpenAICompatibleProvider,
    OpenAIProvider,
)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url", ["", " ", "/v1", "127.0.0.1:1/v1", "http://127.0.0.1:184310/v1", "http://h/v1 ", "http:// h/v1"]
)
@pytest.mark.parametrize("make", [OpenAIProvider, OpenAICompatibleProvider, AnthropicProvider])
async def test_what_is_no_address_is_never_taken_for_the_vendors_own(make: Any, url: str) -> None:
    """As a variable that is not set is: what is asked must stay in the house."""
    async with make(base_url=url, api_key="nobody's") as provider:
        with pytest.raises(ModelSetupError, match="base_url must be an address such as"):
            await provider.setup("m")


@pytest.mark.parametrize("value", ["5", "soon", b"5", True, 0, -1, float("nan")])
@pytest.mark.parametrize("make", [OpenAIProvider, partial(OpenAICompatibleProvider, "http://h/v1"), AnthropicProvider])
def test_what_is_no_time_is_no_timeout(make: Any, value: Any) -> None:
    """Where it is given, and not where a request fails by it."""
    with pytest.raises(ValueError, match=r"timeout (cannot be|must be more than 0 seconds)"):
        make(timeout=value)


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["", "  ", "\n"])
@pytest.mark.parametrize(
    ("make", "variable"), [(OpenAIProvider, "OPENAI_API_KEY"), (AnthropicProvider, "ANTHROPIC_API_KEY")]
)
async def test_a_key_without_letters_is_none(
    make: Any, variable: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it comes from."""
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    for given, in_environment in ((key, ""), (None, key)):
        monkeypatch.setenv(variable, in_environment)
        async with make(api_key=given) as provider:
            with pytest.raises(ModelSetupError) as failure:
                await provider.setup("m")
            assert isinstance(failure.value.__cause__, MissingCredentialsError)
