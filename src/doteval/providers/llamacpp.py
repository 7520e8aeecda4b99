"""``LlamaCppProvider``: starts a server of llama.cpp, and leases the models it serves.

There are two: ``llama-server``, llama.cpp's own, and ``python -m llama_cpp.server`` of the package llama-cpp-python.
They have much the same options under different names; the keyword arguments are those of the first.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import Annotated, Any

from typing_extensions import Unpack

from .._keywords import takes
from ..servers._description.causes import Cause
from ..servers._description.command import ServerCommand
from ..servers._description.readiness import HTTPReady
from ._served.causes import MODELS, NOT_FOUND
from ._served.executable import Executable, is_importable, start_of
from ._served.installed import InstalledServer, InstalledServerProvider
from ._served.options import API_KEY, CONFIG_FILE, PLAIN_HTTP, SPEC, Option, ServerOptions
from ._served.paths import is_path, local
from ._served.settings import InstalledServerSettings, ServerSettings
from ._served.values import (
    JSON,
    Count,
    CountOrAll,
    File,
    FromZero,
    OnOrOff,
    Shares,
    Text,
    shares,
    whole_or_all,
    yes_or_no,
)

_HUB = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


class LlamaCppOptions(InstalledServerSettings, total=False):
    """What `LlamaCppProvider` takes: the options of ``llama-server``, in the order in which they are written."""

    alias: Annotated[Text, Option("What requests call the model. `None`: the spec.", "-a")]
    ctx_size: Annotated[FromZero, Option("The context length, in tokens; 0: that of the model.", "-c")]
    parallel: Annotated[
        Count,
        Option("How many requests are worked on at once; they share the context. Only ``llama-server`` has it.", "-np"),
    ]
    batch_size: Annotated[Count, Option("How many tokens of a prompt are worked on at once.", "-b")]
    threads: Annotated[Count, Option("How many threads generate.", "-t")]
    gpu_layers: Annotated[
        CountOrAll, Option('How many layers are put on the GPU, or ``"all"``.', "--n-gpu-layers", "-ngl")
    ]
    tensor_split: Annotated[
        Shares,
        Option(
            "In which proportion the model is put on several GPUs; a server needs as many slots as "
            "there are numbers, otherwise one.",
            "-ts",
        ),
    ]
    flash_attn: Annotated[OnOrOff, Option("Whether flash attention is used.", "-fa")]
    seed: Annotated[FromZero, Option("The seed of random numbers.", "-s")]
    chat_template: Annotated[Text, Option("The name of a chat template; llama-cpp-python calls it the chat format.")]
    chat_template_kwargs: Annotated[JSON, Option("What the chat template is given.")]
    lora: Annotated[File, Option("The file of a LoRA adapter.")]
    mmproj: Annotated[File, Option("The file of a multimodal projector.", "-mm")]


CAUSES = (
    Cause(
        "no room for the KV cache",
        "The model fits into memory, but its KV cache does not. Lower ctx_size= or parallel=, or put fewer layers on "
        "the GPU (gpu_layers=).",
        re.compile(r"failed to allocate buffer for kv cache|failed to initialize (?:the )?memory module"),
    ),
    Cause(
        "out of GPU memory",
        "The model does not fit into the GPU's memory. Put fewer layers on it (gpu_layers=), lower ctx_size=, take a "
        "smaller or more quantised model, or end what else uses the GPU (nvidia-smi).",
        re.compile(
            r"cudaMalloc failed: out of memory|(?:unable|failed) to allocate (?:CUDA|ROCm|Vulkan)\d{0,3} buffer"
            r"|(?:CUDA|HIP) error: out of memory|ErrorOutOfDeviceMemory"
        ),
        any_time=True,
    ),
    Cause(
        "file incomplete",
        "The .gguf file is cut off: download it again.",
        re.compile(r"model is corrupted or incomplete|not within the file bounds|unexpectedly reached end of file"),
    ),
    Cause(
        "not a GGUF file",
        "The file is no .gguf: it may be a pointer of git-lfs ('git lfs pull' gets the file), a page of HTML, or "
        "weights of another kind, which llama.cpp's convert_hf_to_gguf.py converts.",
        re.compile(r"invalid magic characters?"),
    ),
    Cause(
        "quantised cache without flash attention",
        "A quantised cache of values needs flash_attn=True.",
        re.compile(r"V cache quantization requires flash_attn"),
    ),
    *MODELS,
    Cause(
        NOT_FOUND,
        "The model could not be loaded: the spec has to be a whole .gguf file, or a repository of the hub that has "
        "one, such as 'user/model-GGUF:Q4_K_M'.",
        re.compile(r"failed to open GGUF file|[Ff]ailed to load (?:the )?model|error loading model"),
        vague=True,
    ),
)
"""What keeps servers of llama.cpp from starting; the first that fits is taken."""


def _is_on_hub(spec: str) -> bool:
    return not is_path(spec) and not spec.endswith(".gguf") and _HUB.fullmatch(spec) is not None


def _is_file(spec: str) -> bool:
    return not _is_on_hub(spec) and "://" not in spec


def _start_native(spec: str, python: Executable | None, executable: Executable | None) -> list[str]:
    start = start_of(["llama-server"], ["llama_cpp"], python=python, executable=executable or "llama-server")
    return [*start, "-hf", spec] if _is_on_hub(spec) else [*start, "-m", local(spec)]


NATIVE = InstalledServer(
    kind="llamacpp",
    options=ServerOptions(
        "llama-server",
        LlamaCppOptions,
        {
            API_KEY: ("--api-key", "--api-key-file"),
            SPEC: ("--model", "-m"),
            f"{SPEC}, such as 'user/model:Q4_K_M'": ("--hf-repo", "-hf", "-hfr"),
            f"{SPEC}: download it and give its path": ("--model-url", "-mu"),
            "one server serves one model, the spec": ("--models-dir", "--models-preset"),
            "doteval asks at /v1": ("--api-prefix",),
            PLAIN_HTTP: ("--ssl-key-file", "--ssl-cert-file"),
        },
        abbreviates=False,
    ),
    start=_start_native,
    name_option="alias",
    secret_environment={"LLAMA_API_KEY": "{api_key}"},  # of which it prints the last four characters
    install_hint=(
        "Install llama.cpp (its releases have llama-server; so has 'brew install llama.cpp'), "
        "or 'pip install llama-cpp-python[server]'; with executable=... or python=... say where it is"
    ),
    relevant_environment=("LLAMA_", "GGML_", "HF_"),
    causes=CAUSES,
    is_file=_is_file,
)


def _start_python(spec: str, python: Executable | None, executable: Executable | None) -> list[str]:
    start = start_of(["llama_cpp.server"], ["llama_cpp.server"], python=python, executable=executable)
    if "CONFIG_FILE" in os.environ:
        start = ["env", "-u", "CONFIG_FILE", *start]
    if not _is_on_hub(spec):
        return [*start, "--model", local(spec)]
    repository, _, quantisation = spec.partition(":")
    return [*start, "--hf_model_repo_id", repository, "--model", f"*{quantisation}.gguf"]


PYTHON = InstalledServer(
    kind="llamacpp",
    options=ServerOptions(
        "llama_cpp.server",
        LlamaCppOptions,
        {
            API_KEY: ("--api-key",),
            SPEC: ("--model", "-m"),
            CONFIG_FILE: ("--config_file",),
            PLAIN_HTTP: ("--ssl_keyfile", "--ssl_certfile"),
        },
        abbreviates=True,
        flags={
            "alias": "--model_alias",
            "ctx_size": "--n_ctx",
            "batch_size": "--n_batch",
            "threads": "--n_threads",
            "gpu_layers": "--n_gpu_layers",
            "tensor_split": "--tensor_split",
            "flash_attn": "--flash_attn",
            "seed": "--seed",
            "chat_template": "--chat_format",
            "chat_template_kwargs": "--chat_template_kwargs",
            "lora": "--lora_path",
            "mmproj": "--clip_model_path",
        },
        words={"gpu_layers": whole_or_all("-1"), "tensor_split": shares, "flash_attn": yes_or_no},
    ),
    start=_start_python,
    # It breaks off a stream as soon as there is another request, which several clients at a time cannot live with.
    more=("--interrupt_requests", "false"),
    name_option="alias",
    environment={"HOST": "{host}", "PORT": "{port}"},  # which it believes, like CONFIG_FILE, more than its command line
    secret_environment={"API_KEY": "{api_key}"},
    install_hint=(
        "Install it with 'pip install llama-cpp-python[server]', or say with python=... in which environment it is"
    ),
    relevant_environment=("LLAMA_", "GGML_", "HF_"),
    causes=CAUSES,
    is_file=_is_file,
)


@takes(LlamaCppOptions, ServerSettings)
class LlamaCppProvider(InstalledServerProvider):
    """Leases models of llama.cpp servers that it starts.

    ::

        async with LlamaCppProvider(ctx_size=4096) as provider:
            async with provider.setup("models/tiny-llama.gguf") as handle:
                reply = await handle.model.generate("Hello")

    The spec is a ``.gguf`` file, or a repository of the hub such as ``"user/model-GGUF:Q4_K_M"``. The options are those
    of ``llama-server``; `None` leaves one to it. ``setup(spec, **config)`` takes all of them up to `extra_args` for one
    model.

    Args:
        python: A Python that has llama-cpp-python installed, whose server is used then. `None`: ``llama-server`` where
            it is on ``PATH``; else llama-cpp-python, if this Python has it.
        executable: A ``llama-server``, by its path.
        extra_args: Other options, as on the command line of the server that is used: ``["--no-mmap"]``.
    """

    server = NATIVE
    ready = HTTPReady("/v1/models", with_api_key=True)  # what both servers have; /health is only one's

    def __init__(self, **settings: Unpack[LlamaCppOptions]) -> None:
        super().__init__(**settings)

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """As many as there are GPUs to split the model over."""
        split = self._merged(config).get("tensor_split")
        return 1 if split is None else len(shares(split))

    def _make_command(self, spec: str, **options: Any) -> ServerCommand:
        is_native = options.get("executable") is not None or shutil.which("llama-server")
        if options.get("python") is None and (is_native or not is_importable("llama_cpp")):
            return NATIVE.command(spec, **options)
        return PYTHON.command(spec, **options)
