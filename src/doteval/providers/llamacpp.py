"""``LlamaCppProvider``: starts a server of llama.cpp, and leases the models it serves.

There are two: ``llama-server``, llama.cpp's own, and ``python -m llama_cpp.server`` of the package llama-cpp-python.
They have much the same options under different names; the keyword arguments are those of the first.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from typing_extensions import Unpack

from .._spec import check_spec
from ..servers._description.command import ServerCommand
from ..servers._description.readiness import HTTPReady
from ._served.executable import Executable, is_importable, start_of
from ._served.installed import InstalledServerProvider
from ._served.options import (
    Option,
    ServerOptions,
    Values,
    file,
    is_path,
    json_object,
    local,
    on_or_off,
    shares,
    text,
    whole,
    yes_or_no,
)
from ._served.settings import ServerSettings

_CHOSEN = {
    "--host": "doteval chooses where the server listens",
    "--port": "doteval chooses a free port; pass port=... to choose it",
    "--api-key": "doteval makes a key for each server, which handle.model.server.api_key tells",
    "--model": "the model is the spec",
    "-m": "the model is the spec",
}
READY = HTTPReady("/v1/models", with_api_key=True)
"""Both servers answer it when the model is loaded; only ``llama-server`` has ``/health``."""

_HUB = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_PLAIN_HTTP = "the server is reached from this machine only, by plain HTTP"


def _layers(all_of_them: str) -> Callable[[object], Values]:
    """A number of layers, or all of them, in the server's words."""

    def values(value: object) -> Values:
        if value == "all":
            return [all_of_them]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError("must be a whole number of at least 0, or 'all'")
        return [str(value)]

    return values


NATIVE = ServerOptions(
    "llama-server",
    [
        Option("alias", ("--alias", "-a"), text),
        Option("ctx_size", ("--ctx-size", "-c"), whole(0)),
        Option("parallel", ("--parallel", "-np"), whole()),
        Option("batch_size", ("--batch-size", "-b"), whole()),
        Option("threads", ("--threads", "-t"), whole()),
        Option("gpu_layers", ("--gpu-layers", "--n-gpu-layers", "-ngl"), _layers("all")),
        Option("tensor_split", ("--tensor-split", "-ts"), lambda value: [",".join(shares(value))]),
        Option("flash_attn", ("--flash-attn", "-fa"), on_or_off),
        Option("seed", ("--seed", "-s"), whole(0)),
        Option("chat_template", ("--chat-template",), text),
        Option("chat_template_kwargs", ("--chat-template-kwargs",), json_object),
        Option("lora", ("--lora",), file),
        Option("mmproj", ("--mmproj", "-mm"), file),
    ],
    {
        **_CHOSEN,
        "--api-key-file": "doteval makes a key for each server, which handle.model.server.api_key tells",
        "--hf-repo": "the model is the spec, such as 'user/model:Q4_K_M'",
        "-hf": "the model is the spec, such as 'user/model:Q4_K_M'",
        "-hfr": "the model is the spec, such as 'user/model:Q4_K_M'",
        "--model-url": "the model is the spec: download it and give its path",
        "-mu": "the model is the spec: download it and give its path",
        "--models-dir": "one server serves one model, the spec",
        "--models-preset": "one server serves one model, the spec",
        "--api-prefix": "doteval asks at /v1",
        "--ssl-key-file": _PLAIN_HTTP,
        "--ssl-cert-file": _PLAIN_HTTP,
    },
    abbreviates=False,
)

