"""``SGLangProvider``: starts SGLang, and leases the models it serves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import Unpack

from .._keywords import takes
from ..servers._description.causes import Cause
from ._served.causes import MODELS, TORCH
from ._served.executable import Executable, start_of
from ._served.installed import InstalledServer, InstalledServerProvider
from ._served.options import API_KEY, PLAIN_HTTP, SPEC, Option, ServerOptions
from ._served.paths import local
from ._served.settings import InstalledServerSettings, ServerSettings
from ._served.values import Count, File, FileOrText, FromZero, Model, NamedFiles, Share, Switch, Text


class SGLangOptions(InstalledServerSettings, total=False):
    """What `SGLangProvider` takes: the options of ``sglang.launch_server``, in the order in which they are written."""

    served_model_name: Annotated[Text, Option("What requests call the model. `None`: the spec.")]
    dtype: Annotated[Text, Option('The type of weights and activations, such as ``"bfloat16"``.')]
    quantization: Annotated[Text, Option('How the weights are quantised, such as ``"awq"``.')]
    load_format: Annotated[Text, Option('The format of the weights, such as ``"safetensors"``.')]
    device: Annotated[Text, Option('What the model runs on, such as ``"cuda"`` or ``"cpu"``.')]
    context_length: Annotated[Count, Option("The context length, in tokens.")]
    max_running_requests: Annotated[Count, Option("How many requests are worked on at once.")]
    tensor_parallel_size: Annotated[Count, Option("Over how many GPUs each layer is split.", "--tp-size", "--tp")]
    pipeline_parallel_size: Annotated[
        Count, Option("Over how many GPUs the layers are distributed.", "--pp-size", "--pp")
    ]
    data_parallel_size: Annotated[Count, Option("How many copies there are.", "--dp-size", "--dp")]
    enable_dp_attention: Annotated[
        Switch, Option("Whether the copies share the GPUs of one, and only attention is computed apart.")
    ]
    mem_fraction_static: Annotated[
        Share, Option("How much of a GPU's memory weights and cache may take, as a part of 1.")
    ]
    kv_cache_dtype: Annotated[Text, Option('The type of what is cached, such as ``"fp8_e5m2"``.')]
    disable_cuda_graph: Annotated[Switch, Option("Whether to do without CUDA graphs: starts sooner, runs slower.")]
    disable_radix_cache: Annotated[Switch, Option("Whether what prompts have in common is computed anew.")]
    random_seed: Annotated[FromZero, Option("The seed of random numbers.")]
    revision: Annotated[Text, Option("The version of the model on the hub.")]
    tokenizer_path: Annotated[Model, Option("The name or directory of another tokenizer.")]
    chat_template: Annotated[FileOrText, Option("A file with the template, or the name of one that SGLang knows.")]
    download_dir: Annotated[File, Option("Where models are downloaded to.")]
    trust_remote_code: Annotated[Switch, Option("Whether code that comes with a model may run.")]
    enable_lora: Annotated[Switch, Option("Whether LoRA adapters can be used; implied by `lora_paths`.")]
    lora_paths: Annotated[NamedFiles, Option("Names and directories of adapters.")]
    reasoning_parser: Annotated[Text, Option('How reasoning is told from the reply, such as ``"qwen3"``.')]
    tool_call_parser: Annotated[Text, Option('How calls of tools are recognised, such as ``"qwen25"``.')]


def _start(spec: str, python: Executable | None, executable: Executable | None) -> list[str]:
    start = start_of(["sglang", "serve"], ["sglang.launch_server"], python=python, executable=executable)
    return [*start, "--model-path", local(spec)]


CAUSES = (
    Cause(
        "no room for the KV cache",
        "The weights take all of the memory that SGLang may use. Raise mem_fraction_static=, take a smaller or "
        "quantised model, or more GPUs (tensor_parallel_size=).",
        re.compile(r"increase --mem-fraction-static"),
    ),
    Cause(
        "memory taken",
        "Other processes have memory of these GPUs: end them (nvidia-smi lists them), or give it others with gpus=.",
        re.compile(r"memory capacity is unbalanced"),
    ),
    Cause(
        "no memory left for CUDA graphs",
        "Weights and KV cache leave too little memory for CUDA graphs. Lower mem_fraction_static=, or pass "
        "disable_cuda_graph=True.",
        re.compile(r"Capture cuda graph failed: .{0,200}out of memory"),
    ),
    Cause(
        "context too long",
        r"The model was made for \g<length> tokens, and context_length= asks for more: lower it.",
        re.compile(
            r"ValueError: (?:Warning: )?User-specified context_length \(\d{1,12}\) is greater than the derived "
            r"context_length \((?P<length>\d{1,12})"
        ),
    ),
    *TORCH,
    *MODELS,
)
"""What keeps SGLang from starting; the first that fits is taken."""

SERVER = InstalledServer(
    kind="sglang",
    options=ServerOptions(
        "SGLang",
        SGLangOptions,
        {
            SPEC: ("--model-path", "--model"),
            API_KEY: ("--api-key",),
            "doteval hands the key over in it; write the options of yours as keyword arguments and extra_args": (
                "--config",
            ),
            PLAIN_HTTP: ("--ssl-keyfile", "--ssl-certfile"),
            "doteval talks to the server by HTTP": ("--grpc-mode",),
        },
        abbreviates=True,
    ),
    start=_start,
    # SGLang takes a key from its command line or from a file of options; the file is readable by its owner only.
    more=("--config", "{directory}/options.yaml"),
    files={"options.yaml": 'api-key: "{api_key}"\n'},
    name_option="served_model_name",
    install_hint="Install it with 'pip install sglang', or say with python=... in which environment it is",
    relevant_environment=("SGLANG_", "SGL_", "HF_", "HUGGING_FACE_", "TORCH", "PYTORCH_", "NCCL_", "OMP_"),
    causes=CAUSES,
)


@takes(SGLangOptions, ServerSettings)
class SGLangProvider(InstalledServerProvider):
    """Leases models of SGLang servers that it starts.

    ::

        async with SGLangProvider(context_length=8192) as provider:
            async with provider.setup("Qwen/Qwen3-8B") as handle:
                reply = await handle.model.generate("Hello")

    The spec is a name on the hub or a directory. The options are those of ``sglang.launch_server`` under the same
    names; `None` leaves one to SGLang. ``setup(spec, **config)`` takes all of them up to `extra_args` for one model. A
    server needs as many slots as the product of its parallel sizes. With `gpu_fraction` it needs
    `mem_fraction_static`.

    SGLang prints the server's API key into its log, which only you can read; messages of doteval do not show it.

    Args:
        extra_args: Other options, as on the command line: ``["--schedule-policy", "lpm"]``.
    """

    server = SERVER

    def __init__(self, **settings: Unpack[SGLangOptions]) -> None:
        super().__init__(**settings)
        self._merged({})  # what does not fit is refused now

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """The product of the parallel sizes; copies that share their GPUs, with attention in parallel, count once."""
        settings = self._merged(config)
        copies = [] if settings.get("enable_dp_attention") else ["data_parallel_size"]
        return self.server.options.slots(settings, "tensor_parallel_size", "pipeline_parallel_size", *copies)

    def _merged(self, config: Mapping[str, Any]) -> dict[str, Any]:
        merged = super()._merged(config)
        if self._terms.fraction < 1 and merged.get("mem_fraction_static") is None:
            raise ValueError(
                f"gpu_fraction={self._terms.fraction:g} needs mem_fraction_static=: SGLang would take nearly all "
                "memory of the GPU that is free when it starts, and what it takes is a part of that"
            )
        return merged
