"""``SGLangProvider``: starts SGLang, and leases the models it serves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Unpack

from .._spec import check_spec
from ..servers._description.command import ServerCommand
from ..servers._description.readiness import HTTPReady
from ._served.executable import Executable, start_of
from ._served.installed import InstalledServerProvider
from ._served.options import (
    Option,
    ServerOptions,
    file,
    file_or_text,
    local,
    model,
    named_files,
    share,
    switch,
    text,
    whole,
)
from ._served.settings import ServerSettings

OPTIONS = ServerOptions(
    "SGLang",
    [
        Option("served_model_name", ("--served-model-name",), text),
        Option("dtype", ("--dtype",), text),
        Option("quantization", ("--quantization",), text),
        Option("load_format", ("--load-format",), text),
        Option("device", ("--device",), text),
        Option("context_length", ("--context-length",), whole()),
        Option("max_running_requests", ("--max-running-requests",), whole()),
        Option("tensor_parallel_size", ("--tensor-parallel-size", "--tp-size", "--tp"), whole()),
        Option("pipeline_parallel_size", ("--pipeline-parallel-size", "--pp-size", "--pp"), whole()),
        Option("data_parallel_size", ("--data-parallel-size", "--dp-size", "--dp"), whole()),
        Option("enable_dp_attention", ("--enable-dp-attention",), switch),
        Option("mem_fraction_static", ("--mem-fraction-static",), share),
        Option("kv_cache_dtype", ("--kv-cache-dtype",), text),
        Option("disable_cuda_graph", ("--disable-cuda-graph",), switch),
        Option("disable_radix_cache", ("--disable-radix-cache",), switch),
        Option("random_seed", ("--random-seed",), whole(0)),
        Option("revision", ("--revision",), text),
        Option("tokenizer_path", ("--tokenizer-path",), model),
        Option("chat_template", ("--chat-template",), file_or_text),
        Option("download_dir", ("--download-dir",), file),
        Option("trust_remote_code", ("--trust-remote-code",), switch),
        Option("enable_lora", ("--enable-lora",), switch),
        Option("lora_paths", ("--lora-paths",), named_files),
        Option("reasoning_parser", ("--reasoning-parser",), text),
        Option("tool_call_parser", ("--tool-call-parser",), text),
    ],
    {
        "--model-path": "the model is the spec",
        "--model": "the model is the spec",
        "--host": "doteval chooses where the server listens",
        "--port": "doteval chooses a free port; pass port=... to choose it",
        "--api-key": "doteval makes a key for each server, which handle.model.server.api_key tells",
        "--config": "doteval hands the key over in it; write the options of yours as keyword arguments and extra_args",
        "--ssl-keyfile": "the server is reached from this machine only, by plain HTTP",
        "--ssl-certfile": "the server is reached from this machine only, by plain HTTP",
        "--grpc-mode": "doteval talks to the server by HTTP",
    },
    abbreviates=True,
)


def sglang_command(
    spec: str,
    *,
    python: Executable | None = None,
    executable: Executable | None = None,
    extra_args: Sequence[str] = (),
    **settings: Any,
) -> ServerCommand:
    """What to run to serve a model with SGLang.

    SGLang takes a key from its command line or from a file of options; the file is readable by its owner only. It
    prints the key into its log, though, among all its options.

    Args:
        spec: The model: its name on the hub, or a directory.
        python: The Python that has SGLang installed.
        executable: SGLang's own command.
        extra_args: Options that have no keyword argument.
        settings: Those that have one, see `SGLangProvider`.

    Raises:
        SpecError: `spec` cannot name a model.
        ValueError: An option cannot be meant.
        TypeError: There is no such keyword argument.
    """
    check_spec(spec)
    start = start_of(["sglang", "serve"], ["sglang.launch_server"], python=python, executable=executable)
    name = settings.get("served_model_name") or spec
    return ServerCommand(
        kind="sglang",
        spec=spec,
        argv=(
            *start,
            *("--model-path", local(spec)),
            *("--host", "{host}", "--port", "{port}"),
            *("--config", "{directory}/options.yaml"),
            *OPTIONS.arguments({**settings, "served_model_name": name}, extra_args),
        ),
        files={"options.yaml": 'api-key: "{api_key}"\n'},
        install_hint="Install it with 'pip install sglang', or say with python=... in which environment it is",
        relevant_environment=("SGLANG_", "SGL_", "HF_", "HUGGING_FACE_", "TORCH", "PYTORCH_", "NCCL_", "OMP_"),
    )


def sglang_slots(settings: Mapping[str, Any]) -> int:
    """How many GPUs the server needs: with attention in parallel over the data, the replicas share those they have."""
    copies = [] if settings.get("enable_dp_attention") else ["data_parallel_size"]
    return OPTIONS.slots(settings, "tensor_parallel_size", "pipeline_parallel_size", *copies)


class SGLangProvider(InstalledServerProvider):
    """Leases models of SGLang servers that it starts.

    ::

        async with SGLangProvider(context_length=8192) as provider:
            async with await provider.setup("Qwen/Qwen3-8B") as handle:
                reply = await handle.model.generate("Hello")

    The spec is a name on the hub or a directory. The options are those of ``sglang.launch_server`` under the same
    names; `None` leaves one to SGLang. ``setup(spec, **config)`` takes all of them up to `extra_args` for one model. A
    server needs as many slots as the product of its parallel sizes.

    SGLang prints the server's API key into its log, which only you can read; messages of doteval do not show it.

    Args:
        python: The Python that has SGLang installed. `None`: this one, if it has; else the command ``sglang`` is looked
            up.
        executable: The command ``sglang``, by its path.
        served_model_name: What requests call the model. `None`: the spec.
        dtype: The type of weights and activations, such as ``"bfloat16"``.
        quantization: How the weights are quantised, such as ``"awq"``.
        load_format: The format of the weights, such as ``"safetensors"``.
        device: What the model runs on, such as ``"cuda"`` or ``"cpu"``.
        context_length: The context length, in tokens.
        max_running_requests: How many requests are worked on at once.
        tensor_parallel_size: Over how many GPUs each layer is split.
        pipeline_parallel_size: Over how many GPUs the layers are distributed.
        data_parallel_size: How many copies there are.
        enable_dp_attention: Whether the copies share the GPUs of one, and only attention is computed apart.
        mem_fraction_static: How much of a GPU's memory weights and cache may take, as a part of 1.
        kv_cache_dtype: The type of what is cached, such as ``"fp8_e5m2"``.
        disable_cuda_graph: Whether to do without CUDA graphs: starts sooner, runs slower.
        disable_radix_cache: Whether what prompts have in common is computed anew.
        random_seed: The seed of random numbers.
        revision: The version of the model on the hub.
        tokenizer_path: The name or directory of another tokenizer.
        chat_template: A file with the template, or the name of one that SGLang knows.
        download_dir: Where models are downloaded to.
        trust_remote_code: Whether code that comes with a model may run.
        enable_lora: Whether LoRA adapters can be used; implied by `lora_paths`.
        lora_paths: Names and directories of adapters.
        reasoning_parser: How reasoning is told from the reply, such as ``"qwen3"``.
        tool_call_parser: How calls of tools are recognised, such as ``"qwen25"``.
        extra_args: Other options, as on the command line: ``["--schedule-policy", "lpm"]``.
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
        device: str | None = None,
        context_length: int | None = None,
        max_running_requests: int | None = None,
        tensor_parallel_size: int | None = None,
        pipeline_parallel_size: int | None = None,
        data_parallel_size: int | None = None,
        enable_dp_attention: bool | None = None,
        mem_fraction_static: float | None = None,
        kv_cache_dtype: str | None = None,
        disable_cuda_graph: bool | None = None,
        disable_radix_cache: bool | None = None,
        random_seed: int | None = None,
        revision: str | None = None,
        tokenizer_path: str | None = None,
        chat_template: str | os.PathLike[str] | None = None,
        download_dir: str | os.PathLike[str] | None = None,
        trust_remote_code: bool | None = None,
        enable_lora: bool | None = None,
        lora_paths: Mapping[str, str | os.PathLike[str]] | None = None,
        reasoning_parser: str | None = None,
        tool_call_parser: str | None = None,
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
                "device": device,
                "context_length": context_length,
                "max_running_requests": max_running_requests,
                "tensor_parallel_size": tensor_parallel_size,
                "pipeline_parallel_size": pipeline_parallel_size,
                "data_parallel_size": data_parallel_size,
                "enable_dp_attention": enable_dp_attention,
                "mem_fraction_static": mem_fraction_static,
                "kv_cache_dtype": kv_cache_dtype,
                "disable_cuda_graph": disable_cuda_graph,
                "disable_radix_cache": disable_radix_cache,
                "random_seed": random_seed,
                "revision": revision,
                "tokenizer_path": tokenizer_path,
                "chat_template": chat_template,
                "download_dir": download_dir,
                "trust_remote_code": trust_remote_code,
                "enable_lora": enable_lora,
                "lora_paths": lora_paths,
                "reasoning_parser": reasoning_parser,
                "tool_call_parser": tool_call_parser,
                "extra_args": extra_args,
            },
            **settings,
        )

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """The product of the parallel sizes; copies that share their GPUs count once."""
        return sglang_slots(self._merged(config))

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model."""
        return self._merged(config)["served_model_name"] or spec

    def _make_command(self, spec: str, **options: Any) -> ServerCommand:
        return sglang_command(spec, **options)
