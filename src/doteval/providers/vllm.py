"""``VLLMProvider``: starts vLLM, and leases the models it serves."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar
from weakref import WeakKeyDictionary

from anyio import CancelScope, current_time
from typing_extensions import Unpack

from .._errors import SpecError
from .._handle import ModelHandle
from .._keywords import takes
from .._spec import check_spec
from ..servers._description.causes import Cause
from ..servers._description.command import ServerCommand
from ..servers._description.named_files import files_of
from ..servers._description.sleeping import HTTPSleep, Sleep
from ._served.adapters import AdapterError, AdapterHandle, Adapters, failed
from ._served.causes import MODELS, TORCH
from ._served.executable import Executable, is_distribution, start_of
from ._served.installed import InstalledServer, InstalledServerProvider
from ._served.model import ServerModel
from ._served.options import API_KEY, CONFIG_FILE, PLAIN_HTTP, SPEC, Option, ServerOptions
from ._served.paths import is_missing, local
from ._served.settings import InstalledServerSettings, ServerSettings
from ._served.values import JSON, Amount, Count, File, FileOrText, FromZero, Model, NamedFiles, Share, Switch, Text

_LONGEST_PATH = 1024
_USUAL_UTILIZATION = 0.9


class VLLMOptions(InstalledServerSettings, total=False):
    """What `VLLMProvider` takes: the options of ``vllm serve``, in the order in which they are written."""

    served_model_name: Annotated[Text, Option("What requests call the model. `None`: the spec.")]
    dtype: Annotated[Text, Option('The type of weights and activations, such as ``"bfloat16"``.')]
    quantization: Annotated[Text, Option('How the weights are quantised, such as ``"awq"``.', "-q")]
    load_format: Annotated[Text, Option('The format of the weights, such as ``"safetensors"``.')]
    max_model_len: Annotated[Count, Option("The context length, in tokens.")]
    max_num_seqs: Annotated[Count, Option("How many requests are worked on at once.")]
    tensor_parallel_size: Annotated[Count, Option("Over how many GPUs each layer is split.", "-tp")]
    pipeline_parallel_size: Annotated[Count, Option("Over how many GPUs the layers are distributed.", "-pp")]
    data_parallel_size: Annotated[Count, Option("How many copies there are.", "-dp")]
    gpu_memory_utilization: Annotated[
        Share, Option("How much of a GPU's memory may be used, as a part of 1.", "--device-memory-utilization")
    ]
    kv_cache_dtype: Annotated[Text, Option('The type of what is cached, such as ``"fp8"``.')]
    cpu_offload_gb: Annotated[Amount, Option("How much of the weights stays in main memory, in GiB for each GPU.")]
    enforce_eager: Annotated[Switch, Option("Whether to do without CUDA graphs: starts sooner, runs slower.")]
    enable_sleep_mode: Annotated[Switch, Option("Whether it can sleep; implied by `max_sleeping`.")]
    enable_prefix_caching: Annotated[
        Switch, Option("Whether what prompts have in common is computed once.", has_no=True)
    ]
    seed: Annotated[FromZero, Option("The seed of random numbers.")]
    revision: Annotated[Text, Option("The version of the model on the hub.")]
    tokenizer: Annotated[Model, Option("The name or directory of another tokenizer.")]
    chat_template: Annotated[FileOrText, Option("A file with the template, or the template itself.")]
    generation_config: Annotated[
        FileOrText, Option('A directory with the defaults of generation, ``"auto"``, or ``"vllm"``.')
    ]
    hf_overrides: Annotated[JSON, Option("What to replace in the model's configuration.")]
    download_dir: Annotated[File, Option("Where models are downloaded to.")]
    trust_remote_code: Annotated[Switch, Option("Whether code that comes with a model may run.")]
    enable_lora: Annotated[
        Switch, Option("Whether LoRA adapters can be used; implied by `lora_modules`, and for a spec with an adapter.")
    ]
    max_loras: Annotated[Count, Option("How many adapters may be used in one batch.")]
    max_lora_rank: Annotated[Count, Option("The highest rank of an adapter.")]
    lora_modules: Annotated[
        NamedFiles, Option("Names and directories of adapters; requests name an adapter as their model.")
    ]
    reasoning_parser: Annotated[Text, Option('How reasoning is told from the reply, such as ``"qwen3"``.')]
    tool_call_parser: Annotated[Text, Option('How calls of tools are recognised, such as ``"hermes"``.')]
    enable_auto_tool_choice: Annotated[Switch, Option("Whether the model may decide to call a tool.")]


def _start(spec: str, python: Executable | None, executable: Executable | None) -> list[str]:
    module = ["vllm.entrypoints.openai.api_server"]
    if python is None and is_distribution("vllm"):
        module = ["vllm.entrypoints.cli.main", "serve"]  # what comes after it, but fails in the build for CPUs
    start = start_of(["vllm", "serve"], module, python=python, executable=executable)
    return [*start, local(spec)] if start[-1] == "serve" else [*start, "--model", local(spec)]


CAUSES = (
    Cause(
        "memory taken",
        "Other processes have the memory that vLLM wants to take: end them (for a GPU, nvidia-smi lists them), or "
        "lower gpu_memory_utilization=, which on a CPU is the share of main memory.",
        re.compile(r"is less than desired [CG]PU memory utilization"),
    ),
    Cause(
        "memory changed while it was measured",
        "Another process gave memory of the GPU back while vLLM measured how much there is: start it again when "
        "nothing else starts or ends there.",
        re.compile(r"Error in memory profiling"),
    ),
    Cause(
        "no room for the KV cache",
        r"The model fits into memory, but the KV cache of its whole context does not. Pass max_model_len=\g<length> or "
        "less, or raise gpu_memory_utilization= (on a CPU VLLM_CPU_KVCACHE_SPACE).",
        re.compile(
            r"KV cache is needed, which is larger than.{1,200}estimated maximum model length is (?P<length>\d{1,9})"
        ),
    ),
    Cause(
        "no room for the KV cache",
        "The model fits into memory, but its KV cache does not. Lower max_model_len=, or raise "
        "gpu_memory_utilization= (on a CPU VLLM_CPU_KVCACHE_SPACE, which has to be less than what is free).",
        re.compile(
            r"No available memory for the cache blocks|KV cache is needed, which is larger than"
            r"|larger than the maximum number of tokens that can be stored in KV cache"
            r"|allocation is less than requested memory for kv"
        ),
    ),
    Cause(
        "context too long",
        r"The model was made for \g<length> tokens, and max_model_len= asks for more: lower it.",
        re.compile(
            r"User-specified max_model_len \(\d{1,12}\) is greater than the derived max_model_len "
            r"\([^)\n]{0,60}?=(?P<length>\d{1,12})"
        ),
    ),
    Cause(
        "too few GPUs",
        r"The parallel sizes ask for \g<wanted> GPUs, and the server sees \g<seen>: lower tensor_parallel_size= or "
        "pipeline_parallel_size=, or give it more with gpus=.",
        re.compile(
            r"World size \((?P<wanted>\d{1,6})\) is larger than the number of available GPUs \((?P<seen>\d{1,6})"
        ),
    ),
    Cause(
        "parallel size that does not divide the model",
        r"The model has \g<heads> attention heads, which have to be divisible by tensor_parallel_size=.",
        re.compile(r"number of attention heads \((?P<heads>\d{1,6})\) must be divisible by"),
    ),
    Cause(
        "no sleep mode on this machine",
        "vLLM sleeps on GPUs of NVIDIA and AMD only: leave max_sleeping= and enable_sleep_mode= out.",
        re.compile(r"[Ss]leep mode is not supported on current platform"),
    ),
    Cause(
        "LoRA adapter of too high a rank",
        r"Pass max_lora_rank=\g<rank> or more.",
        re.compile(r"LoRA rank (?P<rank>\d{1,6}) is greater than max_lora_rank"),
    ),
    *TORCH,
    *MODELS,
)
"""What keeps vLLM from starting; the first that fits is taken."""

SERVER = InstalledServer(
    kind="vllm",
    options=ServerOptions(
        "vLLM",
        VLLMOptions,
        {
            SPEC: ("--model",),
            "doteval talks to the server through a port": ("--uds",),
            API_KEY: ("--api-key",),
            PLAIN_HTTP: ("--ssl-keyfile", "--ssl-certfile"),
            "a server without its API cannot be asked anything": ("--headless",),
            CONFIG_FILE: ("--config",),
        },
        abbreviates=True,
    ),
    start=_start,
    name_option="served_model_name",
    secret_environment={"VLLM_API_KEY": "{api_key}"},  # which vLLM reads and does not print
    install_hint="Install it with 'pip install vllm', or say with python=... in which environment it is",
    relevant_environment=("VLLM_", "HF_", "HUGGING_FACE_", "TRANSFORMERS_", "TORCH", "PYTORCH_", "NCCL_", "OMP_"),
    causes=CAUSES,
)


def _utilization(given: Any, fraction: float) -> Any:
    """How much of a GPU's memory a server with a part of it may use, with a rest for what it does not count."""
    if given is None:
        return round(_USUAL_UTILIZATION * fraction, 4)
    if isinstance(given, (int, float)) and given > fraction:
        raise ValueError(
            f"gpu_memory_utilization={given!r} is more of a GPU than gpu_fraction={fraction:g}, which leaves the "
            "rest to others: leave gpu_memory_utilization= out, or raise gpu_fraction="
        )
    return given