PYTHON = ServerOptions(
    "llama_cpp.server",
    [
        Option("alias", ("--model_alias",), text),
        Option("ctx_size", ("--n_ctx",), whole(0)),
        Option("batch_size", ("--n_batch",), whole()),
        Option("threads", ("--n_threads",), whole()),
        Option("gpu_layers", ("--n_gpu_layers",), _layers("-1")),
        Option("tensor_split", ("--tensor_split",), shares),
        Option("flash_attn", ("--flash_attn",), yes_or_no),
        Option("seed", ("--seed",), whole(0)),
        Option("chat_template", ("--chat_format",), text),
        Option("chat_template_kwargs", ("--chat_template_kwargs",), json_object),
        Option("lora", ("--lora_path",), file),
        Option("mmproj", ("--clip_model_path",), file),
    ],
    {
        **_CHOSEN,
        "--config_file": "write the options of the file as keyword arguments, and the rest into extra_args",
        "--ssl_keyfile": _PLAIN_HTTP,
        "--ssl_certfile": _PLAIN_HTTP,
    },
    abbreviates=True,
)


def llamacpp_command(
    spec: str,
    *,
    python: Executable | None = None,
    executable: Executable | None = None,
    extra_args: Sequence[str] = (),
    **settings: Any,
) -> ServerCommand:
    """What to run to serve a model with llama.cpp.

    Args:
        spec: The model: a ``.gguf`` file, or a repository of the hub such as ``"user/model-GGUF:Q4_K_M"``.
        python: The Python that has llama-cpp-python installed.
        executable: A ``llama-server``.
        extra_args: Options that have no keyword argument, in the words of the server that runs.
        settings: Those that have one, see `LlamaCppProvider`.

    Raises:
        SpecError: `spec` cannot name a model.
        ValueError: An option cannot be meant.
        TypeError: There is no such keyword argument.
    """
    check_spec(spec)
    if python is None and (executable is not None or shutil.which("llama-server") or not is_importable("llama_cpp")):
        return _native_command(spec, executable, extra_args, settings)
    return _python_command(spec, python, executable, extra_args, settings)


def llamacpp_slots(settings: Mapping[str, Any]) -> int:
    """How many GPUs the server needs: one, or as many as the model is split over."""
    split = settings.get("tensor_split")
    return 1 if split is None else len(shares(split))


def _native_command(
    spec: str, executable: Executable | None, extra_args: Sequence[str], settings: Mapping[str, Any]
) -> ServerCommand:
    """The key goes into ``LLAMA_API_KEY``; of it, the server prints the last four characters."""
    start = start_of(["llama-server"], ["llama_cpp"], executable=executable or "llama-server")
    return ServerCommand(
        kind="llamacpp",
        spec=spec,
        argv=(
            *start,
            *(("-hf", spec) if _is_on_hub(spec) else ("-m", local(spec))),
            *("--host", "{host}", "--port", "{port}"),
            *NATIVE.arguments({**settings, "alias": settings.get("alias") or spec}, extra_args),
        ),
        secret_environment={"LLAMA_API_KEY": "{api_key}"},
        install_hint=(
            "Install llama.cpp (its releases have llama-server; so has 'brew install llama.cpp'), "
            "or 'pip install llama-cpp-python[server]'; with executable=... or python=... say where it is"
        ),
        relevant_environment=("LLAMA_", "GGML_", "HF_"),
    )


def _python_command(
    spec: str,
    python: Executable | None,
    executable: Executable | None,
    extra_args: Sequence[str],
    settings: Mapping[str, Any],
) -> ServerCommand:
    """The key goes into ``API_KEY``.

    This server believes ``HOST``, ``PORT`` and ``CONFIG_FILE`` of the environment more than its command line, so the
    first two are set and the third is taken away. It also breaks off a stream as soon as there is another request,
    which several clients at a time cannot live with.
    """
    start = start_of(["llama_cpp.server"], ["llama_cpp.server"], python=python, executable=executable)
    if "CONFIG_FILE" in os.environ:
        start = ["env", "-u", "CONFIG_FILE", *start]
    if _is_on_hub(spec):
        repository, _, quantisation = spec.partition(":")
        model = ["--hf_model_repo_id", repository, "--model", f"*{quantisation}.gguf"]
    else:
        model = ["--model", local(spec)]
    return ServerCommand(
        kind="llamacpp",
        spec=spec,
        argv=(
            *start,
            *model,
            *("--host", "{host}", "--port", "{port}"),
            *("--interrupt_requests", "false"),
            *PYTHON.arguments({**settings, "alias": settings.get("alias") or spec}, extra_args),
        ),
        environment={"HOST": "{host}", "PORT": "{port}"},
        secret_environment={"API_KEY": "{api_key}"},
        install_hint=(
            "Install it with 'pip install llama-cpp-python[server]', or say with python=... in which environment it is"
        ),
        relevant_environment=("LLAMA_", "GGML_", "HF_"),
    )


