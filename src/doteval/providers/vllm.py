"""``VLLMProvider``: starts vLLM, and leases the models it serves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from typing_extensions import Unpack

from .._keywords import takes
from .._spec import check_spec
from ..servers._description.command import ServerCommand
from ._served.executable import Executable, is_distribution, start_of
from ._served.installed import InstalledServerProvider
from ._served.options import (
    API_KEY,
    CONFIG_FILE,
    PLAIN_HTTP,
    SPEC,
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
from ._served.settings import InstalledServerSettings, ServerSettings


class VLLMOptions(InstalledServerSettings, total=False):
    """What `VLLMProvider` takes: the options of ``vllm serve``, in the order in which they are written."""

    served_model_name: Annotated[str | None, Option(text, "What requests call the model. `None`: the spec.")]
    dtype: Annotated[str | None, Option(text, 'The type of weights and activations, such as ``"bfloat16"``.')]
    quantization: Annotated[str | None, Option(text, 'How the weights are quantised, such as ``"awq"``.', "-q")]
    load_format: Annotated[str | None, Option(text, 'The format of the weights, such as ``"safetensors"``.')]
    max_model_len: Annotated[int | None, Option(whole(), "The context length, in tokens.")]
    max_num_seqs: Annotated[int | None, Option(whole(), "How many requests are worked on at once.")]
    tensor_parallel_size: Annotated[int | None, Option(whole(), "Over how many GPUs each layer is split.", "-tp")]
    pipeline_parallel_size: Annotated[
        int | None, Option(whole(), "Over how many GPUs the layers are distributed.", "-pp")
    ]
    data_parallel_size: Annotated[int | None, Option(whole(), "How many copies there are.", "-dp")]
    gpu_memory_utilization: Annotated[
        float | None,
        Option(share, "How much of a GPU's memory may be used, as a part of 1.", "--device-memory-utilization"),
    ]
    kv_cache_dtype: Annotated[str | None, Option(text, 'The type of what is cached, such as ``"fp8"``.')]
    cpu_offload_gb: Annotated[
        float | None, Option(number(0), "How much of the weights stays in main memory, in GiB for each GPU.")
    ]
    enforce_eager: Annotated[
        bool | None, Option(switch, "Whether to do without CUDA graphs: starts sooner, runs slower.")
    ]
    enable_prefix_caching: Annotated[
        bool | None, Option(switch, "Whether what prompts have in common is computed once.", has_no=True)
    ]
    seed: Annotated[int | None, Option(whole(0), "The seed of random numbers.")]
    revision: Annotated[str | None, Option(text, "The version of the model on the hub.")]
    tokenizer: Annotated[str | None, Option(model, "The name or directory of another tokenizer.")]
    chat_template: Annotated[
        str | os.PathLike[str] | None, Option(file_or_text, "A file with the template, or the template itself.")
    ]
    generation_config: Annotated[
        str | os.PathLike[str] | None,
        Option(file_or_text, 'A directory with the defaults of generation, ``"auto"``, or ``"vllm"``.'),
    ]
    hf_overrides: Annotated[
        Mapping[str, Any] | None, Option(json_object, "What to replace in the model's configuration.")
    ]
    download_dir: Annotated[str | os.PathLike[str] | None, Option(file, "Where models are downloaded to.")]
    trust_remote_code: Annotated[bool | None, Option(switch, "Whether code that comes with a model may run.")]
    enable_lora: Annotated[bool | None, Option(switch, "Whether LoRA adapters can be used; implied by `lora_modules`.")]
    max_lora_rank: Annotated[int | None, Option(whole(), "The highest rank of an adapter.")]
    lora_modules: Annotated[
        Mapping[str, str | os.PathLike[str]] | None,
        Option(named_files, "Names and directories of adapters; requests name an adapter as their model."),
    ]
    reasoning_parser: Annotated[str | None, Option(text, 'How reasoning is told from the reply, such as ``"qwen3"``.')]
    tool_call_parser: Annotated[str | None, Option(text, 'How calls of tools are recognised, such as ``"hermes"``.')]
    enable_auto_tool_choice: Annotated[bool | None, Option(switch, "Whether the model may decide to call a tool.")]


OPTIONS = ServerOptions(
    "vLLM",
    VLLMOptions,
    {
        "--model": SPEC,
        "--uds": "doteval talks to the server through a port",
        "--api-key": API_KEY,
        "--ssl-keyfile": PLAIN_HTTP,
        "--ssl-certfile": PLAIN_HTTP,
        "--headless": "a server without its API cannot be asked anything",
        "--config": CONFIG_FILE,
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
    """What to run to serve a model with vLLM; takes what `VLLMProvider` takes for it.

    The key goes into ``VLLM_API_KEY``, which vLLM reads and does not print. The model is served under the name that was
    asked for, also where that is a path.
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


@takes(VLLMOptions, ServerSettings)
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
        extra_args: Other options, as on the command line: ``["--max-logprobs", "50"]``.

    Raises:
        ValueError: A value cannot be meant.
        TypeError: `extra_args` is not a list of strings.
        ServersUnsupportedError: The system is Windows.
    """

    server_options = OPTIONS
    make_command = staticmethod(vllm_command)

    def __init__(self, **options: Unpack[VLLMOptions]) -> None:
        super().__init__(**options)

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """The product of the parallel sizes."""
        sizes = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
        return OPTIONS.slots(self._merged(config), *sizes)