@takes(VLLMOptions, ServerSettings)
class VLLMProvider(InstalledServerProvider):
    """Leases models of vLLM servers that it starts.

    ::

        async with VLLMProvider(max_model_len=8192) as provider:
            async with provider.setup("meta-llama/Llama-3.1-8B-Instruct") as handle:
                reply = await handle.model.generate("Hello")

    The spec is a name on the hub or a directory. ``"BASE@ADAPTER"`` is a LoRA adapter on its base model: a name on the
    hub, a directory, or one of `lora_modules`. All adapters of a base are on one server, into which they are loaded
    when they are asked for; with ``enable_lora=True`` the base is there, too.

    The options are those of ``vllm serve`` under the same names; `None` leaves one to vLLM. ``setup(spec, **config)``
    takes all of them up to `extra_args` for one model. A server needs as many slots as the product of its parallel
    sizes. With `gpu_fraction`, `gpu_memory_utilization` is 0.9 of that unless it is given, and may not be more.

    On a CPU, vLLM wants to know how much memory its cache may take: ``environment={"VLLM_CPU_KVCACHE_SPACE": "1"}``, in
    GiB. The server also answers Anthropic's SDK, at its address without ``/v1``.

    Args:
        extra_args: Other options, as on the command line: ``["--max-logprobs", "50"]``.
    """

    server = SERVER
    can_sleep: ClassVar[bool] = True

    def __init__(self, **settings: Unpack[VLLMOptions]) -> None:
        super().__init__(**settings)
        self._merged({})  # what does not fit is refused now
        self._adapters: WeakKeyDictionary[ServerModel, Adapters] = WeakKeyDictionary()

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """The product of the parallel sizes."""
        sizes = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
        return self.server.options.slots(self._merged(config), *sizes)

    def command(self, spec: str, /, **config: Any) -> ServerCommand:
        """What to run; vLLM has some requests only where variables say so: those for sleep, and for adapters."""
        command = super().command(spec, **config)
        merged = self._merged(config)
        needed = {
            "VLLM_SERVER_DEV_MODE": self.sleep(spec, **config) is not None,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": bool(merged.get("enable_lora") or merged.get("lora_modules")),
        }
        variables = {name: "1" for name, is_needed in needed.items() if is_needed}
        return replace(command, environment={**variables, **command.environment})

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[ServerModel]:
        """Lease the server, and unload from it in the end what was loaded for this provider.

        Raises:
            ModelSetupError: The server did not get ready; the cause is a `ServerStartError` that says why.
        """
        async with super().open(spec, **config) as model:
            adapters = self._adapters[model] = Adapters(model.lease)
            try:
                yield model
            finally:
                await adapters.close()

    async def setup_many(self, *specs: str, **config: Any) -> tuple[ModelHandle[ServerModel], ...]:
        """Lease several models at once, all or nothing; as `PooledProvider.setup_many`. Adapters of a base are one."""
        parted = [self._parted(spec) for spec in specs]
        if any(adapter for _, adapter in parted):
            config = self._with_lora(config)
        handles = await super().setup_many(*(base for base, _ in parted), **config)
        adapted: list[ModelHandle[ServerModel]] = []
        try:
            for spec, (_, adapter), handle in zip(specs, parted, handles, strict=True):
                adapted.append(await self._adapted(handle, spec, adapter, config) if adapter else handle)
        except BaseException:
            with CancelScope(shield=True, deadline=current_time() + self.close_timeout):
                for handle in handles:
                    await handle.teardown()
            raise
        return tuple(adapted)

    def preload(self, spec: str, /, **config: Any) -> bool:
        """Begin to start a server that will be needed soon; as `PooledProvider.preload`."""
        base, adapter = self._parted(spec)
        return super().preload(base, **(self._with_lora(config) if adapter else config))

    async def _lease(self, spec: str, config: Mapping[str, Any]) -> ModelHandle[ServerModel]:
        base, adapter = self._parted(spec)
        if not adapter:
            return await super()._lease(spec, config)
        if is_missing(adapter):
            raise failed(spec, adapter, AdapterError(f"there is no directory {local(adapter)!r}"))
        config = self._with_lora(config)
        handle = await super()._lease(base, config)
        try:
            return await self._adapted(handle, spec, adapter, config)
        except BaseException:
            with CancelScope(shield=True, deadline=current_time() + self.close_timeout):
                await handle.teardown()
            raise

    async def _adapted(
        self, handle: ModelHandle[ServerModel], spec: str, adapter: str, config: Mapping[str, Any]
    ) -> ModelHandle[ServerModel]:
        """The same lease, for an adapter."""
        base = handle.model
        name = adapter
        if adapter not in (self._merged(config).get("lora_modules") or ()):
            if self._terms.replicas > 1:
                reason = "an adapter is loaded into one server: leave replicas= out, or name it in lora_modules="
                raise SpecError(spec, reason)
            try:
                name = await self._adapters[base].load(adapter)
            except AdapterError as exc:
                raise failed(spec, adapter, exc) from exc
        return AdapterHandle(handle, base.called(name, self.identity(spec, **config)), spec, config)

    def local_files(self, spec: str, /, **config: Any) -> list[tuple[str, int, int]]:
        """Those of an adapter as well."""
        base, adapter = self._parted(spec)
        named: Mapping[str, str] = self._merged(config).get("lora_modules") or {}
        places = [local(named.get(adapter, adapter))] if adapter else []
        return super().local_files(base, **config) + files_of(places, None)

    def _parted(self, spec: str) -> tuple[str, str]:
        """The base and the adapter that a spec means; the latter is empty where it is a model."""
        check_spec(spec)
        base, at, adapter = spec.partition("@")
        if not at or (len(spec) < _LONGEST_PATH and Path(spec).expanduser().exists()):
            return spec, ""
        if not base or not adapter:
            raise SpecError(spec, "a LoRA adapter is BASE@ADAPTER, and one of the two is missing")
        check_spec(base)
        check_spec(adapter)
        return base, adapter

    def _with_lora(self, config: Mapping[str, Any]) -> dict[str, Any]:
        merged = self._merged(config)
        return (
            {**config} if merged.get("enable_lora") or merged.get("lora_modules") else {**config, "enable_lora": True}
        )

    def sleep(self, spec: str, /, **config: Any) -> Sleep | None:
        """By its sleep mode, with the weights in main memory meanwhile; `None` where it is not to sleep."""
        sleeps = self._terms.max_sleeping and self._merged(config)["enable_sleep_mode"]
        return HTTPSleep(state_path="/is_sleeping") if sleeps else None

    def _merged(self, config: Mapping[str, Any]) -> dict[str, Any]:
        merged = super()._merged(config)
        if self._terms.max_sleeping and merged.get("enable_sleep_mode") is None:
            merged["enable_sleep_mode"] = True
        if self._terms.fraction < 1:
            given = merged.get("gpu_memory_utilization")
            merged["gpu_memory_utilization"] = _utilization(given, self._terms.fraction)
        return merged

    def _make_command(self, spec: str, **options: Any) -> ServerCommand:
        if options.get("lora_modules") is not None and options.get("enable_lora") is None:
            options["enable_lora"] = True
        return super()._make_command(spec, **options)