def _is_on_hub(spec: str) -> bool:
    return not is_path(spec) and not spec.endswith(".gguf") and _HUB.fullmatch(spec) is not None


class LlamaCppProvider(InstalledServerProvider):
    """Leases models of llama.cpp servers that it starts.

    ::

        async with LlamaCppProvider(ctx_size=4096) as provider:
            async with await provider.setup("models/tiny-llama.gguf") as handle:
                reply = await handle.model.generate("Hello")

    The spec is a ``.gguf`` file, or a repository of the hub such as ``"user/model-GGUF:Q4_K_M"``. The options are those
    of ``llama-server``; `None` leaves one to it. ``setup(spec, **config)`` takes all of them up to `extra_args` for one
    model.

    Args:
        python: A Python that has llama-cpp-python installed, whose server is used then. `None`: ``llama-server`` where
            it is on ``PATH``; else llama-cpp-python, if this Python has it.
        executable: A ``llama-server``, by its path.
        alias: What requests call the model. `None`: the spec.
        ctx_size: The context length, in tokens; 0: that of the model.
        parallel: How many requests are worked on at once; they share the context. Only ``llama-server`` has it.
        batch_size: How many tokens of a prompt are worked on at once.
        threads: How many threads generate.
        gpu_layers: How many layers are put on the GPU, or ``"all"``.
        tensor_split: In which proportion the model is put on several GPUs; a server needs as many slots as there are
            numbers, otherwise one.
        flash_attn: Whether flash attention is used.
        seed: The seed of random numbers.
        chat_template: The name of a chat template; llama-cpp-python calls it the chat format.
        chat_template_kwargs: What the chat template is given.
        lora: The file of a LoRA adapter.
        mmproj: The file of a multimodal projector.
        extra_args: Other options, as on the command line of the server that is used: ``["--no-mmap"]``.
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
        alias: str | None = None,
        ctx_size: int | None = None,
        parallel: int | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
        gpu_layers: int | Literal["all"] | None = None,
        tensor_split: Sequence[float] | None = None,
        flash_attn: bool | None = None,
        seed: int | None = None,
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        lora: str | os.PathLike[str] | None = None,
        mmproj: str | os.PathLike[str] | None = None,
        extra_args: Sequence[str] = (),
        **settings: Unpack[ServerSettings],
    ) -> None:
        super().__init__(
            READY,
            {
                "python": python,
                "executable": executable,
                "alias": alias,
                "ctx_size": ctx_size,
                "parallel": parallel,
                "batch_size": batch_size,
                "threads": threads,
                "gpu_layers": gpu_layers,
                "tensor_split": tensor_split,
                "flash_attn": flash_attn,
                "seed": seed,
                "chat_template": chat_template,
                "chat_template_kwargs": chat_template_kwargs,
                "lora": lora,
                "mmproj": mmproj,
                "extra_args": extra_args,
            },
            **settings,
        )

    def server_slots(self, spec: str, /, **config: Any) -> int:
        """As many as there are GPUs to split the model over."""
        return llamacpp_slots(self._merged(config))

    def model_name(self, spec: str, /, **config: Any) -> str:
        """What requests call the model."""
        return self._merged(config)["alias"] or spec

    def _make_command(self, spec: str, **options: Any) -> ServerCommand:
        return llamacpp_command(spec, **options)
