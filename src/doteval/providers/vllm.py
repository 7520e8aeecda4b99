"""``VLLMProvider``: starts vLLM, and leases the models it serves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Unpack

from .._spec import check_spec
from ..servers._description.command import ServerCommand
from ..servers._description.readiness import HTTPReady
from ._served.executable import Executable, is_distribution, start_of
from ._served.installed import InstalledServerProvider
from ._served.options import (
    Option,
    ServerOptions,
    file,
    file_or_text,
    json_object,
    local,
    model,
    named_files,
    number,
    share,
    switch,
    text,
    whole,
)
from ._served.settings import ServerSettings

OPTIONS = ServerOptions(
    "vLLM",
    [
        Option("served_model_name", ("--served-model-name",), text),
        Option("dtype", ("--dtype",), text),
        Option("quantization", ("--quantization", "-q"), text),
        Option("load_format", ("--load-format",), text),
        Option("max_model_len", ("--max-model-len",), whole()),
        Option("max_num_seqs", ("--max-num-seqs",), whole()),
        Option("tensor_parallel_size", ("--tensor-parallel-size", "-tp"), whole()),
        Option("pipeline_parallel_size", ("--pipeline-parallel-size", "-pp"), whole()),
        Option("data_parallel_size", ("--data-parallel-size", "-dp"), whole()),
        Option("gpu_memory_utilization", ("--gpu-memory-utilization", "--device-memory-utilization"), share),
        Option("kv_cache_dtype", ("--kv-cache-dtype",), text),
        Option("cpu_offload_gb", ("--cpu-offload-gb",), number(0)),
        Option("enforce_eager", ("--enforce-eager",), switch),
        Option("enable_prefix_caching", ("--enable-prefix-caching",), switch, off="--no-enable-prefix-caching"),
        Option("seed", ("--seed",), whole(0)),
        Option("revision", ("--revision",), text),
        Option("tokenizer", ("--tokenizer",), model),
        Option("chat_template", ("--chat-template",), file_or_text),
        Option("generation_config", ("--generation-config",), file_or_text),
        Option("hf_overrides", ("--hf-overrides",), json_object),
        Option("download_dir", ("--download-dir",), file),
        Option("trust_remote_code", ("--trust-remote-code",), switch),
        Option("enable_lora", ("--enable-lora",), switch),
        Option("max_lora_rank", ("--max-lora-rank",), whole()),
        Option("lora_modules", ("--lora-modules",), named_files),
        Option("reasoning_parser", ("--reasoning-parser",), text),
        Option("tool_call_parser", ("--tool-call-parser",), text),
        Option("enable_auto_tool_choice", ("--enable-auto-tool-choice",), switch),
    ],
    {
        "--model": "the model is the spec",
        "--host": "doteval chooses where the server listens",
        "--port": "doteval chooses a free port; pass port=... to choose it",
        "--uds": "doteval talks to the server through a port",
        "--api-key": "doteval makes a key for each server, which handle.model.server.api_key tells",
        "--ssl-keyfile": "the server is reached from this machine only, by plain HTTP",
        "--ssl-certfile": "the server is reached from this machine only, by plain HTTP",
        "--headless": "a server without its API cannot be asked anything",
        "--config": "write the options of the file as keyword arguments, and the rest into extra_args",
    },
    abbreviates=True,
)


def vllm_command(
    spec: str,
    *,
    python: Executable | None = None,
    executable: Executable | None = None,
    extra_args: Sequence[str] = (),
    **settings: Any,
) -> ServerCommand:
    """What to run to serve a model with vLLM.

    The key goes into ``VLLM_API_KEY``, which vLLM reads and does not print. The model is served under the name that was
    asked for, also where that is a path.

    Args:
        spec: The model: its name on the hub, or a directory.
        python: The Python that has vLLM installed.
        executable: vLLM's own command.
        extra_args: Options that have no keyword argument.
        settings: Those that have one, see `VLLMProvider`.

    Raises:
        SpecError: `spec` cannot name a model.
        ValueError: An option cannot be meant.
        TypeError: There is no such keyword argument.
    """
    check_spec(spec)
    module = ["vllm.entrypoints.openai.api_server"]
    if python is None and is_distribution("vllm"):
        module = ["vllm.entrypoints.cli.main", "serve"]  # what comes after it, but fails in the build for CPUs
    start = start_of(["vllm", "serve"], module, python=python, executable=executable)
    if settings.get("lora_modules") is not None:
        settings = {"enable_lora": True, **_given(settings)}
    name = settings.get("served_model_name") or spec
    return ServerCommand(
        kind="vllm",
        spec=spec,
        argv=(
            *start,
            *([local(spec)] if start[-1] == "serve" else ["--model", local(spec)]),
            *("--host", "{host}", "--port", "{port}"),
            *OPTIONS.arguments({**settings, "served_model_name": name}, extra_args),
        ),
        secret_environment={"VLLM_API_KEY": "{api_key}"},
        install_hint="Install it with 'pip install vllm', or say with python=... in which environment it is",
        relevant_environment=("VLLM_", "HF_", "HUGGING_FACE_", "TRANSFORMERS_", "TORCH", "PYTORCH_", "NCCL_", "OMP_"),
    )


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


class VLLMProvider(InstalledServerProvider):
    """Leases models of vLLM servers that it starts.

    ::

        async with VLLMProvider(max_model_len=8192) as provider:
            async with await provider.setup("meta-llama/Llama-3.1-8B-Instruct") as handle:
                reply = await handle.model.generate("Hello")

    The spec is a name on the hub or a directory. The options are those of ``vllm serve`` under the same names; `None`
    leaves one to vLLM. ``setup(spec, **config)`` takes all of them up to `extra_args` for one model. A server needs as
    many slots as the product of its parallel sizes.

    On a CPU, vLLM wants to know how much memory its cache may take: ``environment={"VLLM_CPU_KVCACHE_SPACE": "1"}``, in
    GiB. The server also answers Anthropic's SDK, at its address without ``/v1``.

    Args:
        python: The Python that has vLLM installed, such as ``"/opt/vllm/bin/python"``. `None`: this one, if it has;
            else the command ``vllm`` is looked up.
        executable: The command ``vllm``, by its path.
        served_model_name: What requests call the model. `None`: the spec.
        dtype: The type of weights and activations, such as ``"bfloat16"``.
        quantization: How the weights are quantised, such as ``"awq"``.
        load_format: The format of the weights, such as ``"safetensors"``.
        max_model_len: The context length, in tokens.
        max_num_seqs: How many requests are worked on at once.
        tensor_parallel_size: Over how many GPUs each layer is split.
        pipeline_parallel_size: Over how many GPUs the layers are distributed.
        data_parallel_size: How many copies there are.
        gpu_memory_utilization: How much of a GPU's memory may be used, as a part of 1.
        kv_cache_dtype: The type of what is cached, such as ``"fp8"``.
        cpu_offload_gb: How much of the weights stays in main memory, in GiB for each GPU.
        enforce_eager: Whether to do without CUDA graphs: starts sooner, runs slower.
        enable_prefix_caching: Whether what prompts have in common is computed once.
        seed: The seed of random numbers.
        revision: The version of the model on the hub.
        tokenizer: The name or directory of another tokenizer.
        chat_template: A file with the template, or the template itself.
        generation_config: A directory with the defaults of generation, ``"auto"``, or ``"vllm"``.
        hf_overrides: What to replace in the model's configuration.
        download_dir: Where models are downloaded to.
        trust_remote_code: Whether code that comes with a model may run.
        enable_lora: Whether LoRA adapters can be used; implied by `lora_modules`.
        max_lora_rank: The highest rank of an adapter.
        lora_modules: Names and directories of adapters; requests name an adapter as their model.
        reasoning_parser: How reasoning is told from the reply, such as ``"qwen3"``.
        tool_call_parser: How calls of tools are recognised, such as ``"hermes"``.
        enable_auto_tool_choice: Whether the model may decide to call a tool.
        extra_args: Other options, as on the command line: ``["--max-logprobs", "50"]``.
        settings: What every provider of servers takes, see `ServerProvider`: ``gpus``, ``capacity``, ``share``,
            ``server_keep_alive``, ``start_timeout``, ``stall_timeout``, ``environment``, ``restarts``,
            ``max_concurrency``, ``params``, ``timeout`` and others.

    Raises:
        ValueError: A value cannot be meant.
        TypeError: `extra_args` is not a list of strings.
        ServersUnsupportedError: The system is Windows.
    """

    def __init__(
        self,
        *,
        python: Executable | None = None,
        executable: Executable | None = None,
        served_model_name: str | None = None,
        dtype: str | None = None,
        quantization: str | None = None,
        load_format: str | None = None,
        max_model_len: int | None = None,
        max_num_seqs: int | None = None,
        tensor_parallel_size: int | None = None,
        pipeline_parallel_size: int | None = None,
        data_parallel_size: int | None = None,
        gpu_memory_utilization: float | None = None,
        kv_cache_dtype: str | None = None,
        cpu_offload_gb: float | None = None,
        enforce_eager: bool | None = None,
        enable_prefix_caching: bool | None = None,
        seed: int | None = None,
        revision: str | None = None,
        tokenizer: str | None = None,
        chat_template: str | os.PathLike[str] | None = None,
        generation_config: str | os.PathLike[str] | None = None,
        hf_overrides: Mapping[str, Any] | None = None,
        download_dir: str | os.PathLike[str] | None = None,
        trust_remote_code: bool | None = None,
        enable_lora: bool | None = None,
        max_lora_rank: int | None = None,
        lora_modules: Mapping[str, str | os.PathLike[str]] | None = None,
        reasoning_parser: str | None = None,
        tool_call_parser: str | None = None,
        enable_auto_tool_choice: bool | None = None,
        extra_args: Sequence[str] = (),
        **settings: Unpack[ServerSettings],
    ) -> None:
        super().__init__(
            HTTPReady("/health") & HTTPReady("/v1/models", with_api_key=True),
            {
                "python": python,
                "executable": executable,
                "served_model_name": served_model_name,
                "dtype": dtype,
                "quantization": quantization,
                "load_format": load_format,
                "max_model_len": max_model_len,
                "max_num_seqs": max_num_seqs,
                "tensor_parallel_size": tensor_parallel_size,
                "pipeline_parallel_size": pipeline_parallel_size,
                "data_parallel_size": data_parallel_size,
                "gpu_memory_utilization": gpu_memory_utilization,
                "kv_cache_dtype": kv_cache_dtype,
                "cpu_offload_gb": cpu_offload_gb,
                "enforce_eager": enforce_eager,
                "enable_prefix_caching": enable_prefix_caching,
                "seed": seed,
                "revision": revision,
                "tokenizer": tokenizer,
                "chat_template": chat_template,
                "generation_config": generation_config,
                "hf_overrides": hf_overrides,
                "download_dir": download_dir,
                "trust_remote_code": trust_remote_code,
                "enable_lora": enable_lora,
                "max_lora_rank": max_lora_rank,
                "lora_modules": lora_modules,
                "reasoning_parser": reasoning_parser,
                "tool_call_parser": tool_call_parser,
                "enable_auto_tool_choice": enable_auto_tool_choice,
                "extra_args": extra_args,
            },
            **settings,
        )

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """The product of the parallel sizes."""
        sizes = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
        return OPTIONS.slots(self._merged(config), *sizes)

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model."""
        return self._merged(config)["served_model_name"] or spec

    def _make_command(self, spec: str, **options: Any) -> ServerCommand:
        return vllm_command(spec, **options)
