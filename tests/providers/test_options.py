"""What a provider takes is declared once: every option of every server has its type, check, flag and documentation."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from doteval import (
    AnthropicProvider,
    ContextProvider,
    HTTPProvider,
    LlamaCppProvider,
    OllamaProvider,
    OpenAICompatibleProvider,
    OpenAIProvider,
    PooledProvider,
    ServerProvider,
    SGLangProvider,
    TransformersProvider,
    VLLMProvider,
)
from doteval._keywords import fields_of, names_taken
from doteval.providers import llamacpp, sglang, transformers, vllm
from doteval.providers._served.installed import InstalledServer
from doteval.providers._served.options import Option

SERVERS: dict[str, tuple[type[Any], InstalledServer, dict[str, str]]] = {
    "vllm": (VLLMProvider, vllm.SERVER, {"executable": "/env/bin/vllm"}),
    "sglang": (SGLangProvider, sglang.SERVER, {"executable": "/env/bin/sglang"}),
    "transformers": (TransformersProvider, transformers.SERVER, {"executable": "/env/bin/transformers"}),
    "llama-server": (LlamaCppProvider, llamacpp.NATIVE, {"executable": "/env/bin/llama-server"}),
    "llama_cpp.server": (LlamaCppProvider, llamacpp.PYTHON, {"python": "/env/bin/python"}),
}
EACH = [(server, name) for server, (_, known, _) in SERVERS.items() for name in sorted(known.options.names)]


def good_values(declared: Any) -> list[Any]:
    """A value for each member of a declared type, but for `None`."""
    if get_origin(declared) in (Union, types.UnionType):
        return [value for member in get_args(declared) for value in good_values(member)]
    if get_origin(declared) is Literal:
        return list(get_args(declared))
    kind = get_origin(declared) or declared
    if kind is Mapping:
        return [{"a": "/b"}]
    if kind is Sequence:
        return [[0.5, 0.5]]
    return {str: ["some"], int: [1], float: [0.5], bool: [True]}.get(
        kind, [Path("/some")] if getattr(kind, "__name__", "") == "PathLike" else []
    )


@pytest.mark.parametrize(("server", "name"), EACH)
def test_every_option_is_all_that_its_declaration_says(server: str, name: str) -> None:
    """Good values of the declared type end up behind the flag; a bad one is refused by name; a reader finds it."""
    kind, known, where = SERVERS[server]
    field = fields_of(known.options.declaration)[name]
    assert isinstance(field.keyword, Option)
    flag = known.options._flags[name].names[0]
    values = good_values(field.type)
    assert values
    for value in values:
        assert flag in kind(**where, **{name: value}).command("some/model").argv
    assert flag in kind(**where).command("some/model", **{name: values[0]}).argv
    with pytest.raises(ValueError, match=f"^{name} must be "):
        kind(**where, **{name: object()})
    parameter = inspect.signature(kind).parameters[name]
    assert (parameter.annotation, parameter.default) == (field.type, None)
    assert f"\n    {name}: {field.keyword.doc.split()[0]}" in (inspect.getdoc(kind) or "")


@pytest.mark.parametrize("kind", [PooledProvider, ServerProvider, OpenAIProvider, AnthropicProvider, OllamaProvider])
def test_what_is_in_the_signature_is_documented(kind: type[Any]) -> None:
    """Also what comes from declarations, and what is passed on."""
    doc = inspect.getdoc(kind) or ""
    assert [name for name in inspect.signature(kind).parameters if f"\n    {name}: " not in doc] == []


class Mine(VLLMProvider):
    """Passes keywords on, as users do."""

    def __init__(self, directory: str = "", **settings: Any) -> None:
        super().__init__(**settings)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: VLLMProvider(max_modellen=1), "VLLMProvider has no keyword argument max_modellen; .* max_model_len"),  # type: ignore[call-arg]
        (lambda: Mine(max_modellen=1), "Mine has no keyword argument max_modellen; .* max_model_len"),
        (lambda: Mine(directoy="a"), r"Mine has no keyword argument directoy; did you mean directory\?"),
        (lambda: OpenAIProvider(timout=1), r"OpenAIProvider has no keyword argument timout; did you mean timeout"),  # type: ignore[call-arg]
        (lambda: ServerProvider(["x"], keepalive=1), "ServerProvider has no keyword argument keepalive; .*keep_alive"),  # type: ignore[call-arg]
        (lambda: HTTPProvider(zzz=1), "HTTPProvider has no keyword argument zzz; there are .*keep_alive"),  # type: ignore[call-arg]
    ],
)
def test_a_wrong_keyword_is_refused_by_the_provider_that_was_made(make: Any, problem: str) -> None:
    """With what may have been meant, not in the name of a base class that the user has never heard of."""
    with pytest.raises(TypeError, match=problem):
        make()


def test_the_names_that_are_taken_are_those_of_the_bases_too() -> None:
    """Where keywords are passed on; by them the plugin knows what it may offer."""
    assert {"directory", "max_model_len", "launcher", "port", "keep_alive"} <= names_taken(Mine)
    assert {"max_concurrency", "keep_alive", "api_key"} <= names_taken(OpenAICompatibleProvider)
    assert "max_concurrency" not in names_taken(ContextProvider)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("provider", "config", "message"),
    [
        (
            VLLMProvider,
            {"max_modle_len": 1},
            r"VLLMProvider.setup\(\) has no .* max_modle_len; did you mean max_model_len\?",
        ),
        (VLLMProvider, {"max_modle_len": None}, r"did you mean max_model_len\?"),
        (VLLMProvider, {"gpus": 1}, r"gpus: that is the same for all models .* given to VLLMProvider\(\.\.\.\)"),
        (
            OpenAIProvider,
            {"timout": 1},
            r"OpenAIProvider.setup\(\) has no keyword argument timout; did you mean timeout\?",
        ),
    ],
    ids=str,
)
async def test_a_keyword_that_setup_does_not_know_is_told_at_once(provider: Any, config: Any, message: str) -> None:
    """As the caller's mistake, before anything is opened; with what may have been meant, or where it belongs."""
    async with provider() as entered:
        with pytest.raises(TypeError, match=message):
            await entered.setup("m", **config)
        assert entered.statistics().open_failures == 0


def test_a_keyword_that_the_base_decides_is_unknown() -> None:
    """It is not the base that complains."""
    with pytest.raises(TypeError, match="VLLMProvider has no keyword argument health_after"):
        VLLMProvider(health_after=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (OpenAIProvider, "close_timeout"),
        (OpenAIProvider, "remember_failures"),
        (OpenAIProvider, "max_concurrent_opens"),
        (VLLMProvider, "close_timeout"),
        (VLLMProvider, "start_timeout"),
        (VLLMProvider, "stop_grace"),
        (VLLMProvider, "server_keep_alive"),
        (VLLMProvider, "restarts"),
    ],
)
def test_none_is_refused_where_it_means_nothing(provider: Any, name: str) -> None:
    """By name; a provider that closes its resources within None seconds would never end."""
    with pytest.raises(ValueError, match=name):
        provider(**{name: None})
