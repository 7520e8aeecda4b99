"""``SGLangProvider``: starts SGLang, and leases the models it serves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from typing_extensions import Unpack

from .._keywords import takes
from .._spec import check_spec
from ..servers._description.command import ServerCommand
from ._served.executable import Executable, start_of
from ._served.installed import InstalledServerProvider
from ._served.options import (
    API_KEY,
    PLAIN_HTTP,
    SPEC,
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
from ._served.settings import InstalledServerSettings, ServerSettings


class SGLangOptions(InstalledServerSettings, total=False):
    """What `SGLangProvider` takes: the options of ``sglang.launch_server``, in the order in which they are written."""

    served_model_name: Annotated[str | None, Option(text, "What requests call the model. `None`: the spec.")]
    dtype: Annotated[str | None, Option(text, 'The type of weights and activations, such as ``"bfloat16"``.')]
    quantization: Annotated[str | None, Option(text, 'How the weights are quantised, such as ``"awq"``.')]
    load_format: Annotated[str | None, Option(text, 'The format of the weights, such as ``"safetensors"``.')]
    device: Annotated[str | None, Option(text, 'What the model runs on, such as ``"cuda"`` or ``"cpu"``.')]
    context_length: Annotated[int | None, Option(whole(), "The context length, in tokens.")]
    max_running_requests: Annotated[int | None, Option(whole(), "How many requests are worked on at once.")]
    tensor_parallel_size: Annotated[
        int | None, Option(whole(), "Over how many GPUs each layer is split.", "--tp-size", "--tp")
    ]
    pipeline_parallel_size: Annotated[
        int | None, Option(whole(), "Over how many GPUs the layers are distributed.", "--pp-size", "--pp")
    ]
    data_parallel_size: Annotated[int | None, Option(whole(), "How many copies there are.", "--dp-size", "--dp")]
    enable_dp_attention: Annotated[
        bool | None, Option(switch, "Whether the copies share the GPUs of one, and only attention is computed apart.")
    ]
    mem_fraction_static: Annotated[
        float | None, Option(share, "How much of a GPU's memory weights and cache may take, as a part of 1.")
    ]
    kv_cache_dtype: Annotated[str | None, Option(text, 'The type of what is cached, such as ``"fp8_e5m2"``.')]
    disable_cuda_graph: Annotated[
        bool | None, Option(switch, "Whether to do without CUDA graphs: starts sooner, runs slower.")
    ]
    disable_radix_cache: Annotated[bool | None, Option(switch, "Whether what prompts have in common is computed anew.")]
    random_seed: Annotated[int | None, Option(whole(0), "The seed of random numbers.")]
    revision: Annotated[str | None, Option(text, "The version of the model on the hub.")]
    tokenizer_path: Annotated[str | None, Option(model, "The name or directory of another tokenizer.")]
    chat_template: Annotated[
        str | os.PathLike[str] | None,
        Option(file_or_text, "A file with the template, or the name of one that SGLang knows."),
    ]
    download_dir: Annotated[str | os.PathLike[str] | None, Option(file, "Where models are downloaded to.")]
    trust_remote_code: Annotated[bool | None, Option(switch, "Whether code that comes with a model may run.")]
    enable_lora: Annotated[bool | None, Option(switch, "Whether LoRA adapters can be used; implied by `lora_paths`.")]
    lora_paths: Annotated[
        Mapping[str, str | os.PathLike[str]] | None, Option(named_files, "Names and directories of adapters.")
    ]
    reasoning_parser: Annotated[str | None, Option(text, 'How reasoning is told from the reply, such as ``"qwen3"``.')]
    tool_call_parser: Annotated[str | None, Option(text, 'How calls of tools are recognised, such as ``"qwen25"``.')]


OPTIONS = ServerOptions(
    "SGLang",
    SGLangOptions,
    {
        "--model-path": SPEC,
        "--model": SPEC,
        "--api-key": API_KEY,
        "--config": "doteval hands the key over in it; write the options of yours as keyword arguments and extra_args",
        "--ssl-keyfile": PLAIN_HTTP,
        "--ssl-certfile": PLAIN_HTTP,
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
    """What to run to serve a model with SGLang; takes what `SGLangProvider` takes for it.

    SGLang takes a key from its command line or from a file of options; the file is readable by its owner only. It
    prints the key into its log, though, among all its options.
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


@takes(SGLangOptions, ServerSettings)
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
        extra_args: Other options, as on the command line: ``["--schedule-policy", "lpm"]``.

    Raises:
        ValueError: A value cannot be meant.
        TypeError: `extra_args` is not a list of strings.
        ServersUnsupportedError: The system is Windows.
    """

    server_options = OPTIONS
    make_command = staticmethod(sglang_command)

    def __init__(self, **options: Unpack[SGLangOptions]) -> None:
        super().__init__(**options)

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """The product of the parallel sizes; copies that share their GPUs, with attention in parallel, count once."""
        settings = self._merged(config)
        copies = [] if settings.get("enable_dp_attention") else ["data_parallel_size"]
        return OPTIONS.slots(settings, "tensor_parallel_size", "pipeline_parallel_size", *copies)
